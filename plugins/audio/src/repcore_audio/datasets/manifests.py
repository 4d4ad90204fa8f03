"""Dataset ``audio/manifest``: a table or list, or the tables of a folder, that name recordings or stretches.

Labels, groups and splits stand in its other columns.

Selection tables of Raven, label tracks of Audacity, AudioSet's segment lists, lists of paths and JSON lines are read by
the same rules: the column of recordings is found by its cells, times cut, groups and folds are recognised by name, and
what remains is judged as labels by core. JSON in its published form is ``{"data": [{"wav": path, "labels": "a,b"}]}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.beside_lists import with_class_names
from repcore.data.catalogue import Catalogue, Row, existing, rows_by
from repcore.data.cells import DECIMAL_SIGNS
from repcore.data.groups import group_column, groups_in_paths, plain_name, useful_groups
from repcore.data.item_columns import item_columns
from repcore.data.labels import LabelColumn, read_label, read_labels
from repcore.data.several_labels import LIST_SIGN, read_lists, split_cell
from repcore.data.split_columns import split_column
from repcore.data.splits import folder_part, part_of
from repcore.data.tables import Table
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.channels import own_channels
from repcore_audio.datasets.counted_times import Counting
from repcore_audio.datasets.excerpts import (
    Cut,
    channel_numbers,
    excerpt_ids,
    excerpts,
    find_cut,
    first_channel,
    joined_groups,
)
from repcore_audio.datasets.frame_labels import frame_catalogue, with_frame_labels
from repcore_audio.datasets.locating import Locator
from repcore_audio.datasets.manifest_folders import PATH, read_folder
from repcore_audio.datasets.manifest_tables import JSON_SUFFIXES, Cells, path_column, read_cells, sibling_recording
from repcore_audio.datasets.recordings import Excerpt, LongRecording, Note, Recording, RecordingReader, recording_row
from repcore_audio.datasets.told_by_paths import Told, told_beside_table

LABEL_NAMES = (
    "label", "labels", "primary_label", "class", "category", "target", "species", "positive_labels", "tags",
    "scientific_name", "common_name", "species_name", "species_code",
)  # fmt: skip
"""Columns that hold classes even where few rows do not show it."""
GROUP_WORDS = ("speaker", "singer", "bird", "animal", "src_file", "session", "fsid", "station", "site", "recorder")
SPLIT_NAMES = ("split", "fold", "subset", "part", "partition")
ID_NAMES = ("id", "uid", "segment_id", "utterance_id", "utt_id", "uttid", "clip_id")
NO_LABELS = (
    "view", "selection", "low_freq", "high_freq", "delta_time", "duration", "sample_rate", "sampling_rate", "channels",
    "begin_file", "begin_path", "file_offset", "sentence", "text", "transcript", "num_frames", "frames",
)  # fmt: skip
"""Columns that describe a row and are no labels unless they are asked for."""
JOINT = "\x1f"


class ManifestReader(RecordingReader):
    """Recordings that a table names; a row whose file is missing or whose cells are malformed stays a reported row."""

    def __init__(self, config: ManifestConfig) -> None:
        path = existing(config.path, self.noun)
        super().__init__(manifest_catalogue(path, config), path, config)

    def sample(self, row: Row[Excerpt], content: Recording | LongRecording) -> Sample:
        """A read recording; segments become labels of its frames."""
        found = super().sample(row, content)
        names = tuple(one.name for one in self.targets if one.level == "token" and one.name in found.targets)
        if not names:
            return found
        labels = with_frame_labels(content, found.targets, names)
        return replace(found, inputs=replace(content, frame_labels=names), targets={**found.targets, **labels})


def manifest_catalogue(path: Path, config: ManifestConfig) -> Catalogue[Excerpt]:
    """Rows, labels, groups and splits of a manifest.

    Raises:
        DataError: unreadable manifest, or no column of file names.
    """
    folder = path if path.is_dir() else path.parent
    account, locator = Accounting(folder), Locator(folder, None if path.is_dir() else path)
    cells = read_folder(path, account) if path.is_dir() else read_cells(path, account)
    names, column = _names(cells, path, config, account)
    counting = Counting(config.times_unit, config.hop_seconds)
    cut = Cut() if config.excerpts == "ignore" else find_cut(cells.columns, account, config.labels, counting)
    views = next((name for name in cells.columns if plain_name(name) == "view"), None)
    if views is not None:
        cells, names = _once_a_selection(cells, names, views, account)
    located = [locator.find(name) for name in names]
    is_audioset = plain_name(column or "") in ("ytid", "youtube_id")
    decimal = DECIMAL_SIGNS[config.decimal]
    places, bad_times = excerpts(cut, cells.columns, [file for file, _ in located], is_audioset, decimal)
    if is_audioset and cut.start is not None:
        account.note("times of AudioSet count from the beginning of the video; a file no longer than its segment is it")
    channels = cells.named(config.channel_column) if config.channel_column else None
    if channels is None and cut.channel is None:
        channels = _telling_channels(cells, names, account)
        if channels is None and config.excerpts != "ignore":
            channels = own_channels(cells, located, config.labels, account)
    if channels is not None:
        places = _channels(channels, cells, places)
    taken = {name for name in (column, channels, *cut.names) if name}
    ids, id_name = _ids(cells, names, places, bad_times, config, account)
    _refuse_twice(ids, path, bad_times)
    others = {name: cells.columns[name] for name in cells.columns if name != column}
    told = told_beside_table(folder, [place.path for place in places], others, account)
    groups, group_name = _groups(cells, places, taken, told, config, account)
    words, split_name = _splits(cells, config)
    words = words or _parts_of_folders([file for file, _ in located], folder, account)
    left = [name for name in cells.columns if name not in {*taken, id_name, group_name, split_name}]
    if not cells.has_names:
        left = cells.renamed(left, "label")
    labels = _labels(cells, left, told, config, path, account)
    more, of_paths = told.targets()
    rows = []
    for row, (place, (_, missing)) in enumerate(zip(places, located, strict=True)):
        problem = missing or bad_times[row]
        if row in cells.problems:
            problem = ("malformed_row", cells.problems[row])
        values = {**of_paths[row], **row_values(labels, row)}
        rows.append(recording_row(ids[row], place, values, groups[row], problem))
    locator.tell(account)
    if config.excerpts == "frames":
        return frame_catalogue(rows, names, cells, labels, words, config.elsewhere, account)
    lost = sum(row.problem is not None for row in rows)
    notes = (f"{lost} of {len(rows)} rows have no usable file",) if lost else ()
    targets = [*(one.target for one in labels if one.target is not None), *more]
    return Catalogue(rows, targets, rows_by(words), notes, account)


def _names(
    cells: Cells, path: Path, config: ManifestConfig, account: Accounting
) -> tuple[list[str | None], str | None]:
    """Name of the recording of each row, and the column that holds it.

    Raises:
        DataError: nothing names recordings.
    """
    if config.path_column is not None:
        column: str | None = cells.named(config.path_column)
    else:
        column = PATH if path.is_dir() else path_column(cells, path.parent, account)
    if column is not None:
        return cells.texts(column), column
    recording = sibling_recording(path)
    if recording is None:
        raise DataError(
            f"{path.name} has no column of file names, and no recording is named like it",
            columns=", ".join(cells.columns),
            hint="dataset.path_column=NAME with train, --read path_column=NAME elsewhere",
        )
    account.guess("recordings", recording.name, "no column names one, and it has the name of the table")
    account.use(recording)
    return [str(recording.resolve())] * len(cells), None


def _once_a_selection(
    cells: Cells, names: list[str | None], views: str, account: Accounting
) -> tuple[Cells, list[str | None]]:
    """Selection tables list each selection once a view (waveform, spectrogram); one of equal rows is kept."""
    others = [name for name in cells.columns if name != views]
    kept: dict[tuple[Any, ...], int] = {}
    for row in range(len(cells)):
        kept.setdefault(tuple(str(cells.columns[name][row]) for name in others), row)
    rows = sorted(kept.values())
    if len(rows) < len(cells):
        account.note(f"{len(cells) - len(rows):,} rows repeat a selection for another view and are left out")
        return cells.keep(rows), [names[row] for row in rows]
    return cells, names


def _telling_channels(cells: Cells, names: Sequence[str | None], account: Accounting) -> str | None:
    """A column of channels that tells rows of one recording apart; None where there is none."""
    if len(set(names)) == len(names):
        return None
    for one in item_columns(list(cells.columns)):
        pairs = set(zip(names, cells.texts(one.name), strict=True))
        if one.role == "channel" and plain_name(one.name) != "channels" and len(pairs) == len(names):
            first, _ = first_channel(cells.texts(one.name))
            account.guess("a row", f"the channel that {one.name!r} gives", "it tells rows of one recording apart; "
                          f"counted from {first}", "channel_column=NAME")  # fmt: skip
            return one.name
    return None


def _channels(column: str, cells: Cells, places: Sequence[Excerpt]) -> list[Excerpt]:
    """Excerpts of the channel that each row gives.

    Raises:
        DataError: a cell that names no channel.
    """
    texts = cells.texts(column)
    numbers = channel_numbers(texts)
    odd = next((text for text, number in zip(texts, numbers, strict=True) if text is not None and number is None), None)
    if odd is not None:
        raise DataError(f"column {column!r}: {odd!r} names no channel", expected="1, 2, ..., or left and right")
    return [
        Excerpt(place.path, place.start, place.end, number, place.whole_if_short)
        for place, number in zip(places, numbers, strict=True)
    ]


def _ids(
    cells: Cells,
    names: Sequence[str | None],
    places: Sequence[Excerpt],
    problems: Sequence[Note | None],
    config: ManifestConfig,
    account: Accounting,
) -> tuple[list[str], str | None]:
    if config.id_column is not None:
        column = cells.named(config.id_column)
        return [text or f"row-{row}" for row, text in enumerate(cells.texts(column))], column
    filled = [name or f"row-{row}" for row, name in enumerate(names)]
    if any(place.is_cut for place in places):
        for column in cells.columns:
            texts = cells.texts(column)
            if plain_name(column) in ID_NAMES and None not in texts and len(set(texts)) == len(texts):
                account.guess("ids", f"column {column!r}", "unique, named like ids", "id_column=NAME")
                return [str(text) for text in texts], column
        filled = [name if names[row] is None else _short(name) for row, name in enumerate(filled)]
    return excerpt_ids(filled, places, problems), None


def _refuse_twice(ids: Sequence[str], path: Path, bad_times: Sequence[Note | None]) -> None:
    """Raises DataError if ids are not unique: one of two rows would silently win wherever rows are joined."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    twice = {name: found for name, found in rows.items() if len(found) > 1}
    if twice:
        name, found = next(iter(twice.items()))
        wrong = next((one for row in found if (one := bad_times[row]) is not None), None)
        if wrong is not None:
            raise DataError(
                f"{path.name}, row {found[0]}: {wrong[1]}",
                hint="seconds from the beginning of the recording; decimal=comma or point says what a comma is; "
                "excerpts=ignore takes whole recordings",
            )
        raise DataError(
            f"{len(twice)} ids of {path.name} are not unique: their recordings stand on several rows",
            first=f"{name!r} in rows {', '.join(map(str, found[:5]))}",
            hint="one row a recording, with several labels in one cell; or columns start and end; or id_column=NAME",
        )


