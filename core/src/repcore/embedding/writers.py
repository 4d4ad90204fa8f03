"""Embedding files: parquet and npz, written in parts so that an interrupted run goes on where it stopped.

Parts lie in ``<output>.parts/``; the final file appears only when it is complete. A part folder of another model,
data set or setting is refused, never mixed.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.errors import DataError
from repcore.interfaces import EmbeddingRows


class _PartWriter:
    """Parts on disk, each a parquet file of consecutive rows.

    Args:
        path: final file.
        header: identifies what is written (model, data, settings); a leftover part folder must have the same.

    Raises:
        DataError: a leftover part folder belongs to something else.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = dict(header)
        self.folder = path.with_name(f"{path.name}.parts")
        note = self.folder / "header.json"
        if note.is_file() and json.loads(note.read_text(encoding="utf-8")) != json.loads(json.dumps(self.header)):
            raise DataError(
                f"{str(self.folder)!r} holds parts of another embedding run",
                hint=f"delete that folder, or write to another file than {path.name}",
            )
        if not note.is_file():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                note.write_text(json.dumps(self.header), encoding="utf-8")
            except OSError as error:
                raise DataError(f"{str(path)!r} cannot be written: {error}") from error
        self._parts = sorted(self.folder.glob("part-*.parquet"))
        self.status: Counter[str] = Counter()
        self.failed = 0
        for table in self._tables():
            self._count(table.column("status").to_pylist(), _vectors(table))

    @property
    def rows_done(self) -> int:
        """Rows written so far, by this writer and by an interrupted one before it."""
        return self.status.total()

    def write(self, rows: EmbeddingRows) -> None:
        """Append a part."""
        width = rows.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1), pa.float32())
        columns: dict[str, Any] = {
            "id": pa.array(list(rows.ids), pa.string()),
            "status": pa.array(list(rows.status), pa.string()),
            "reason": pa.array(list(rows.reason), pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, width),
            **{name: pa.array(list(values)) for name, values in rows.columns.items()},
        }
        target = self.folder / f"part-{len(self._parts):06d}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(pa.table(columns), partial)
        partial.rename(target)
        self._parts.append(target)
        self._count(rows.status, rows.vectors)

    def _count(self, status: Sequence[str], vectors: np.ndarray) -> None:
        self.status.update(status)
        self.failed += int(np.isnan(vectors).all(1).sum())

    def _tables(self) -> Iterator[pa.Table]:
        for part in self._parts:
            yield pq.read_table(part)

    def _done(self, partial: Path) -> Path:
        partial.rename(self.path)
        shutil.rmtree(self.folder)
        return self.path


class ParquetWriter(_PartWriter):
    """Columns ``id, status, reason, embedding`` (fixed-size list of float32); the header in the file's metadata."""

    def finish(self) -> Path:
        """Join the parts, one at a time."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        writer = None
        try:
            for table in self._tables():
                if writer is None:
                    metadata = {b"repcore": json.dumps(self.header).encode()}
                    writer = pq.ParquetWriter(partial, table.schema.with_metadata(metadata))
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        return self._done(partial)


class NpzWriter(_PartWriter):
    """Arrays ``ids, status, reason, embeddings`` (N, D) float32, and ``header`` (JSON text)."""

    def finish(self) -> Path:
        """Stream the parts into the archive without holding all vectors in memory."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        width = pq.read_table(self._parts[0]).column("embedding").type.list_size if self._parts else 0
        texts: dict[str, list[str]] = {"id": [], "status": [], "reason": []}
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("embeddings.npy", "w", force_zip64=True) as file:
                layout = {"descr": "<f4", "fortran_order": False, "shape": (self.rows_done, width)}
                np.lib.format.write_array_header_2_0(file, layout)
                for table in self._tables():
                    for name, values in texts.items():
                        values.extend(table.column(name).to_pylist())
                    for chunk in table.column("embedding").chunks:
                        file.write(chunk.flatten().to_numpy().astype("<f4").tobytes())
            for name, values in (("ids", texts["id"]), ("status", texts["status"]), ("reason", texts["reason"])):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asarray(values, dtype=np.str_), allow_pickle=False)
            with archive.open("header.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(json.dumps(self.header)), allow_pickle=False)
        return self._done(partial)


def _vectors(table: pa.Table) -> np.ndarray:
    column = table.column("embedding").combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)


def read_embeddings(path: Path) -> tuple[EmbeddingRows, dict[str, Any]]:
    """Rows and header of a file that :class:`ParquetWriter` or :class:`NpzWriter` wrote (or of the same layout).

    Raises:
        DataError: missing, damaged, or without embeddings.
    """
    if not path.is_file():
        raise DataError(f"{str(path)!r} does not exist")
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                vectors = np.asarray(archive["embeddings"], np.float32)
                ids = (
                    [str(one) for one in archive["ids"]] if "ids" in archive else [str(i) for i in range(len(vectors))]
                )
                status = [str(one) for one in archive["status"]] if "status" in archive else ["ok"] * len(vectors)
                reason = [str(one) for one in archive["reason"]] if "reason" in archive else [""] * len(vectors)
                header = json.loads(str(archive["header"])) if "header" in archive else {}
            return EmbeddingRows(ids, vectors, status, reason), header
        table = pq.read_table(path)
        vectors = _vectors(table)
        names = table.column_names
        ids = (
            [str(one) for one in table.column("id").to_pylist()]
            if "id" in names
            else [str(i) for i in range(len(vectors))]
        )
        status = table.column("status").to_pylist() if "status" in names else ["ok"] * len(vectors)
        reason = table.column("reason").to_pylist() if "reason" in names else [""] * len(vectors)
        header = json.loads((table.schema.metadata or {}).get(b"repcore", b"{}"))
        return EmbeddingRows(ids, vectors, status, reason), header
    except (KeyError, ValueError, OSError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise DataError(f"{str(path)!r} is not an embedding file: {error}", expected="parquet or npz") from error
