"""Embedding files: parquet and npz, written in parts (:mod:`repcore.embedding.parts`), and reading them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from repcore.embedding.engines.parts import kept_header
from repcore.embedding.parts import PartFolder, texts
from repcore.errors import DataError
from repcore.files import parquet_schema, parse_json, read_parquet, storable
from repcore.interfaces import EmbeddingRows

PARQUET_NAMES = ("id", "status", "reason", "embedding")
NPZ_NAMES = ("ids", "status", "reason", "embeddings", "header")


def embedding_table(rows: EmbeddingRows) -> pa.Table:
    """Columns ``id, status, reason, embedding`` and those that the rows bring."""
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1), pa.float32())
    columns: dict[str, Any] = {
        "id": texts(rows.ids),
        "status": texts(rows.status),
        "reason": texts(rows.reason),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1]),
        **{
            name: pa.array([storable(one) if isinstance(one, str) else one for one in values])
            for name, values in rows.columns.items()
        },
    }
    return pa.table(columns)


class _EmbeddingParts(PartFolder):
    """Parts with a column ``embedding``."""

    def write(self, rows: EmbeddingRows) -> None:
        """Append a part."""
        self.append(embedding_table(rows))

    def failures(self, table: pa.Table) -> int:
        return failed_rows(table)


class ParquetWriter(_EmbeddingParts):
    """Columns ``id, status, reason, embedding`` (fixed-size list of float32); the header in the file's metadata."""

    def finish(self) -> Path:
        """Join the parts, one at a time."""
        return self.write_parquet()


class NpzWriter(_EmbeddingParts):
    """Arrays ``ids, status, reason, embeddings`` (N, D) float32, and ``header`` (JSON text)."""

    def finish(self) -> Path:
        """Stream the parts into the archive without holding all vectors in memory."""
        width = read_parquet(self._parts[0]).column("embedding").type.list_size if self._parts else 0
        texts: dict[str, list[Any]] = {name: [] for name in self._columns()}
        with self.final() as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("embeddings.npy", "w", force_zip64=True) as file:
                layout = {"descr": "<f4", "fortran_order": False, "shape": (self.rows_done, width)}
                np.lib.format.write_array_header_2_0(file, layout)
                for table in self.tables():
                    for name, values in texts.items():
                        values.extend(table.column(name).to_pylist())
                    for chunk in table.column("embedding").chunks:
                        file.write(chunk.flatten().to_numpy().astype("<f4").tobytes())
            for name, values in texts.items():
                is_text = not values or isinstance(values[0], str)
                with archive.open(f"{'ids' if name == 'id' else name}.npy", "w") as file:
                    column = np.asarray(values, dtype=np.str_ if is_text else None)
                    np.lib.format.write_array(file, column, allow_pickle=False)
            with archive.open("header.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(json.dumps(self.header)), allow_pickle=False)
        return self.path

    def _columns(self) -> list[str]:
        first = parquet_schema(self._parts[0]).names if self._parts else ["id", "status", "reason"]
        return [name for name in first if name != "embedding"]


def failed_rows(table: pa.Table) -> int:
    """Rows of a part without a vector."""
    return int(np.isnan(_vectors(table)).all(1).sum())


def _vectors(table: pa.Table) -> np.ndarray:
    column = table.column("embedding").combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)


def read_embeddings(path: Path) -> tuple[EmbeddingRows, dict[str, Any]]:
    """Rows and header of a file that :class:`ParquetWriter` or :class:`NpzWriter` wrote (or of the same layout).

    Also of a folder of parts (:mod:`repcore.embedding.engines.parts`), in the order of the data.

    Raises:
        DataError: missing, damaged, or without embeddings.
    """
    kept = kept_header(path) if path.is_dir() else None
    if not path.is_file() and kept is None:
        raise DataError(f"{str(path)!r} does not exist")
    if kept is not None and len(list(path.glob("part-*.parquet"))) != -(-kept["rows"] // kept["block_rows"]):
        raise DataError(f"{str(path)!r} misses parts", hint="give the command that writes them again: it goes on")
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                vectors = np.asarray(archive["embeddings"], np.float32)
                ids = (
                    [str(one) for one in archive["ids"]] if "ids" in archive else [str(i) for i in range(len(vectors))]
                )
                status = [str(one) for one in archive["status"]] if "status" in archive else ["ok"] * len(vectors)
                reason = [str(one) for one in archive["reason"]] if "reason" in archive else [""] * len(vectors)
                header = parse_json(str(archive["header"])) if "header" in archive else {}
                further = {name: archive[name].tolist() for name in archive.files if name not in NPZ_NAMES}
            return EmbeddingRows(ids, vectors, status, reason, further), header
        files = [path] if path.is_file() else sorted(path.glob("part-*.parquet"))
        table = pa.concat_tables([read_parquet(one) for one in files])
        vectors = _vectors(table)
        names = table.column_names
        ids = (
            [str(one) for one in table.column("id").to_pylist()]
            if "id" in names
            else [str(i) for i in range(len(vectors))]
        )
        status = table.column("status").to_pylist() if "status" in names else ["ok"] * len(vectors)
        reason = table.column("reason").to_pylist() if "reason" in names else [""] * len(vectors)
        header = kept or parse_json((table.schema.metadata or {}).get(b"repcore", b"{}"))
        further = {name: table.column(name).to_pylist() for name in names if name not in PARQUET_NAMES}
        return EmbeddingRows(ids, vectors, status, reason, further), header
    except (KeyError, ValueError, OSError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise DataError(f"{str(path)!r} is not an embedding file: {error}", expected="parquet or npz") from error
