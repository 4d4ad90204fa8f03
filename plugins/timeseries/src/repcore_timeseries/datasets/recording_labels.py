"""What is known of recordings: numbers and words of whole files, tables beside them, folders and names of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.beside_lists import JSON_SUFFIXES, lists_items, words_of_lists
from repcore.data.cells import is_missing
from repcore.data.folder_classes import folder_levels, stays_beside_table, tell_words_in_names
from repcore.data.groups import group_column, groups_in_paths
from repcore.data.joined_tables import joined_table, put_together, without_placeholders
from repcore.data.labels import LabelColumn, read_labels
from repcore.data.names import composed, nearly
from repcore.data.side_tables import Keys, is_submission
from repcore.data.split_columns import parts_of, split_column
from repcore.data.splits import folder_part, parts_in_names
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.tables import Found
from repcore_timeseries.formats.times import step_words

LEAST_NAMED = 0.5  # share of the rows of a table of labels that name recordings; its times may be numbers of files, too
SAME_STEP = 0.01  # share of the usual step of time by which files may differ


@dataclass(slots=True)
class Recording:
    """A file: its series, or why there is none; words that are the same in all its lines, by column.

    Args:
        groups / parts: what columns of the file say of each series: whose it is, in which part of a split it lies.
    """

    file: Path
    id: str
    found: list[Found] = field(default_factory=list)
    words: dict[str, Any] = field(default_factory=dict)
    groups: list[str | None] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)

    @property
    def series(self) -> Series | None:
        """The only series of the file."""
        return self.found[0].series if len(self.found) == 1 else None


@dataclass(slots=True)
class Known:
    """Of every recording: cells of columns, whose it is, its part of a split, and its class by a folder."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    groups: list[str | None] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def known_of(
    recordings: Sequence[Recording], tables: Sequence[Path], root: Path, account: Accounting
) -> tuple[Known, list[LabelColumn]]:
    """What tables, names and folders say, and the labels among the columns."""
    known = _of_tables(recordings, tables, root, account)
    usable = [one for one in recordings if one.words or any(found.series is not None for found in one.found)]
    for name in dict.fromkeys(name for one in usable for name in one.words):
        if name not in known.columns and all(name in one.words for one in usable):
            known.columns[name] = [one.words.get(name) for one in recordings]
    labels = read_labels(known.columns, change="labels=COLUMN", account=account) if known.columns else []
    _of_folders(known, recordings, root, account)
    return known, labels


def _of_tables(recordings: Sequence[Recording], paths: Sequence[Path], root: Path, account: Accounting) -> Known:
    """Labels, groups and parts in tables that name recordings; tables of other things are left out, and said."""
    nobody: list[str | None] = [None] * len(recordings)
    known = Known({}, list(nobody), list(nobody))
    files = [one.file for one in recordings]
    keys = Keys(root, [tuple(map(composed, one.relative_to(root).parts[:-1])) for one in files], lambda name: "")
    for number, one in enumerate(recordings):
        keys.add(number, {composed(one.file.name), composed(Path(one.id).name)})
    tables = []
    json_lists = [one for one in sorted(root.iterdir()) if one.suffix.lower() in JSON_SUFFIXES]
    for path in [*paths, *(one for one in json_lists if lists_items(one, keys))]:
        if is_submission(path):
            account.ignore(path, "a sample submission by its name: places for answers, no labels")
            continue
        own = Accounting(root)
        joined = joined_table(path, keys, files, own, noun="recording")
        named = len({row for rows in joined.rows_of.values() for row in rows})
        if named >= LEAST_NAMED * len(joined.table):
            account.use(path)
            account.add(own)
            tables.append(joined)
        elif own.odd_cells:
            account.add(own)
            account.ignore(path, "its names stand for several recordings each")
        else:
            near = nearly(keys.by_name, [str(cell) for cell in joined.table.cells(joined.column)])
            more = f"; its names nearly agree: {near}" if near else ""
            account.ignore(path, f"its columns are not those of the other tables{more}")
    if not tables:
        return known
    columns, rows_of = put_together(without_placeholders(tables, account), root, account)
    split = split_column(columns, columns.__getitem__)
    group = group_column([name for name in columns if name != split])
    for name, cells in columns.items():
        held = [next((cells[row] for row in rows_of.get(number, ()) if not is_missing(cells[row])), None)
                for number in range(len(recordings))]  # fmt: skip
        if name == split:
            known.parts = parts_of(held)
        elif name == group:
            known.groups = [None if cell is None else str(cell).strip() for cell in held]
            count = len({one for one in known.groups if one})
            account.guess("groups", name, f"{count} different ones; kept together in splits")
        else:
            known.columns[name] = held
    return known


