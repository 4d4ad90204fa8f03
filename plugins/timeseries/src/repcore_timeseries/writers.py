"""A file format for embeddings, for ``repcore embed MODEL DATA -o FILE.jsonl``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from repcore.errors import DataError
from repcore.interfaces import EmbeddingRows


class RowWriter:
    """JSON lines under another name until all are there; an interrupted run goes on behind the last whole line.

    Args:
        header: whose rows these are; the first line of the unfinished file.

    Raises:
        DataError: an unfinished file holds rows of another model or data set.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.partial = path, path.with_name(f".{path.name}.partial")
        self.status: Counter[str] = Counter()
        self.failed = 0
        self._sources: set[str] = set()
        first = json.dumps(dict(header), sort_keys=True)
        if not self.partial.exists():
            self.partial.write_text(first + "\n", encoding="utf-8")
            return
        lines = self.partial.read_text(encoding="utf-8").split("\n")[:-1]  # a cut last line is written again
        if lines[:1] != [first]:
            raise DataError(f"{str(self.partial)!r} holds rows of another run", hint="--overwrite, or remove it")
        for line in lines[1:]:
            self._count(json.loads(line))
        self.partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @property
    def rows_done(self) -> int:
        """Rows in the file so far."""
        return self.status.total()

    @property
    def inputs_done(self) -> int:
        """Rows of the data that are done; with ``--windows`` each of them has several rows here."""
        return len(self._sources) or self.rows_done

    def write(self, rows: EmbeddingRows) -> None:
        """More rows, in order."""
        with self.partial.open("a", encoding="utf-8") as file:
            for place, sample_id in enumerate(rows.ids):
                vector = rows.vectors[place]
                row: dict[str, Any] = {name: values[place] for name, values in rows.columns.items()}
                row |= {"id": sample_id, "status": rows.status[place], "reason": rows.reason[place]}
                row["vector"] = vector.tolist() if np.isfinite(vector).all() else None
                file.write(json.dumps(row) + "\n")
                self._count(row)

    def _count(self, row: Mapping[str, Any]) -> None:
        self.status[row["status"]] += 1
        self.failed += row["vector"] is None
        if "source" in row:
            self._sources.add(row["source"])

    def finish(self) -> Path:
        """The finished file: the rows, without the header."""
        rows = self.partial.read_text(encoding="utf-8").split("\n", 1)[1]
        finished = self.partial.with_name(f"{self.partial.name}.whole")
        finished.write_text(rows, encoding="utf-8")
        finished.replace(self.path)
        self.partial.unlink()
        return self.path
