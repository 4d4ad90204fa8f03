"""Splits within a sample: one large scan, volume or graph as several rows, each with the labels of a part of it.

Every row of :class:`DividedReader` has the inputs of its whole sample and the labels of one group of its elements;
the other elements count as unlabelled. So whatever works on rows (splits, folds, shares of labels, scores) works within
one sample, and parts that are trained on and parts that are tested never share an element. Groups come from a label of
elements that the data has, or from a way of the domain (``PreprocessorSpec.divisions``), such as blocks of a scan.

Symbols: N elements of a sample.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from repcore.data.guard import item_guard, read_sample, row_id
from repcore.data.label_numbers import as_floating
from repcore.errors import ConfigError, DataError, ItemError, PluginError, closest
from repcore.interfaces import DatasetReader, Preprocessor, Sample
from repcore.registry import Registry
from repcore.specs import TargetSpec

Groups = Callable[[Sample], "np.ndarray | None"]
"""Group of each element by name or number, empty, -1 or NaN = in none; None where the sample has no groups."""
MOST_GROUPS = 10_000
NO_GROUP = -1
DIVIDED_BY = "divided_by"  # in a sample's meta


class DividedReader:
    """Rows of samples as rows of groups.

    Args:
        reader: of whole samples; ``targets`` holds the one label that is divided.
        target: that label, of a level below the item.
        groups: what divides a sample.
        word: how the user called that, for ids (``scan#sector=3``) and the fingerprint.

    Raises:
        DataError: no element of any sample lies in a group.
    """

    def __init__(self, reader: DatasetReader, target: TargetSpec, groups: Groups, word: str) -> None:
        self.whole, self.word = reader, word
        self.targets = (target,)
        self._held: tuple[int, Sample] | None = None
        self._codes: dict[int, bytes] = {}  # which group every element is in, compressed
        self._rows: list[tuple[int, int, str]] = []  # row of the whole sample, code and name of the group
        for row in range(len(reader)):
            names = self._found(row, groups)
            self._rows += [(row, code, name) for code, name in enumerate(names) if name] or [(row, NO_GROUP, "")]
        if not any(name for _, _, name in self._rows):
            raise DataError(f"no element of any row lies in a group by {word!r}", rows=len(reader))

    def _found(self, row: int, groups: Groups) -> Sequence[str]:
        """Names of the groups of a sample by code; none where it cannot be used."""
        try:
            sample = read_sample(self.whole, row)
            found = groups(sample)
        except ItemError:
            return ()
        label = sample.targets.get(self.targets[0].name)
        if found is None or label is None:
            return ()
        flat = np.asarray(found).reshape(-1)
        if flat.size != np.size(label):
            raise PluginError(f"{self.word!r} gives {flat.size} groups for {np.size(label)} elements of {sample.id}")
        if flat.dtype.kind != "U":
            flat = np.nan_to_num(flat.astype(np.float64), nan=NO_GROUP).astype(np.int64)
        values, codes = np.unique(flat, return_inverse=True)
        if len(values) > MOST_GROUPS:
            raise DataError(f"{len(values):,} groups by {self.word!r} in {sample.id}", most=MOST_GROUPS)
        self._codes[row] = zlib.compress(codes.astype(np.int32).tobytes(), 1)
        return ["" if str(one) == str(NO_GROUP) else str(one) for one in values]

    def __getattr__(self, name: str) -> Any:  # everything else is of the data as a whole
        if name.startswith("_") or name == "whole":  # asked for while a copy of this is made, which has no reader yet
            raise AttributeError(name)
        return getattr(self.whole, name)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def fingerprint(self) -> str:
        return f"{self.whole.fingerprint}|{self.word}"

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared parts of the whole samples."""
        found: dict[str, Sequence[int]] = {}
        for name, rows in self.whole.splits.items():
            own = {int(row) for row in rows}
            found[name] = [place for place, (row, *_) in enumerate(self._rows) if row in own]
        return found

    @property
    def costs(self) -> Sequence[float] | None:
        """Cost of each row: that of its whole sample; None where the reader knows none."""
        known = getattr(self.whole, "costs", None)
        return None if known is None else [known[row] for row, *_ in self._rows]

    def values(self, name: str) -> list[Any]:
        """Cells of a column of the data, one a row."""
        cells = self.whole.values(name)  # type: ignore[attr-defined]  # optional, asked for by --split column:NAME
        return [cells[row] for row, *_ in self._rows]

    def id_of(self, index: int) -> str:
        """Id of a row, without reading it."""
        return self._named(index, row_id(self.whole, self._rows[index][0]))

    def _named(self, index: int, sample_id: str) -> str:
        group = self._rows[index][2]
        return f"{sample_id}#{self.word}={group}" if group else sample_id

    def __getitem__(self, index: int) -> Sample:
        row, _, group = self._rows[index]
        if self._held is None or self._held[0] != row:
            self._held = (row, read_sample(self.whole, row))
        sample = self._held[1]
        if not group:
            return dataclasses.replace(sample, targets={})
        name = self.targets[0].name
        return dataclasses.replace(
            sample,
            id=self._named(index, sample.id),
            targets={name: self.labels(index, sample.targets[name])},
            group=group,
            meta={**sample.meta, DIVIDED_BY: f"{self.word}={group}"},
        )

    def labels(self, index: int, whole: Any) -> np.ndarray:  # labels of any number type
        """Labels of the group of a row, of their shape and size in floating numbers, NaN elsewhere.

        Args:
            whole: labels of the whole sample.
        """
        row, code, group = self._rows[index]
        labels = as_floating(whole)
        if not group:
            return np.full_like(labels, np.nan)
        codes = np.frombuffer(zlib.decompress(self._codes[row]), np.int32).reshape(labels.shape)
        return np.where(codes == code, labels, labels.dtype.type(np.nan))

    def source(self, index: int) -> int:
        """Row of the whole sample behind a row."""
        return self._rows[index][0]

    def over(self, change: Callable[[DatasetReader], DatasetReader]) -> DividedReader:
        """The same rows over a changed reader of whole samples (prepared ones)."""
        new = object.__new__(DividedReader)
        new.__dict__.update(self.__dict__)
        new.whole, new._held = over(self.whole, change), None
        return new


def over(reader: DatasetReader, change: Callable[[DatasetReader], DatasetReader]) -> DatasetReader:
    """Change the innermost reader: readers that stand over another say how with a method ``over``."""
    own = getattr(reader, "over", None)
    return change(reader) if own is None else own(change)


@dataclasses.dataclass(frozen=True, slots=True)
class WholeSamples:
    """Whole samples behind rows, so that what is slow happens once a sample and not once a row.

    Args:
        reader: of whole samples.
        behind: row of it, in order -> the rows that it stands behind.
        divided: what knows their labels; None where every row is a whole sample.
    """

    reader: DatasetReader
    behind: Mapping[int, Sequence[int]]
    divided: DividedReader | None

    def labels(self, row: int, whole: Any) -> np.ndarray:  # labels of any number type
        """Labels of a row from those of its whole sample."""
        return np.asarray(whole) if self.divided is None else self.divided.labels(row, whole)

    def id_of(self, row: int, sample_id: str) -> str:
        """Id of a row of the sample with this id."""
        return sample_id if self.divided is None else self.divided._named(row, sample_id)


def whole_samples(reader: DatasetReader, rows: Sequence[int] | np.ndarray) -> WholeSamples:
    """The whole samples behind these rows; every row itself where nothing is divided."""
    inner: Any = reader
    while inner is not None and not isinstance(inner, DividedReader):
        inner = vars(inner).get("_reader")  # readers with one label stand over others
    if inner is None:
        return WholeSamples(reader, {int(row): [int(row)] for row in rows}, None)
    behind: dict[int, list[int]] = {}
    for row in rows:
        behind.setdefault(inner.source(int(row)), []).append(int(row))
    return WholeSamples(inner.whole, behind, inner)


def divided(
    registry: Registry,
    preprocessor_name: str,
    preprocessor: Preprocessor,
    reader: DatasetReader,
    target: TargetSpec,
    word: str,
) -> DividedReader:
    """A reader divided by a label of elements, or by a way of the domain with its details after a colon.

    Args:
        reader: with all its targets.
        word: name of a label of the target's level, or ``NAME:DETAIL`` of ``PreprocessorSpec.divisions``.

    Raises:
        ConfigError: neither.
    """
    if target.level == "item":
        raise ConfigError(f"--group {word} divides samples; {target.name!r} is a label of whole samples")
    labels = [one.name for one in reader.targets if one.level == target.level and one.name != target.name]
    if word in labels:
        return DividedReader(reader, target, lambda sample: sample.targets.get(word), word)
    entry = registry.preprocessor(preprocessor_name)
    name, _, detail = word.partition(":")
    if name not in entry.spec.divisions:
        known = [*labels, *entry.spec.divisions]
        raise ConfigError(
            f"--group {word}: no label of {target.level} level and no way to divide of this domain",
            did_you_mean=closest(name, known),
            known=", ".join(known) or "none",
        )
    function = entry.load("divisions", name)

    def groups(sample: Sample) -> np.ndarray:
        with item_guard(function, f"--group {word}"):
            found: np.ndarray = function(preprocessor, sample, target.level, detail)
        return found

    return DividedReader(reader, target, groups, word)
