"""Rows of a data set before they are read, and the reader that layouts of files share.

A plugin's layouts (a folder tree, a published list, a manifest) differ in how they find rows, labels and splits; what
comes after is the same everywhere: labels that were asked for, unique ids, a fingerprint, leakage groups, a bounded
memory of decoded items, and rows that cannot be read as rows with a reason. A layout builds a :class:`Catalogue`, and
a domain subclasses :class:`CatalogueReader` with how one row is read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from repcore.data.accounting import Accounting, walk
from repcore.data.allocation import refuse_special
from repcore.data.identity import file_identity
from repcore.data.names import composed
from repcore.data.pseudonyms import Veil, veil_of
from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

Source = TypeVar("Source")
Content = TypeVar("Content")


@dataclass(frozen=True)
class Row(Generic[Source]):
    """One row before it is read.

    Args:
        id: unique in the data set.
        source: what the domain's reader needs to read it: a path, several, a place in an array.
        targets: labels by name.
        group: leakage key (speaker, patient), None where the layout does not tell.
        problem: status and reason of a row that is known to be unusable.
        files: what the row's content lies in; a hash of each goes into the fingerprint.
        stamp: stands for the content in the fingerprint where there are no files.
        meta: facts known before reading.
    """

    id: str
    source: Source
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    problem: tuple[str, str] | None = None
    files: Sequence[Path] = ()
    stamp: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def stamped(self) -> str:
        """Text that changes when the content or a label does."""
        facts = [file_identity(path) for path in self.files]
        return f"{self.id}|{self.stamp}|{facts}|{sorted(self.targets.items())}"


@dataclass(frozen=True)
class Catalogue(Generic[Source]):
    """What a layout found: rows, labels, declared splits, remarks for people, and its account of files.

    The account needs only what the layout left out for a reason of its own; the reader adds the files behind the rows
    and everything else below the path.
    """

    rows: Sequence[Row[Source]]
    targets: Sequence[TargetSpec] = ()
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    account: Accounting | None = None


class CatalogueReader(Generic[Source, Content]):
    """Random access to the rows of a catalogue; a :class:`repcore.interfaces.DatasetReader`.

    A subclass names its items (``noun``), reads one (:meth:`read`), says how much memory it takes (:meth:`size_of`),
    and what is worth telling of it (:meth:`facts`).

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        labels: labels to use; all when empty.
        cache_mib: memory for items that were read.
        expected: what would have been an item, for the message when there is none.
        pseudonymise: key file; ids, groups and names in texts become pseudonyms (:mod:`repcore.data.pseudonyms`), and
            texts that the layout knows of a row before reading it are left out unless ``plain_facts`` names them.

    Raises:
        DataError: no row, none that can be read, ids that are not unique, or a label that was not found.
    """

    noun: ClassVar[str] = "row"
    plain_facts: ClassVar[frozenset[str]] = frozenset()  # texts in ``Row.meta`` that name nobody

    def __init__(
        self,
        catalogue: Catalogue[Source],
        source: Path | str,
        *,
        labels: Sequence[str] = (),
        cache_mib: int = 0,
        expected: str = "",
        pseudonymise: str = "",
    ) -> None:
        self.source, self.notes, self.rows = source, tuple(catalogue.notes), tuple(catalogue.rows)
        self._layout_account = catalogue.account
        self._veil: Veil | None = None
        self._check_rows(expected)
        self._targets = chosen_targets(catalogue.targets, labels, self.noun)
        self._splits = dict(catalogue.splits)
        self._row_of = {row.id: number for number, row in enumerate(self.rows)}
        if len(self._row_of) != len(self.rows):
            twice = len(self.rows) - len(self._row_of)
            raise DataError(f"{twice} ids of {str(source)!r} are not unique", hint=f"give every {self.noun} its own")
        if pseudonymise:
            self._hide_names(Path(pseudonymise).expanduser())
        self._cache: dict[int, Content] = {}
        self._room = cache_mib * 2**20

    def _hide_names(self, key_file: Path) -> None:
        """Rows, notes and messages with pseudonyms from here on."""
        root = Path(self.source) if Path(self.source).is_dir() else Path(self.source).parent
        files = (file for row in self.rows for file in row.files)
        veil = veil_of(key_file, [row.id for row in self.rows], [row.group for row in self.rows], files, root)
        self._open_account = self.account  # with the names that its files have
        self._veil = veil
        self.notes = tuple(veil.text(one) for one in self.notes)
        self.rows = tuple(
            replace(
                row,
                id=veil.ids[row.id],
                group=None if row.group is None else veil.groups[row.group],
                problem=None if row.problem is None else (row.problem[0], veil.text(row.problem[1])),
                meta={
                    name: value
                    for name, value in row.meta.items()
                    if not isinstance(value, str) or name in self.plain_facts
                },
            )
            for row in self.rows
        )
        self._row_of = {row.id: number for number, row in enumerate(self.rows)}
        del self.account

    def _check_rows(self, expected: str) -> None:
        if not self.rows:
            raise DataError(f"{str(self.source)!r} holds no {self.noun}", expected=expected)
        first = self.rows[0]
        if first.problem and all(row.problem for row in self.rows):
            raise DataError(
                f"none of the {len(self.rows)} {self.noun}s of {str(self.source)!r} can be read",
                first=f"{first.id}: {first.problem[1]}",
            )

    # -------------------------------------------------------------------------------- for the domain

    @abstractmethod
    def read(self, row: Row[Source]) -> Content:
        """Read one row.

        Raises:
            ItemError: it cannot be used; says why.
        """

    @abstractmethod
    def size_of(self, content: Content) -> int:
        """Bytes of a read item, for the bounded memory."""

    def facts(self, content: Content) -> Mapping[str, Any]:
        """What :attr:`repcore.interfaces.Sample.meta` says of a read item."""
        del content
        return {}

    def sample(self, row: Row[Source], content: Content) -> Sample:
        """A read row with the labels that were asked for."""
        wanted = {target.name for target in self._targets}
        targets = {name: value for name, value in row.targets.items() if name in wanted}
        return Sample(row.id, content, targets, row.group, {**row.meta, **self.facts(content)})

    # ---------------------------------------------------------------------------------- for everyone

    @property
    def fingerprint(self) -> str:
        """Hash of ids, contents and labels."""
        digest = sha256()
        for row in self.rows:
            digest.update((row.stamped() + "\n").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage keys; None where the layout has none."""
        keys = [row.group for row in self.rows]
        return keys if any(key is not None for key in keys) else None

    @cached_property
    def account(self) -> Accounting:
        """What became of every file below the path; made when first asked for."""
        if self._veil is not None:
            return self._veil.account(self._open_account)
        account = Accounting(Path(self.source) if Path(self.source).is_dir() else Path(self.source).parent)
        if self._layout_account is not None:
            account.add(self._layout_account)
        for row in self.rows:
            if row.problem is None:
                account.use(*row.files)
            else:
                for path in row.files:
                    account.unreadable(path, f"{row.problem[0]}: {row.problem[1]}")
        for text in self.notes:
            account.note(text)
        if Path(self.source).is_dir():
            account.cover(Path(self.source), f"no {self.noun} for this reader")
        else:
            account.use(self.source)
        return account

    def __len__(self) -> int:
        return len(self.rows)

    def id_of(self, index: int) -> str:
        """Id of a row, also of one that cannot be read."""
        return self.rows[index].id

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        if row.problem is not None:
            raise ItemError(*row.problem)
        if self._veil is None:
            return self.sample(row, self._content(index, row))
        try:
            return self.sample(row, self._content(index, row))
        except ItemError as error:
            raise ItemError(error.status, self._veil.text(error.reason)) from None

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        if sample_id not in self._row_of:
            raise DataError(
                f"{str(self.source)!r} has no {self.noun} {sample_id!r}",
                did_you_mean=closest(sample_id, self._row_of),
                rows=len(self),
            )
        return self[self._row_of[sample_id]]

    def _content(self, index: int, row: Row[Source]) -> Content:
        if index in self._cache:
            return self._cache[index]
        for path in row.files:
            refuse_special(path)
        content = self.read(row)
        size = self.size_of(content)
        if size <= self._room:
            self._cache[index] = content
            self._room -= size
        return content


