"""Pseudonyms in place of ids, groups and file names; what stands for whom is kept in a key file apart.

A pseudonym is random, not computed from the name: a hash of a medical record number can be found by trying all of them.
The key file is a CSV with the columns ``kind``, ``name`` and ``pseudonym`` that only its owner may read; giving the
same file again gives the same pseudonyms, so that vectors of two runs can be joined.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from repcore.data.accounting import Accounting
from repcore.errors import DataError

Source = TypeVar("Source")
COLUMNS = ("kind", "name", "pseudonym")
LETTERS = {"item": "I", "group": "G"}
LEAST_LETTERS = 3  # shorter parts of paths ("CT") name nobody, and stand in ordinary words


class Pseudonyms:
    """The pseudonyms of a key file, which is written anew when there are more.

    Args:
        path: the key file; made where it is missing.

    Raises:
        DataError: it is something else than a key file, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str], str] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            with self.path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = list(csv.DictReader(file))
                names = tuple(rows[0]) if rows else COLUMNS
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{str(self.path)!r} cannot be read as a key file", reason=error) from error
        if names != COLUMNS:
            raise DataError(
                f"{str(self.path)!r} is no key file of pseudonyms", columns=", ".join(names),
                expected=", ".join(COLUMNS), hint="a file that does not exist yet",
            )  # fmt: skip
        self._known = {(row["kind"], row["name"]): row["pseudonym"] for row in rows}

    def of(self, kind: str, names: Iterable[str]) -> dict[str, str]:
        """Name -> pseudonym, new ones made where needed; the key file holds all of them when this returns."""
        taken = set(self._known.values())
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            while (kind, name) not in self._known:
                found = f"{LETTERS[kind]}-{secrets.token_hex(5)}"
                if found not in taken:
                    self._known[kind, name] = found
                    taken.add(found)
        self._write()
        return {name: self._known[kind, name] for name in wanted}

    def _write(self) -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        writer.writerows((kind, name, pseudonym) for (kind, name), pseudonym in self._known.items())
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            temporary.touch(mode=0o600)  # before there is anything to read
            temporary.write_text(buffer.getvalue(), encoding="utf-8", errors="surrogateescape")
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise DataError(f"the key file {str(self.path)!r} cannot be written", reason=error) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Veil:
    """What one data set's names become, and the same for texts that hold them.

    Args:
        ids / groups: name -> pseudonym.
        words: names and parts of paths -> what stands for them in texts, the longest first.
    """

    ids: Mapping[str, str]
    groups: Mapping[str, str]
    words: Mapping[str, str]

    def text(self, text: str) -> str:
        """A text without the names."""
        for word, stand_in in self.words.items():
            text = text.replace(word, stand_in)
        return text

    def account(self, account: Accounting) -> Accounting:
        """An account with the same counts and reasons, without names of files."""
        hidden = Accounting()
        for number, (name, fate, reason) in enumerate(account.files()):
            stand_in = f"file-{number + 1}{Path(name).suffix if len(Path(name).suffix) <= 5 else ''}"
            if fate == "used":
                hidden.use(stand_in)
            else:
                (hidden.ignore if fate == "ignored" else hidden.unreadable)(stand_in, self.text(reason))
        for one in account.guesses:
            hidden.guess(one.about, one.chosen, self.text(one.reason), one.change)
        for remark in account.notes:
            hidden.note(self.text(remark))
        hidden.tables += account.tables
        hidden.odd_cells += [self.text(one) for one in account.odd_cells]
        return hidden


def veil_of(
    key_file: Path, ids: Sequence[str], groups: Sequence[str | None], files: Iterable[Path], root: Path
) -> Veil:
    """Pseudonyms for all names of a data set.

    Args:
        key_file: see :class:`Pseudonyms`.
        files: whose names and folders below ``root`` may tell who it is.
    """
    known = Pseudonyms(key_file)
    item = known.of("item", ids)
    group = known.of("group", [one for one in groups if one is not None])
    parts = {part for file in files for part in _parts(file, root)}
    words: dict[str, str] = {**dict.fromkeys(parts, "[name]"), **group, **item}
    ordered = sorted((word for word in words if len(word) >= LEAST_LETTERS), key=len, reverse=True)
    return Veil(item, group, {word: words[word] for word in ordered})


def _parts(file: Path, root: Path) -> Iterable[str]:
    """Names of a file and of its folders below the root, with and without suffixes."""
    inside: Any = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    for part in inside.parts:
        yield part
        yield part.split(".")[0]
    yield inside.as_posix()
