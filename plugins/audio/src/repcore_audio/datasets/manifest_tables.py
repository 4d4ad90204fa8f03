"""Lists of recordings as columns of cells: tables as core reads them, JSON, JSON lines, annotation tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, TableCount
from repcore.data.cells import flat_cells, is_missing
from repcore.data.groups import plain_name
from repcore.data.json_rows import json_rows
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError, closest
from repcore_audio.datasets.locating import Locator, is_sound_name
from repcore_audio.datasets.recordings import SUFFIXES

PATH_NAMES = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "wav", "wav_path", "audio", "audio_path",
    "audio_file", "audio_filepath", "audio_filename", "recording", "begin_path", "begin_file", "slice_file_name",
    "sound", "sound_file", "clip", "fname", "wav_file", "ytid", "youtube_id", "source_file",
)  # fmt: skip
"""Names of columns that hold the names of recordings, the most telling first."""
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
SAMPLED = 500
TRIED = 40  # names without suffix that are looked for on disk
LEAST_SHARE = 0.5
ID_NAMES = ("id", "uid", "uuid", "key", "name", "recording_id", "audio_id", "sound_id", "file_id", "clip_id", "utt_id")
AUDIO_KEYS = {"path", "bytes", "array", "sampling_rate"}
FREQUENCIES = "\\"  # begins a line of a label track that holds frequencies
TRACK_COLUMNS = ("start", "end", "label")  # of an Audacity label track


class Cells:
    """Columns of a list of recordings.

    Args:
        columns: cells by name, all of one length.
        problems: malformed rows.
        has_names: whether the names are the table's own.
    """

    def __init__(
        self, columns: Mapping[str, Sequence[Any]], problems: Mapping[int, str], *, has_names: bool = True
    ) -> None:
        self.columns, self.problems, self.has_names = dict(columns), dict(problems), has_names

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def texts(self, name: str) -> list[str | None]:
        """Trimmed texts of a column, None where a cell is missing."""
        return [None if is_missing(cell) else str(cell).strip() for cell in self.columns[name]]

    def named(self, given: str) -> str:
        """A column that the user named.

        Raises:
            DataError: there is none.
        """
        lower = {name.lower(): name for name in self.columns}
        if given.lower() not in lower:
            raise DataError(
                f"the manifest has no column {given!r}",
                did_you_mean=closest(given, list(self.columns)),
                columns=", ".join(self.columns),
            )
        return lower[given.lower()]

    def renamed(self, columns: Sequence[str], name: str) -> list[str]:
        """Give columns whose names are not the table's own another one, numbered where there are several."""
        names = [name if len(columns) == 1 else f"{name}{number}" for number in range(1, len(columns) + 1)]
        for old, new in zip(columns, names, strict=True):
            self.columns[new] = self.columns.pop(old)
        return names

    def keep(self, rows: Sequence[int]) -> Cells:
        """Only these rows."""
        place = {row: number for number, row in enumerate(rows)}
        problems = {place[row]: text for row, text in self.problems.items() if row in place}
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Cells(columns, problems, has_names=self.has_names)