def chosen_targets(found: Sequence[TargetSpec], wanted: Sequence[str], noun: str) -> tuple[TargetSpec, ...]:
    """Labels that were asked for, all if none was.

    Raises:
        DataError: one of them was not found.
    """
    names = [target.name for target in found]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"the {noun}s have no label {missing[0]!r}",
            did_you_mean=closest(missing[0], names),
            labels=", ".join(names) or "none",
        )
    return tuple(target for target in found if not wanted or target.name in wanted)


def class_target(name: str, values: Iterable[str]) -> tuple[TargetSpec, dict[str, int]]:
    """A class target over these names (numbers by size, then words), and the number of each name.

    Names that differ only in how accented letters are stored are one class.
    """
    spelt = set(values)
    names = tuple(sorted({composed(one) for one in spelt}, key=_natural))
    place = {one: number for number, one in enumerate(names)}
    return TargetSpec(name, "class", names=names), {one: place[composed(one)] for one in spelt | set(names)}


def rows_by(words: Sequence[str | None]) -> dict[str, list[int]]:
    """Row numbers by word, None left out: ``{"train": [0, 1], "test": [2]}``."""
    found: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word is not None:
            found.setdefault(word, []).append(row)
    return found


def existing(path: str, noun: str) -> Path:
    """The path as the user gave it, if there is something.

    Raises:
        DataError: nothing given, or nothing there.
    """
    if not path:
        raise DataError(f"no {noun}s were given", hint="--data PATH")
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(f"{path!r} does not exist", field="dataset.path")
    return found


def files_below(
    folder: Path, suffixes: Sequence[str], without: Path | None = None, account: Accounting | None = None
) -> list[Path]:
    """Files with one of these (lower-case) suffixes, by path, links followed; hidden ones and those below ``without``
    are left out.

    Args:
        account: gets what cannot be opened (a link to nothing, a folder that may not be read), with the reason.
    """
    found = []
    for one in walk(folder):
        if one.problem:
            if account is not None:
                account.unreadable(one.path, one.problem)
        elif not one.left_out and one.path.name.lower().endswith(tuple(suffixes)) and without not in one.path.parents:
            found.append(one.path)
    return found


def _natural(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)