def _of_folders(known: Known, recordings: Sequence[Recording], root: Path, account: Accounting) -> None:
    """Parts, classes and groups that folders and names tell, where no table tells them."""
    above = [list(one.file.relative_to(root).parts[:-1]) for one in recordings]
    parts = [next((part for part in map(folder_part, one) if part), None) for one in above]
    stems = [Path(one.id).name for one in recordings]
    if parts and all(parts):
        account.guess("folders", "parts of a split", f"they are called {', '.join(sorted({str(p) for p in parts}))}")
        above = [[folder for folder in one if folder_part(folder) is None] for one in above]
    else:
        parts = parts_in_names(stems)
        if any(parts):
            shown = ", ".join(sorted({str(part) for part in parts}))
            account.guess("names of files", "parts of a split", f"they begin or end with {shown}")
    if not any(known.parts):
        known.parts = words_of_lists(root, [one.file for one in recordings], account) or parts
    levels = folder_levels(above, root.name)
    if not any(known.groups):
        known.groups, said = groups_in_paths([one.file for one in recordings], root, levels.groups)
        account.note(said) if said else None
    if levels.left:
        shown = ", ".join(levels.left[:4])
        account.guess("folders", "no label", f"{shown}: folders further in are classes", is_loss=True)
    if levels.classes and stays_beside_table(levels.classes, known.columns.values()):
        known.classes = list(levels.classes)
        account.guess("classes", f"{len(set(levels.classes))} folders", levels.reason)
    elif not known.columns and not any(known.groups):
        tell_words_in_names(stems, account)


def without_constants(recordings: Sequence[Recording], account: Accounting) -> None:
    """Channels that are one number in every file, and another in other files, become words of the files."""
    held = [one for one in recordings if one.series is not None]
    if len(held) < 2:
        return
    names = [name for name in held[0].series.names if all(name in one.series.names for one in held)]  # type: ignore[union-attr]
    constant = {}
    for name in names:
        values = [_constant(one.series, name) for one in held]  # type: ignore[arg-type]
        if None not in values and len(set(values)) > 1:
            constant[name] = values
    if not constant or len(constant) == len(names):
        return
    for name, values in constant.items():
        account.guess(f"column {name!r}", "no channel", "one number a file, others in other files", "channels=...")
        for one, value in zip(held, values, strict=True):
            one.words[name] = value
    for one in held:
        series = one.series
        assert series is not None
        kept = [place for place, name in enumerate(series.names) if name not in constant]
        names_left = tuple(series.names[place] for place in kept)
        one.found = [replace(one.found[0], series=Series(series.values[:, kept], names_left, series.times))]


def _constant(series: Series, name: str) -> float | None:
    values = series.values[:, series.names.index(name)]
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) > 1 and np.ptp(known) == 0 else None


def in_usual_order(recordings: Sequence[Recording]) -> None:
    """Channels of every file in the order of the first, where their names are the same."""
    usual = next((one.series.names for one in recordings if one.series is not None), ())
    for one in recordings:
        for number, found in enumerate(one.found):
            series = found.series
            if series is not None and series.names != usual and sorted(series.names) == sorted(usual):
                places = [series.names.index(name) for name in usual]
                one.found[number] = replace(found, series=Series(series.values[:, places], usual, series.times))


def tell_steps(recordings: Sequence[Recording], account: Accounting) -> None:
    """Files whose steps of time differ, which a model takes for the same."""
    steps = [
        float(np.median(np.diff(found.series.times)))
        for one in recordings
        for found in one.found
        if found.series is not None and found.series.times is not None and len(found.series) > 2
    ]
    if not steps or max(steps) <= min(steps) * (1 + SAME_STEP):
        return
    counts: Mapping[str, int] = Counter(map(step_words, steps))
    shown = ", ".join(f"{word} in {count}" for word, count in list(counts.items())[:4])
    longest = step_words(max(steps)).replace(" ", "")
    account.odd_cells.append(
        f"recordings have different steps of time ({shown}), which a model takes for the same: resample={longest} "
        "makes them one"
    )