def read_cells(path: Path, account: Accounting) -> Cells:
    """A list of recordings.

    Raises:
        DataError: it cannot be read.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        rows = json_rows(path)
        account.use(path)
        account.tables.append(TableCount(path.name, len(rows)))
        names = dict.fromkeys(name for row in rows for name in row)
        return Cells({name: flat_cells(_path_of(row.get(name)) for row in rows) for name in names}, {})
    table = Table(path, is_data=is_sound_name)
    table.tell(account)
    columns = {name: table.cells(name) for name in table.columns}
    track = is_label_track(table)
    if track:
        columns, spectral = _without_frequencies(columns)
        if spectral:
            account.note(f"{path.name}: {spectral:,} lines of frequencies below labels are left out")
        columns = dict(zip(TRACK_COLUMNS, columns.values(), strict=False))  # two where no label has a text
        account.guess(f"columns of {path.name}", ", ".join(TRACK_COLUMNS), "two times and a text, as Audacity exports")
        return Cells(columns, {} if spectral else table.problems())
    return Cells(columns, table.problems(), has_names=table.has_header)


def published_problem(cells: Cells, row: int, name: str | None, file: Path) -> tuple[str, str] | None:
    """What is wrong with a row of a table whose layout is published: the row itself, or no such file."""
    if row in cells.problems:
        return "malformed_row", cells.problems[row]
    if name is None:
        return "missing_file", f"row {row} names no file"
    return None if file.is_file() else ("missing_file", f"{name} is in the table but not on disk")


def _path_of(cell: Any) -> Any:
    """The path of a recording as the datasets library stores it, ``{"path": ..., "bytes": null}``; else the cell."""
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str) and set(cell) <= AUDIO_KEYS:
        return cell["path"]
    return cell


def _without_frequencies(columns: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], int]:
    """Cells without the lines in which Audacity writes the frequencies of the label above them."""
    first = next(iter(columns.values()))
    kept = [row for row, cell in enumerate(first) if str(cell).strip() != FREQUENCIES]
    return {name: [cells[row] for row in kept] for name, cells in columns.items()}, len(first) - len(kept)


def is_label_track(table: Table) -> bool:
    """Whether a table is an Audacity label track: two times and a text a line, no header."""
    if table.has_header or not 2 <= len(table.columns) <= 3 or table_suffix(table.path) != ".txt":
        return False
    try:
        times = [
            (float(start), float(end))
            for start, end in zip(*(table.slice(0, TRIED, name) for name in table.columns[:2]), strict=True)
            if str(start).strip() != FREQUENCIES
        ]
    except (TypeError, ValueError):
        return False
    return bool(times) and all(0 <= start <= end for start, end in times)


def path_column(cells: Cells, folder: Path, account: Accounting) -> str | None:
    """The column with the names of recordings, by its cells, among equals by its name; None if there is none."""
    shares = {name: _share(column[:SAMPLED], is_sound_name) for name, column in cells.columns.items()}
    fitting = {name: share for name, share in shares.items() if share >= LEAST_SHARE}
    why = "{:.0%} of its cells are names of recordings"
    if not fitting and cells.has_names:
        locator = Locator(folder)
        named = [name for name in cells.columns if plain_name(name) in (*PATH_NAMES, *ID_NAMES)]
        found = {name: _share(cells.columns[name][:TRIED], lambda cell: _is_there(cell, locator)) for name in named}
        fitting = {name: share for name, share in found.items() if share >= LEAST_SHARE}
        why = "{:.0%} of its cells are names of files that are there, without their suffixes"
    if not fitting:
        return None
    best = min(fitting, key=lambda name: (_rank(name) if cells.has_names else 0, -fitting[name]))
    others = ", ".join(repr(name) for name in fitting if name != best)
    reason = why.format(fitting[best]) + (f"; {others} would fit too" if others else "")
    account.guess("recordings", f"column {best!r}", reason, "path_column=NAME")
    return best


def sibling_recording(path: Path) -> Path | None:
    """The recording with the name of a selection table or label track: ``a.wav`` of ``a.Table.1.selections.txt``."""
    stems = [path.name]
    while "." in stems[-1]:
        stems.append(stems[-1].rpartition(".")[0])
    for stem in stems[1:]:
        for folder in (path.parent, path.parent / "audio", path.parent / "recordings", path.parent.parent / "audio"):
            for suffix in SUFFIXES:
                for candidate in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
                    if candidate.is_file():
                        return candidate
    return None


def _share(cells: Sequence[Any], fits: Any) -> float:
    filled = [cell for cell in cells if not is_missing(cell)]
    return sum(bool(fits(cell)) for cell in filled) / len(filled) if filled else 0.0


def _is_there(cell: Any, locator: Locator) -> bool:
    if not isinstance(cell, str | int):
        return False
    file, missing = locator.find(str(cell))
    return missing is None and is_sound_name(file.name)  # names of pictures and tables are there, too


def _rank(name: str) -> int:
    plain = plain_name(name)
    return PATH_NAMES.index(plain) if plain in PATH_NAMES else len(PATH_NAMES)
