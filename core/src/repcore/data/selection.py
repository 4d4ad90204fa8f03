"""Some rows of a data set by id: a selection that was saved from a map, hits of a search, findings of an audit."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repcore.data.accounting import account_of
from repcore.data.encodings import detect_encoding
from repcore.data.guard import read_sample, row_id
from repcore.data.joins import SHOWN, unique_places
from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import DatasetReader, Sample

ID = "id"
OPTION = "selected_rows"  # among the settings of a reader, whichever it is: file of ids


def read_ids(path: Path) -> list[str]:
    """Ids of a csv with a column ``id``, each once; other columns are not looked at.

    Raises:
        DataError: it cannot be read, has no such column, or names no id.
    """
    if not path.is_file():
        raise DataError(f"{str(path)!r} is no file", expected="a csv with the ids of rows below a line that says id")
    try:
        with path.open(newline="", encoding=detect_encoding(path).name) as file:
            lines = csv.DictReader(file)
            names = [str(name).strip() for name in lines.fieldnames or ()]
            if ID not in names:
                raise DataError(
                    f"{str(path)!r} has no column {ID!r}", columns=", ".join(names[:SHOWN]) or "none",
                    hint="a selection saved from a map, or any csv with the ids below a line that says id",
                )  # fmt: skip
            lines.fieldnames = names
            found = [str(line[ID] or "").strip() for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read as a csv of ids: {error}") from error
    ids = list(dict.fromkeys(one for one in found if one))
    if not ids:
        raise DataError(f"{str(path)!r} names no id: no row is selected", hint="select items in the map and save again")
    return ids


def selected(reader: DatasetReader, file: Path | str | None) -> DatasetReader:
    """The rows that a file of ids names, in the order of the data; the reader itself without a file.

    Raises:
        DataError: ids that the data does not have, or has twice.
    """
    if file is None:
        return reader
    path = Path(file).expanduser()
    ids = read_ids(path)
    place = unique_places([_id(reader, row) for row in range(len(reader))], "data")
    lost = [name for name in ids if name not in place]
    if lost:
        raise DataError(
            f"{len(lost):,} of {len(ids):,} ids of {path.name} are not in the data",
            first=", ".join(lost[:SHOWN]),
            did_you_mean=closest(lost[0], [str(name) for name in list(place)[:2000]]),
            hint="--id-column NAME, the same one as when the selection was saved",
        )
    return SelectedRows(reader, sorted(place[name] for name in ids), path.name)


def _id(reader: DatasetReader, row: int) -> str:
    if hasattr(reader, "id_of"):
        return row_id(reader, row)
    try:
        return read_sample(reader, row).id
    except ItemError:
        return row_id(reader, row)


class SelectedRows:
    """Some rows of a reader.

    Args:
        whole: reader of all rows. chosen: their numbers there, ascending. word: where the choice comes from.
    """

    def __init__(self, whole: DatasetReader, chosen: Sequence[int], word: str) -> None:
        self.whole, self.chosen = whole, list(chosen)
        self.account = account_of(whole)
        self.account.note(
            f"rows: the {len(self.chosen):,} of {len(whole):,} that {word} names; "
            f"{len(whole) - len(self.chosen):,} left out"
        )

    def __getattr__(self, name: str) -> Any:  # what is of the data as a whole
        if name.startswith("_") or name in ("whole", "chosen"):  # asked for while a copy of this is made
            raise AttributeError(name)
        return getattr(self.whole, name)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[self.chosen[index]]

    @property
    def fingerprint(self) -> str:
        rows = hashlib.sha256(",".join(map(str, self.chosen)).encode()).hexdigest()[:16]
        return f"{self.whole.fingerprint}|rows {rows}"

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared parts, as far as they are selected; parts of which nothing is left are gone."""
        place = {row: number for number, row in enumerate(self.chosen)}
        found = {
            name: [place[row] for row in map(int, rows) if row in place] for name, rows in self.whole.splits.items()
        }
        return {name: rows for name, rows in found.items() if rows}

    def id_of(self, index: int) -> str:
        """Id of a row."""
        return _id(self.whole, self.chosen[index])

    @property
    def costs(self) -> Sequence[float] | None:
        """One a row; None where the reader knows none."""
        return self._of("costs")

    @property
    def groups(self) -> Sequence[Any] | None:
        """One a row; None where the reader knows none."""
        return self._of("groups")

    @property
    def rows(self) -> tuple[Any, ...] | None:
        """Records of the reader; None where it keeps none."""
        found = self._of("rows")
        return None if found is None else tuple(found)

    def _of(self, name: str) -> list[Any] | None:
        known = getattr(self.whole, name, None)
        return None if known is None else [known[row] for row in self.chosen]

    @property
    def values(self) -> Any:
        """``values(name)``: cells of a column, one a row; None where the reader has no columns."""
        known = getattr(self.whole, "values", None)
        return None if known is None else self._values

    def _values(self, name: str) -> list[Any]:
        cells = self.whole.values(name)  # type: ignore[attr-defined]  # optional
        return [cells[row] for row in self.chosen]

    @property
    def cells(self) -> Any:
        """``cells(start, stop)``: inputs in bulk; None where the reader cannot."""
        return None if getattr(self.whole, "cells", None) is None else self._cells

    def _cells(self, start: int, stop: int) -> list[Any]:
        whole: Any = self.whole
        return [one for row in self.chosen[start:stop] for one in whole.cells(row, row + 1)]
