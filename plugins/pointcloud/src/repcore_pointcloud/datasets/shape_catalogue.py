"""Rows of a data set of shapes before they are read, and the reader that all layouts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.datasets.point_files import PointCloud


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: how to read it, its labels, and what is known to be wrong with it."""

    id: str
    read: Callable[[], PointCloud]
    targets: Mapping[str, Any] = field(default_factory=dict)
    problem: tuple[str, str] | None = None
    stamp: str = ""  # changes when the content does


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a layout found: rows, labels, declared splits, and remarks for people."""

    entries: Sequence[Entry]
    targets: Sequence[TargetSpec] = ()
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


class ShapeReader:
    """Random access to the clouds of a catalogue.

    Args:
        catalogue: rows, labels and splits.
        source: what the user pointed at, for messages.
        labels: labels to use; all when empty.
        cache_mib: memory for clouds that were read.

    Raises:
        DataError: no row, ids that are not unique, or a label that was not found.
    """

    def __init__(self, catalogue: Catalogue, source: str, *, labels: Sequence[str], cache_mib: int) -> None:
        if not catalogue.entries:
            raise DataError(f"{source!r} holds no shape")
        self.source = source
        self.notes = tuple(catalogue.notes)
        self._entries = tuple(catalogue.entries)
        self._targets, self._splits = chosen_targets(catalogue.targets, labels), dict(catalogue.splits)
        self._row_of = {entry.id: row for row, entry in enumerate(self._entries)}
        if len(self._row_of) != len(self._entries):
            raise DataError(f"{len(self._entries) - len(self._row_of)} ids of {source!r} are not unique")
        self._cache: dict[int, PointCloud] = {}
        self._room = cache_mib * 2**20

    @property
    def fingerprint(self) -> str:
        """Hash of ids, content stamps and labels."""
        digest = sha256()
        for entry in self._entries:
            digest.update(f"{entry.id}|{entry.stamp}|{sorted(entry.targets.items())}\n".encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return self._targets

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return self._splits

    def __len__(self) -> int:
        return len(self._entries)

    def id_of(self, index: int) -> str:
        """Id of a row, also of one that cannot be read."""
        return self._entries[index].id

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        if entry.problem is not None:
            raise ItemError(*entry.problem)
        cloud = self._cloud(index, entry)
        targets = {name: entry.targets[name] for name in (one.name for one in self._targets) if name in entry.targets}
        return Sample(entry.id, cloud, targets, meta={"points": len(cloud.points)})

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        if sample_id not in self._row_of:
            raise DataError(
                f"{self.source!r} has no shape {sample_id!r}", did_you_mean=closest(sample_id, self._row_of)
            )
        return self[self._row_of[sample_id]]

    def _cloud(self, index: int, entry: Entry) -> PointCloud:
        if index in self._cache:
            return self._cache[index]
        cloud = entry.read()
        if cloud.points.nbytes <= self._room:
            self._cache[index] = cloud
            self._room -= cloud.points.nbytes
        return cloud


def chosen_targets(found: Sequence[TargetSpec], wanted: Sequence[str]) -> tuple[TargetSpec, ...]:
    """Those that were asked for, all if none was.

    Raises:
        DataError: one of them was not found.
    """
    names = [target.name for target in found]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"the shapes have no label {missing[0]!r}",
            did_you_mean=closest(missing[0], names),
            labels=", ".join(names) or "none",
        )
    return tuple(target for target in found if not wanted or target.name in wanted)


def class_target(name: str, values: Iterable[str]) -> tuple[TargetSpec, dict[str, int]]:
    """A class target over these names in sorted order, and the number of each name."""
    names = tuple(sorted(set(values)))
    return TargetSpec(name, "class", names=names), {one: number for number, one in enumerate(names)}


def rows_by(words: Sequence[str | None]) -> dict[str, list[int]]:
    """Row numbers by word, None left out: ``{"train": [0, 1], "test": [2]}``."""
    found: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word is not None:
            found.setdefault(word, []).append(row)
    return found


def existing(path: str) -> Path:
    """The path as the user gave it, if there is something.

    Raises:
        DataError: nothing given, or nothing there.
    """
    if not path:
        raise DataError("no folder of shapes was given", hint="--data PATH")
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(f"{path!r} does not exist", field="dataset.path")
    return found