def _short(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def _groups(
    cells: Cells,
    places: Sequence[Excerpt],
    taken: set[str],
    told: Told,
    config: ManifestConfig,
    account: Accounting,
) -> tuple[list[str | None], str | None]:
    """Leakage key of each row: a column, patterns in paths, folders, and always the recording of excerpts."""
    column = cells.named(config.group_column) if config.group_column else None
    if column is None and cells.has_names:
        free = [name for name in cells.columns if name not in taken and name not in config.labels]
        column = group_column([name for name in free if useful_groups(cells.texts(name))], GROUP_WORDS)
    if column is not None:
        groups = cells.texts(column)
        change = "group_column=NAME"
        count = len({group for group in groups if group is not None})
        account.guess("groups", f"column {column!r}", f"{count} of them, kept together in splits", change)
    else:
        groups, said = groups_in_paths([place.path for place in places])
        if not said and any(told.groups):
            groups = told.groups
            said = f"groups: {len(set(groups) - {None})} by folders or names of files; kept together in splits"
        if said:
            account.note(said)
    if any(place.is_cut for place in places):
        account.note("excerpts of one recording are kept together in splits")
    return joined_groups(groups, places), column


def _splits(cells: Cells, config: ManifestConfig) -> tuple[list[str | None], str | None]:
    """Part or fold of each row; numbers 1 ... N are folds ``fold-1`` ... ``fold-N``."""
    if config.split_column is not None:
        column: str | None = cells.named(config.split_column)
    else:
        called = next((name for name in cells.columns if plain_name(name) in SPLIT_NAMES), None)
        column = called or split_column(cells.columns, cells.columns.__getitem__)
    if column is None:
        return [], None
    found: list[str | None] = []
    for word in cells.texts(column):
        whole = None if word is None else word.removesuffix(".0")
        is_number = whole is not None and whole.isdecimal()
        found.append(f"fold-{int(whole or 0)}" if is_number else part_of(word or "") or word)
    return found, column


def _parts_of_folders(files: Sequence[Path], folder: Path, account: Accounting) -> list[str | None]:
    """Part of each row by a folder of its recording called train, test, ...; empty where folders declare none."""
    above = [file.relative_to(folder).parts[:-1] if file.is_relative_to(folder) else () for file in files]
    words = [next((part for one in parts if (part := folder_part(one))), None) for parts in above]
    if not all(words) or len(set(words)) < 2:
        return []
    account.guess("splits", ", ".join(sorted({str(word) for word in words})), "folders of these names")
    return words


def _labels(
    cells: Cells, left: Sequence[str], told: Told, config: ManifestConfig, path: Path, account: Accounting
) -> list[LabelColumn]:
    """Label columns, judged by core."""
    asked_for = [cells.named(name) for name in config.labels if name not in told.labels]
    chosen = asked_for if config.labels else _candidates(cells, left, account)
    names = _label_names(config, path if path.is_dir() else path.parent)
    separator = config.label_separator or ("," if path.suffix.lower() in JSON_SUFFIXES else "")
    columns: dict[str, Any] = {}
    nested: set[str] = set()
    for name in chosen:
        sign = separator or ("," if plain_name(name) == "positive_labels" else "")
        lists = read_lists(cells.texts(name))
        if lists is not None:
            nested.add(name)
            columns[name] = _renamed(lists.labels, names) if lists.labels and names else cells.columns[name]
            continue
        columns[name] = _prepared_cells(cells.texts(name), sign, names) if sign or names else cells.columns[name]
    columns = with_class_names(path if path.is_dir() else path.parent, columns, account)
    joint = {name for name, column in columns.items() if any(isinstance(one, str) and JOINT in one for one in column)}
    plain = {name: column for name, column in columns.items() if name not in joint}
    are_asked = set(plain) if config.label_kind != "auto" else set(config.labels)
    judged = read_labels(
        plain,
        kinds={name: config.label_kind for name in plain if name in are_asked},
        group_words=GROUP_WORDS,
        beside={name: column for name, column in cells.columns.items() if name not in plain},
        decimal=DECIMAL_SIGNS[config.decimal],
    )
    by_name = {one.name: one for one in judged}
    found = []
    for name, column in columns.items():
        if name in joint:
            one = read_label(name, column, kind="multilabel", separator=JOINT, why="cells hold several labels")
        elif name in by_name:
            one = by_name[name]
        else:
            continue
        is_class = name in config.labels or plain_name(name) in LABEL_NAMES
        if one.target is None and name not in nested and name not in joint and is_class:
            one = _as_class(one, name, column, is_asked=name in config.labels)
        one.tell(account)
        found.append(one)
    if len(found) < len(columns):
        account.note(
            f"labels are looked for in {len(found):,} of {len(columns):,} columns; others have to be named: "
            "labels=[NAME]"
        )
    return found


def _candidates(cells: Cells, left: Sequence[str], account: Accounting) -> list[str]:
    """Columns that may be labels: those called so, else all that do not describe a recording; says the others."""
    plain = {name: plain_name(name) for name in left}
    named = [name for name in left if plain[name] in LABEL_NAMES]
    if not cells.has_names:
        return named or list(left)
    found = named or [name for name in left if not any(plain[name].startswith(word) for word in NO_LABELS)]
    why = f"labels are in {', '.join(map(repr, named[:3]))}" if named else "its name says that it describes a recording"
    taken = frozenset(found)
    for name in left:
        if name not in taken:
            account.guess(f"column {name!r}", "no label", why, f"labels=[{name}]")
    return found


def _as_class(one: LabelColumn, name: str, column: Sequence[Any], *, is_asked: bool) -> LabelColumn:
    """What the name calls a class, however few rows there are; one class alone is none."""
    try:
        found = read_label(name, column, kind="class", why="the column is called a label")
    except DataError:
        return one
    if not is_asked:
        found.reason = found.reason.replace("as asked", "its name says so")
    return found if found.target is not None and len(found.target.names) > 1 else one


def _prepared_cells(texts: Sequence[str | None], separator: str, names: Mapping[str, str]) -> list[str | None]:
    """Cells with codes replaced by display names; several labels joined by a sign that no name holds."""
    found: list[str | None] = []
    for text in texts:
        parts = [] if text is None else split_cell(text, separator) if separator else [text]
        found.append(JOINT.join(names.get(part, part) for part in parts) or None)
    return found


def _renamed(labels: Sequence[str | None], names: Mapping[str, str]) -> list[list[str] | None]:
    """Lists of codes as lists of display names."""
    return [
        None if cell is None else [names.get(part, part) for part in split_cell(cell, LIST_SIGN)] for cell in labels
    ]


def row_values(labels: Sequence[LabelColumn], row: int) -> dict[str, Any]:
    """Labels of one row; missing ones are left out."""
    found = {}
    for one in labels:
        if one.target is not None and not np.isnan(one.values[row]).any():
            found[one.target.name] = one.value(row)
    return found


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
