"""Tables in memory: pandas, polars, pyarrow, Hugging Face data sets, and dicts of columns.

Tables come over by the Arrow protocol (``__arrow_c_stream__``), whatever library they are of; none is imported here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.data.preparation import cache_root
from repcore.errors import ConfigError, DataError
from repcore.files import written_whole

FOLDER = "given"  # within the cache
ID = "id"  # column in which readers of tables find the names of rows


def reading(id_column: str | None, read: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Settings of a reader: the column that names the rows, and further ones; None where there are none.

    Raises:
        ConfigError: two columns that name the rows.
    """
    found = dict(read or {})
    if id_column and found.get("id_column", id_column) != id_column:
        raise ConfigError(f"id_column={id_column!r} contradicts read={{'id_column': {found['id_column']!r}}}")
    return {**found, **({"id_column": id_column} if id_column else {})} or None


def is_table(data: Any) -> bool:
    """Whether this has named columns."""
    if isinstance(data, Mapping):
        return bool(data) and all(_is_cells(one) for one in data.values())
    if hasattr(data, "column_names") and hasattr(data, "with_format"):  # a Hugging Face data set, no stream of one
        return data.column_names is not None and hasattr(data, "__getitem__")
    return hasattr(data, "columns") and hasattr(data, "__arrow_c_stream__")


def is_column(data: Any) -> bool:
    """Whether this is one column of a table: a pandas or polars Series, an Arrow array."""
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return True
    return hasattr(data, "to_list") and hasattr(data, "name") and hasattr(data, "dtype")


def opened_table(data: Any) -> Any:
    """What stands for a table as the table: the result of a lazy query (polars), all batches of an Arrow reader, a
    structured array of NumPy as a dict of its fields; everything else as it is."""
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):
        return opened_table(data.collect())
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, np.ndarray) and data.dtype.names and data.ndim == 1:
        return {name: data[name] for name in data.dtype.names}
    return data


def names_of(data: Any) -> list[str]:
    """Names of the columns of a table."""
    if isinstance(data, Mapping):
        return list(map(str, data))
    columns = getattr(data, "column_names", None)
    return [str(one) for one in (data.columns if columns is None else columns)]


def repeated_names(data: Any) -> list[str]:
    """Names that more than one column of a table has."""
    names = names_of(data)
    return [one for one in dict.fromkeys(names) if names.count(one) > 1]


def columns_of(data: Any) -> dict[str, list[Any]]:
    """Columns by name as lists of Python values, objects as they are.

    Raises:
        DataError: columns of a dict of different lengths.
    """
    if isinstance(data, Mapping):
        found = {str(name): _cells(one) for name, one in data.items()}
        lengths = {name: len(cells) for name, cells in found.items()}
        if len(set(lengths.values())) > 1:
            words = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError("the columns of the table have different lengths", lengths=words)
        return found
    if hasattr(data, "with_format") and hasattr(data, "column_names"):
        return {str(name): list(data[name]) for name in data.column_names}
    if isinstance(data, pa.Table | pa.RecordBatch):
        return {name: data.column(name).to_pylist() for name in data.schema.names}
    return {str(name): _cells(data[name]) for name in data.columns}


def index_ids(data: Any) -> list[str] | None:
    """Ids of the index of a pandas column or table, where it is no plain numbering and names every row once."""
    index = getattr(data, "index", None)
    if index is None or not type(data).__module__.startswith("pandas") or type(index).__name__ == "RangeIndex":
        return None
    return [str(one) for one in index] if getattr(index, "is_unique", False) else None


def stored_table(data: Any) -> tuple[Path | None, list[str]]:
    """A parquet file in the cache with this table, named by its content, and the names of the columns.

    Returns no path where a column holds what is neither text nor number.
    """
    try:
        table = _arrow(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None, []
    if any(_is_nested(field.type) for field in table.schema):
        return None, table.schema.names
    digest = sha256(repr(table.schema.names).encode())
    for column in table.columns:
        digest.update(str(column.type).encode())
        for value in column.to_pylist():
            digest.update(f"{value!r}|".encode("utf-8", "surrogateescape"))
    path = cache_root() / FOLDER / digest.hexdigest()[:24] / "table.parquet"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{uuid.uuid4().hex}.partial")
        with written_whole(path, partial), partial.open("wb") as file:
            pq.write_table(table, file)
    return path, list(table.schema.names)


def _arrow(data: Any) -> pa.Table:
    """As an Arrow table of plain types; texts that name files below the working folder become absolute paths."""
    if isinstance(data, Mapping):
        table = pa.table({name: pa.array(cells) for name, cells in columns_of(data).items()})
    elif hasattr(data, "with_format") and hasattr(data, "column_names"):
        table = data.with_format("arrow")[:]
    elif type(data).__module__.startswith("pandas"):  # an index names rows, unless it only numbers them
        named = data.reset_index() if all(name is not None for name in data.index.names) else data
        table = pa.Table.from_pandas(named, preserve_index=False)
        ids = index_ids(data)
        if ids is not None and ID not in table.schema.names:
            table = table.add_column(0, ID, pa.array(ids, pa.string()))
    else:
        table = pa.table(data)
    table = table.replace_schema_metadata(None)
    columns = {str(name): _with_paths(_plain_type(table.column(k))) for k, name in enumerate(table.schema.names)}
    return pa.table(columns)


def _plain_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):  # Arrow takes words in its newest form out of no dictionary: cast them before
        word = pa.string() if pa.types.is_string_view(kind.value_type) else kind.value_type
        chunks = [chunk.dictionary.cast(word).take(chunk.indices) for chunk in column.chunks]
        column, kind = pa.chunked_array(chunks, word), word
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind)
    return column.cast(pa.string()) if is_text else column


def _with_paths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    first = next((one for one in column[:20].to_pylist() if one), "")
    if len(first) > 1000 or "\0" in first or Path(first).is_absolute() or not Path(first).is_file():
        return column
    found = [one if not one or not Path(one).exists() else str(Path(one).absolute()) for one in column.to_pylist()]
    return pa.chunked_array([found], pa.string())


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_cells(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | bytes | Mapping)


def _cells(column: Any) -> list[Any]:
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return list(column.to_pylist())
    if hasattr(column, "to_list"):
        return list(column.to_list())
    if hasattr(column, "detach"):
        column = column.detach().cpu().numpy()
    if hasattr(column, "tolist") and getattr(column, "ndim", 1) == 1:
        return list(column.tolist())
    return list(column)
