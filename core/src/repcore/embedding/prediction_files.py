"""Tables of predictions: csv, tsv, parquet and npz, written in parts so that an interrupted command goes on."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from repcore.data.allocation import open_arrays
from repcore.embedding.parts import PartFolder, texts
from repcore.errors import ConfigError, DataError, closest
from repcore.files import read_parquet

SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")
FIXED = ("id", "status", "reason")
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class TableWriter(PartFolder):
    """Columns ``id, status, reason`` and those of :func:`repcore.embedding.answers.answer_columns`.

    Args:
        path: its suffix says the format.
        header: identifies model, data and settings; also the parquet metadata and the array ``header`` of an npz.
        answer: name of a column that is empty exactly where a row has no prediction.
        text: names of columns that hold words; all further ones hold numbers.

    Raises:
        ConfigError: a suffix that is none of csv, tsv, parquet, npz.
    """

    word = "prediction"

    def __init__(self, path: Path, header: Mapping[str, Any], answer: str, text: Collection[str] = ()) -> None:
        self.suffix = path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise ConfigError(
                f"no table of predictions ends in {path.suffix!r}" if path.suffix else f"{path.name!r} has no suffix",
                did_you_mean=closest(self.suffix, SUFFIXES),
                expected=", ".join(SUFFIXES),
            )
        self.answer, self.text = answer, frozenset(text)
        super().__init__(path, header)

    def write(
        self, ids: Sequence[str], status: Sequence[str], reason: Sequence[str], columns: Mapping[str, Sequence[Any]]
    ) -> None:
        """Append a part."""
        self.append(prediction_table(ids, status, reason, columns, self.text))

    def failures(self, table: pa.Table) -> int:
        return int(table.column(self.answer).null_count) if table.num_rows else 0

    def finish(self) -> Path:
        """Write the final file from the parts."""
        if self.suffix == ".parquet":
            return self.write_parquet()
        with self.final() as partial:
            if self.suffix == ".npz":
                self._write_npz(partial)
            else:
                self._write_text(partial, DELIMITERS[self.suffix])
        return self.path

    def _write_text(self, partial: Path, delimiter: str) -> None:
        options = pa_csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
        writer = None
        with contextlib.ExitStack() as open_files:
            for table in self.tables():
                if writer is None:
                    file = open_files.enter_context(partial.open("wb"))
                    writer = open_files.enter_context(pa_csv.CSVWriter(file, table.schema, write_options=options))
                writer.write_table(table)
        if writer is None:
            partial.write_text(delimiter.join(FIXED) + "\n", encoding="utf-8")

    def _write_npz(self, partial: Path) -> None:
        """One array a column, ``ids`` for ``id``; empty cells are NaN or ''."""
        tables = list(self.tables())
        whole = pa.concat_tables(tables) if tables else pa.table({name: pa.array([], pa.string()) for name in FIXED})
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name in whole.column_names:
                key = "ids" if name == "id" else name.replace("/", "_")
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, _numpy(whole.column(name)), allow_pickle=False)
            with archive.open("header.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(json.dumps(self.header)), allow_pickle=False)


def prediction_table(
    ids: Sequence[str],
    status: Sequence[str],
    reason: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    text: Collection[str],
) -> pa.Table:
    """Columns ``id, status, reason`` and answers; those named in ``text`` hold words, all others numbers."""
    cells: dict[str, Sequence[Any]] = {"id": ids, "status": status, "reason": reason, **columns}
    kinds = {name: pa.string() if name in FIXED or name in text else pa.float64() for name in cells}
    return pa.table(
        {
            name: texts(values) if kinds[name] == pa.string() else pa.array(list(values), kinds[name])
            for name, values in cells.items()
        }
    )


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.asarray(["" if one is None else one for one in column.to_pylist()], dtype=np.str_)
    return np.asarray([np.nan if one is None else one for one in column.to_pylist()], np.float64)


def read_table(path: Path) -> dict[str, list[Any]]:
    """Columns of a file that :class:`TableWriter` wrote; ``id`` again as ``id``.

    Raises:
        DataError: it is missing or none of ours.
    """
    try:
        if path.suffix.lower() == ".npz":
            with open_arrays(path) as archive:
                return {("id" if k == "ids" else k): archive[k].tolist() for k in archive.files if k != "header"}
        if path.suffix.lower() in DELIMITERS:
            text = {name: pa.string() for name in FIXED}
            parsing = pa_csv.ParseOptions(delimiter=DELIMITERS[path.suffix.lower()], newlines_in_values=True)
            kinds = pa_csv.ConvertOptions(column_types=text, strings_can_be_null=False)
            with path.open("rb") as file:
                table = pa_csv.read_csv(file, parse_options=parsing, convert_options=kinds)
        else:
            table = read_parquet(path)
    except (OSError, ValueError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise DataError(
            f"{str(path)!r} is not a table of predictions: {error}", expected=", ".join(SUFFIXES)
        ) from error
    return {name: table.column(name).to_pylist() for name in table.column_names}
