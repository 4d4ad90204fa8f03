"""Dataset ``audio/manifest``: a table or JSON list that names recordings, with labels, groups and splits.

JSON is the published form, ``{"data": [{"wav": path, "labels": "code,code"}]}``, or a plain list of such objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.catalogue import Catalogue, class_target, existing, rows_by
from repcore.data.splits import PART_NAMES
from repcore.data.tables import MISSING_WORDS, Table
from repcore.errors import DataError, ItemError, closest
from repcore.specs import TargetSpec
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.recordings import Excerpt, RecordingReader, recording_row

PATH_COLUMNS = ("path", "file", "filename", "file_name", "wav", "audio", "audio_path")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target")
GROUP_COLUMNS = ("group", "speaker", "speaker_id", "src_file")
SPLIT_COLUMNS = ("split", "fold", "subset")
RECORDING_FOLDERS = ("", "recordings", "audio", "wavs", "clips")


class ManifestReader(RecordingReader):
    """Recordings that a table names; a row whose file is missing or whose cells are malformed stays a reported row."""

    def __init__(self, config: ManifestConfig) -> None:
        path = existing(config.path, self.noun)
        super().__init__(manifest_catalogue(path, config), path, config)


class _Rows:
    """Cells by column name, whatever the file format."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], problems: Mapping[int, str]) -> None:
        self.columns, self.rows, self.problems = list(columns), rows, problems

    def column(self, name: str) -> list[str | None]:
        """Texts of a column, None where a cell is missing."""
        cells = [row.get(name) for row in self.rows]
        return [None if one is None or str(one).strip().lower() in MISSING_WORDS else str(one).strip() for one in cells]

    def find(self, given: str | None, candidates: Sequence[str]) -> str | None:
        """The column asked for, or the first of the candidates that exists.

        Raises:
            DataError: the column asked for does not exist.
        """
        lower = {name.lower(): name for name in self.columns}
        if given is None:
            return next((lower[name] for name in candidates if name in lower), None)
        if given.lower() not in lower:
            raise DataError(
                f"the manifest has no column {given!r}",
                did_you_mean=closest(given, self.columns),
                columns=", ".join(self.columns),
            )
        return lower[given.lower()]


def manifest_catalogue(path: Path, config: ManifestConfig) -> Catalogue[Excerpt]:
    """Rows, labels, groups and splits of a manifest.

    Raises:
        DataError: unreadable manifest, or no column of file names.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _table_rows(path)
    path_column = rows.find(config.path_column, PATH_COLUMNS)
    if path_column is None:
        raise DataError(
            f"{path.name} has no column of file names", columns=", ".join(rows.columns), hint="dataset.path_column=NAME"
        )
    names = rows.column(path_column)
    id_column = rows.find(config.id_column, ())
    ids = rows.column(id_column) if id_column else names
    group_column = rows.find(config.group_column, GROUP_COLUMNS)
    groups = rows.column(group_column) if group_column else [None] * len(names)
    targets, labels = _labels(rows, config, path)
    entries = []
    for number, name in enumerate(names):
        file, problem = _locate(path.parent, name)
        if number in rows.problems:
            problem = ("malformed_row", rows.problems[number])
        entries.append(recording_row(ids[number] or f"row-{number}", file, labels[number], groups[number], problem))
    split_column = rows.find(config.split_column, SPLIT_COLUMNS)
    words = rows.column(split_column) if split_column else []
    splits = rows_by([None if word is None else PART_NAMES.get(word.lower(), word) for word in words])
    lost = sum(entry.problem is not None for entry in entries)
    return Catalogue(entries, targets, splits, (f"{lost} of {len(entries)} rows have no usable file",) if lost else ())


def _table_rows(path: Path) -> _Rows:
    table = Table(path)
    cells = {name: table.slice(0, len(table), name) for name in table.columns}
    rows = [{name: values[row] for name, values in cells.items()} for row in range(len(table))]
    return _Rows(table.columns, rows, table.problems())


def _json_rows(path: Path) -> _Rows:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not JSON: {error}") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{path.name} holds no list of recordings", expected='{"data": [{"wav": "a.wav", "labels": "dog"}]}'
        )
    return _Rows(list(dict.fromkeys(name for row in rows for name in row)), rows, {})


def _locate(folder: Path, name: str | None) -> tuple[Path, tuple[str, str] | None]:
    """The file of a row: absolute, beside the manifest, or in one of the usual folders beside it."""
    if name is None:
        return folder, ("missing_file", "the row names no file")
    for place in RECORDING_FOLDERS:
        candidate = folder / place / name  # an absolute name replaces the folder
        if candidate.is_file():
            return candidate, None
    return folder / name, ("missing_file", f"{name} does not exist")


def _labels(rows: _Rows, config: ManifestConfig, path: Path) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    """Targets, and the label values of each row."""
    if config.labels:
        columns = [rows.find(name, ()) or name for name in config.labels]
    else:
        columns = [name for name in rows.columns if name.lower() in LABEL_COLUMNS]
    names = _label_names(config, path.parent)
    targets: list[TargetSpec] = []
    values: list[dict[str, Any]] = [{} for _ in rows.rows]
    for column in columns:
        cells = [[] if one is None else _split_cell(one, config.label_separator, names) for one in rows.column(column)]
        if not any(cells):
            continue
        target, number = class_target(column, (word for cell in cells for word in cell))
        is_multilabel = any(len(cell) > 1 for cell in cells)
        if is_multilabel:
            target = TargetSpec(column, "multilabel", names=target.names)
        targets.append(target)
        for row, cell in enumerate(cells):
            if cell and is_multilabel:
                hot = np.zeros(len(target.names), np.float32)
                hot[[number[word] for word in cell]] = 1.0
                values[row][column] = hot.tolist()
            elif cell:
                values[row][column] = number[cell[0]]
    return targets, values


def _split_cell(cell: str, separator: str, names: Mapping[str, str]) -> list[str]:
    words = [word.strip() for word in cell.split(separator)] if separator else [cell]
    return [names.get(word, word) for word in words if word]


def _label_names(config: ManifestConfig, folder: Path) -> dict[str, str]:
    """Label code -> display name, from the published label table."""
    if not config.label_table:
        return {}
    given = Path(config.label_table).expanduser()
    table = Table(given if given.is_absolute() or given.is_file() else folder / given)
    codes, names = table.require("mid"), table.require("display_name")
    try:
        return {str(table.value(row, codes)): str(table.value(row, names)) for row in range(len(table))}
    except ItemError as error:
        raise DataError(f"{table.path.name} has a malformed row: {error.reason}") from error
