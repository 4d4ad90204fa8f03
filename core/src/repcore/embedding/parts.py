"""Output files written in parts, so that an interrupted command goes on where it stopped.

Parts lie in ``<output>.parts/`` as parquet files of consecutive rows; each appears whole or not at all, and the final
file only when it is complete. A part folder of another model, data set or setting is refused, never mixed.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.embedding.windows_apart import SOURCE
from repcore.errors import DataError
from repcore.files import (
    append_line,
    new_folder,
    parquet_schema,
    parse_json,
    read_json_file,
    read_parquet,
    storable,
    written_whole,
)

RECORDS = "records.jsonl"
ELEMENT = "element"  # column of the place of an element in its row, counted from 0; empty where a row has none
DOUBLED_SHOWN = 3
OWN_FILES = ("part-*.parquet", "part-*.partial", "header.json", "header.partial", RECORDS)


def texts(values: Iterable[str | None]) -> pa.Array:
    """A column of words; file names may hold bytes that are none."""
    return pa.array([None if one is None else storable(str(one)) for one in values], pa.string())


class PartFolder:
    """Parts on disk; what writers of row-preserving files share.

    Args:
        path: final file.
        header: identifies what is written (model, data, settings); a leftover part folder must have the same.

    Raises:
        DataError: a leftover part folder belongs to something else, or the place cannot be written.
    """

    word = "embedding"

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = dict(header)
        self.folder = path.with_name(f"{path.name}.parts")
        self._open()
        self._parts = sorted(self.folder.glob("part-*.parquet"))
        self.status: Counter[str] = Counter()
        self.failed = 0
        self._sources: set[str] | None = None
        for table in self.tables():
            self._count(table)

    def _open(self) -> None:
        note = self.folder / "header.json"
        if note.is_file() and _json_in(note) != json.loads(json.dumps(self.header)):
            if any(self.folder.glob("part-*.parquet")):
                raise DataError(
                    f"{str(self.folder)!r} holds parts of another {self.word} run",
                    hint=f"delete that folder, or write to another file than {self.path.name}",
                )
            remove_parts(self.folder)  # whoever began here has written no row
        if not note.is_file():
            try:
                with new_folder(self.folder), written_whole(note, note.with_suffix(".partial")) as partial:
                    partial.write_text(json.dumps(self.header), encoding="utf-8")
            except OSError as error:
                raise DataError(f"{str(self.path)!r} cannot be written: {error}") from error

    @classmethod
    def clear_others(cls, path: Path, header: Mapping[str, Any]) -> None:
        """``--overwrite``: remove the parts that another run has left beside this output; own ones are gone on with.

        A user's files in a folder of that name stay.
        """
        folder = path.with_name(f"{path.name}.parts")
        if _json_in(folder / "header.json") != json.loads(json.dumps(dict(header))):
            remove_parts(folder)

    def restart(self) -> None:
        """Forget what an interrupted run has written."""
        for part in (*self._parts, *self.folder.glob(RECORDS)):
            part.unlink()
        self._parts, self.status, self.failed, self._sources = [], Counter(), 0, None

    @property
    def rows_done(self) -> int:
        """Rows written so far, by this writer and by an interrupted one before it."""
        return self.status.total()

    @property
    def inputs_done(self) -> int:
        """Rows of the data that are done: as many as were written, or fewer where each window has a row."""
        return self.rows_done if self._sources is None else len(self._sources)

    def append(self, table: pa.Table) -> None:
        """Write a part: columns ``id``, ``status``, ``reason`` and whatever the writer adds."""
        target = self.folder / f"part-{len(self._parts):06d}.parquet"
        with written_whole(target, target.with_suffix(".partial")) as partial, partial.open("wb") as file:
            pq.write_table(table, file)
        self._parts.append(target)
        self._count(table)

    def keep_record(self, row: int, record: Mapping[str, Any]) -> None:
        """Note what a later command needs of a row, before its part is written; the last note of a row counts."""
        append_line(self.folder / RECORDS, json.dumps({"number": row, "record": dict(record)}))

    def records(self) -> dict[int, Mapping[str, Any]]:
        """What :meth:`keep_record` noted, by row; a line that was cut off is left out."""
        found: dict[int, Mapping[str, Any]] = {}
        path = self.folder / RECORDS
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError):
                entry = parse_json(line)
                found[int(entry["number"])] = entry["record"]
        return found

    def tables(self) -> Iterator[pa.Table]:
        """The parts, one at a time, with the same columns: a part of failed rows may lack those of the others."""
        schemas = [parquet_schema(part) for part in self._parts]
        fields = {field.name: field for schema in schemas for field in schema}
        widest = max(schemas, key=len, default=None)
        names = [] if widest is None else [*widest.names, *(name for name in fields if name not in widest.names)]
        for part in self._parts:
            table = read_parquet(part)
            missing = {
                name: pa.nulls(table.num_rows, fields[name].type) for name in names if name not in table.schema.names
            }
            for name, nulls in missing.items():
                table = table.append_column(fields[name], nulls)
            yield table.select(names)

    def doubled_ids(self) -> str:
        """A sentence on ids that several rows have, whose results cannot be told apart by id; empty without any.

        Eight bytes are held of a row.
        """
        hashes = array("q")
        for ids in self._ids():
            hashes.extend(map(hash, ids))
        values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
        twice = set(values[counts > 1].tolist())
        if not twice:
            return ""
        rows = Counter(one for ids in self._ids() for one in ids if hash(one) in twice)
        doubled = [name for name, count in rows.items() if count > 1]
        if not doubled:
            return ""
        shown = ", ".join(map(repr, doubled[:DOUBLED_SHOWN])) + (", ..." if len(doubled) > DOUBLED_SHOWN else "")
        total = sum(rows[name] for name in doubled)
        word = "id is that" if len(doubled) == 1 else "ids are those"
        return f"{len(doubled):,} {word} of several rows ({total:,} rows, all of them are kept): {shown}"

    def _ids(self) -> Iterator[list[str]]:
        """Ids of each part; of rows with a line for each element one."""
        for table in self.tables():
            ids = table.column("id").to_pylist()
            if ELEMENT in table.column_names:
                first = [not number for number in table.column(ELEMENT).to_pylist()]  # none, or the first
                ids = [one for one, counts in zip(ids, first, strict=True) if counts]
            yield ids

    def failures(self, table: pa.Table) -> int:
        """Rows of a part without a result."""
        raise NotImplementedError

    def _count(self, table: pa.Table) -> None:
        self.status.update(table.column("status").to_pylist())
        self.failed += self.failures(table)
        if SOURCE in table.column_names:
            self._sources = (self._sources or set()) | set(table.column(SOURCE).to_pylist())

    def write_parquet(self) -> Path:
        """Join the parts into one parquet file with the header in its metadata."""
        writer = None
        with self.final() as partial, contextlib.ExitStack() as open_files:
            for table in self.tables():
                if writer is None:
                    metadata = {b"repcore": json.dumps(self.header).encode()}
                    file = open_files.enter_context(partial.open("wb"))
                    writer = open_files.enter_context(pq.ParquetWriter(file, table.schema.with_metadata(metadata)))
                writer.write_table(table)
        return self.path

    @contextlib.contextmanager
    def final(self) -> Iterator[Path]:
        """Where the final file is written; then it gets its name and the parts are removed. If it fails they stay."""
        with written_whole(self.path) as partial:
            yield partial
        remove_parts(self.folder)


def _json_in(path: Path) -> Any:  # any JSON value
    """What a file holds; None if it is not there or damaged."""
    try:
        return read_json_file(path)
    except (OSError, ValueError):
        return None


def remove_parts(folder: Path) -> None:
    """Remove what lies in a folder of parts and, if nothing else does, the folder."""
    for pattern in OWN_FILES:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
