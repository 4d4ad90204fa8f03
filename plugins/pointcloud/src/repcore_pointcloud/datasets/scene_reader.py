"""The reader that all layouts of scenes share, and what it finds out by opening a few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.data.cells import is_missing
from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import ScenesConfig
from repcore_pointcloud.formats.column_names import is_label
from repcore_pointcloud.formats.description import describe_points
from repcore_pointcloud.formats.own_file import own_file_fact
from repcore_pointcloud.formats.scenes import Loaded

ReadScene = Callable[[], Loaded]
"""How a row is read. Picklable (a ``partial`` of a module's function): worker processes may be started afresh."""
OPENED = 3  # scenes opened to find out which labels there are
OPENED_KINDS = 6  # one more of each kind of file, up to so many
OPENED_FOR_LABELS, BYTES_FOR_LABELS = 64, 1 << 26  # further ones while no label was found
MOST_WORDS = 1000
UNLABELLED = -1


class SceneReader(CatalogueReader[ReadScene, Loaded]):
    """Random access to the scenes of a catalogue; labels of points come out of the files.

    Targets are the labels of the first scenes that can be read, level ``point``; a negative label means unlabelled.
    """

    noun = "scene"
    lengths = frozenset({"extent"})  # facts in one unit for all rows: `inspect` says which rows have another

    def __init__(self, rows: Sequence[Row[ReadScene]], config: ScenesConfig, account: Accounting, **found: Any) -> None:
        opened = open_some(rows, account)
        targets = label_targets(rows, opened, config, account)
        catalogue = Catalogue(rows, targets, found.get("splits", {}), found.get("notes", ()), account)
        super().__init__(
            catalogue, config.path, labels=config.labels, cache_mib=config.cache_mib, expected=found.get("expected", "")
        )
        for index, content in opened.items():
            if self.size_of(content) <= self._room:
                self._cache[index] = content
                self._room -= self.size_of(content)

    def read(self, row: Row[ReadScene]) -> Loaded:
        return row.source()

    def size_of(self, content: Loaded) -> int:
        scene = content.scene
        parts = (scene.points, scene.colours, scene.normals, scene.intensity, *content.labels.values())
        return sum(one.nbytes for one in parts if one is not None)

    def facts(self, content: Loaded) -> Mapping[str, Any]:
        offset = content.scene.offset
        facts: dict[str, Any] = {"points": len(content.scene.points), "columns": " ".join(content.columns)}
        if content.scene.left_out is not None:
            facts["left out"] = int(content.scene.left_out.sum())
        return facts if offset is None else {**facts, "offset": offset.tolist()}

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Extents and spacing, for ``repcore inspect``."""
        return describe_points(sample.inputs.points, sample.inputs.left_out)

    def sample(self, row: Row[ReadScene], content: Loaded) -> Sample:
        """A scene with the labels of its points."""
        sample = super().sample(row, content)
        labels: dict[str, np.ndarray] = {}
        for target in self.targets:
            values = _numbers(target, content)
            if values is not None:
                unknown = UNLABELLED if target.ignore is None else target.ignore
                out = content.scene.left_out
                labels[target.name] = np.where((values < 0) if out is None else (values < 0) | out, unknown, values)
        meta = {**sample.meta, **own_file_fact(row.files)}
        return replace(sample, inputs=content.scene, targets={**sample.targets, **labels}, meta=meta)


def _numbers(target: TargetSpec, content: Loaded) -> np.ndarray | None:
    """Labels of a scene as class numbers, -1 where there is none."""
    if target.name in content.labels:
        return content.labels[target.name]
    if target.name not in content.words:
        return None
    place = {name: number for number, name in enumerate(target.names)}
    return np.array([place.get(str(word), UNLABELLED) for word in content.words[target.name]], dtype=np.int64)


def open_some(rows: Sequence[Row[ReadScene]], account: Accounting) -> dict[int, Loaded]:
    """The first scenes that can be read, one more of each kind of file; their guesses go into the account.

    Where these hold no label of points, small files are opened on until one does: labelled scenes may come later.
    """
    opened: dict[int, Loaded] = {}
    kinds: set[str] = set()
    tried = size = 0
    for index, row in enumerate(rows):
        kind = _kind(row)
        if row.problem is not None:
            continue
        if tried >= OPENED and (kind in kinds or len(kinds) >= OPENED_KINDS):
            if tried >= OPENED_FOR_LABELS or size >= BYTES_FOR_LABELS or any(map(_is_labelled, opened.values())):
                continue
            size += _bytes(row)
            if size > BYTES_FOR_LABELS:
                continue
        tried += 1
        try:
            opened[index] = row.source()
        except ItemError:
            continue
        first = kind not in kinds
        kinds.add(kind)
        for text in opened[index].notes if first else ():
            account.note(f"{row.id}: {text}")
    return opened


def _is_labelled(content: Loaded) -> bool:
    return bool(content.labels) or any(map(is_label, content.words))


def _bytes(row: Row[ReadScene]) -> int:
    return sum(path.stat().st_size for path in row.files if path.is_file())


def _kind(row: Row[ReadScene]) -> str:
    """Kind of the file, and whether labels lie beside it."""
    return f"{row.files[0].suffix.lower()} {len(row.files) > 1}" if row.files else ""


def label_targets(
    rows: Sequence[Row[ReadScene]], opened: Mapping[int, Loaded], config: ScenesConfig, account: Accounting
) -> list[TargetSpec]:
    """Labels of the opened scenes, numbers and words."""
    ignore = UNLABELLED if config.ignored_label is None else config.ignored_label
    names = {name for one in opened.values() for name in one.labels}
    targets = [TargetSpec(name, "class", "point", ignore=ignore) for name in sorted(names)]
    worded = {name for one in opened.values() for name in one.words if is_label(name)} - names
    others = {name for one in opened.values() for name in one.words} - worded - names
    for name in sorted(others):
        account.note(f"column {name} holds words and is not called a label: not used")
    if worded:
        found = _words(rows, opened, worded)
        for name in sorted(worded):
            missing = sorted(word for word in found[name] if is_missing(word))
            if missing:
                said = " and ".join(map(repr, missing[:3]))
                account.odd_cells.append(
                    f"label {name!r}: points with {said} count as unlabelled; another word is a class"
                )
            words = tuple(sorted(found[name] - set(missing)))
            if len(words) > MOST_WORDS:
                account.note(f"column {name} holds {len(words):,} different words: no class")
                continue
            account.guess(f"label {name!r}", "class", f"{len(words)} different words: {', '.join(words[:6])}")
            targets.append(TargetSpec(name, "class", "point", names=words, ignore=ignore))
    return targets


def _words(rows: Sequence[Row[ReadScene]], opened: Mapping[int, Loaded], names: Iterable[str]) -> dict[str, set[str]]:
    """Every word of some columns over all scenes: a number must mean the same in each of them."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for index, row in enumerate(rows):
        try:
            content = opened.get(index) or (row.source() if row.problem is None else None)
        except ItemError:
            continue
        for name in found if content is not None else ():
            if content is not None and name in content.words:
                found[name].update(str(one) for one in np.unique(content.words[name]))
    return {name: {word for word in words if word} for name, words in found.items()}


def unique_ids(files: Sequence[Path], root: Path) -> list[str]:
    """Path below the root without suffix; with it where two files would be called the same."""
    short = [_stem(path.relative_to(root)).as_posix() for path in files]
    times: dict[str, int] = {}
    for name in short:
        times[name] = times.get(name, 0) + 1
    return [
        name if times[name] == 1 else path.relative_to(root).as_posix() for name, path in zip(short, files, strict=True)
    ]


def _stem(path: Path) -> Path:
    """Without suffix; ``.pcd.bin`` is one suffix."""
    name = path.name
    return path.with_name(name[: -len(".pcd.bin")]) if name.lower().endswith(".pcd.bin") else path.with_suffix("")
