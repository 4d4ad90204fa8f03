"""A folder of parts, one for each block of rows, written in any order by anybody and complete when all are there.

DIR/
  header.json               model, data, settings, rows, rows of a block; ``complete`` when all parts are there
  part-000000016384.parquet rows from this one on, column ``row`` first; appears whole or not at all
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repcore.errors import DataError
from repcore.files import entries_of, parquet_schema, parse_json, read_json_file, write_text, written_whole
from repcore.outputs import PARTS_HEADER

LEAST_BLOCK_ROWS, MOST_BLOCK_ROWS = 32, 16_384
BLOCKS = 64  # of small data: enough to share out
FACTS = b"repcore"
"""Metadata of a part: its rows by status, and how many have no vector or answer."""

Block = tuple[int, int]
"""First row, and the row behind the last."""


class Parts:
    """The parts of one result.

    Args:
        path: the folder.
        header: identifies the result.
        overwrite: remove the parts of another result.

    Raises:
        DataError: it holds another result or other files, or cannot be written.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        rows = int(header["rows"])
        block_rows = min(max(LEAST_BLOCK_ROWS, -(-rows // BLOCKS)), MOST_BLOCK_ROWS)
        self.header = json.loads(json.dumps({**header, "block_rows": block_rows}))
        kept = kept_header(path)
        if kept is not None and {**kept, "complete": None} != {**self.header, "complete": None}:
            if not overwrite:
                differ = [name for name in self.header if kept.get(name) != self.header[name]]
                raise DataError(
                    f"{str(path)!r} holds parts of another result",
                    differs_in=", ".join(differ),
                    hint="--overwrite, or another folder",
                )
            remove_parts(path)
        elif kept is None and path.is_dir() and entries_of(path):
            raise DataError(f"{str(path)!r} holds other files than parts of ours", hint="an empty or new folder")
        self.blocks: list[Block] = [(first, min(first + block_rows, rows)) for first in range(0, rows, block_rows)]
        try:
            path.mkdir(parents=True, exist_ok=True)
            if kept_header(path) is None:
                write_text(path / PARTS_HEADER, json.dumps(self.header))
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be written: {error}") from error

    def todo(self) -> list[Block]:
        """Blocks without a part."""
        return [one for one in self.blocks if not part_file(self.path, one).is_file()]

    def counts(self) -> tuple[Counter[str], int]:
        """Rows by status, and rows without a vector or answer: what the parts' own footers say."""
        status: Counter[str] = Counter()
        failed = 0
        for one in self.blocks:
            if part_file(self.path, one).is_file():
                facts = part_facts(parquet_schema(part_file(self.path, one)))
                status.update(facts["status"])
                failed += int(facts["failed"])
        return status, failed

    def complete(self) -> None:
        """Note that all parts are there.

        Raises:
            DataError: one is missing.
        """
        left = self.todo()
        if left:
            raise DataError(
                f"{len(left):,} parts of {str(self.path)!r} are missing",
                first=part_file(self.path, left[0]).name,
                hint="is that folder the same on every machine? Give one that all of them share",
            )
        write_text(self.path / PARTS_HEADER, json.dumps({**self.header, "complete": True}))


def kept_header(path: Path) -> dict[str, Any] | None:
    """The header of a folder of parts; None where it is none."""
    with contextlib.suppress(OSError, ValueError):
        found = read_json_file(path / PARTS_HEADER)
        if isinstance(found, dict) and "block_rows" in found:
            return found
    return None


def part_file(path: Path, block: Block) -> Path:
    """Where a block's part lies."""
    return path / f"part-{block[0]:012}.parquet"


def part_facts(schema: pa.Schema) -> dict[str, Any]:
    """What a part says of its rows."""
    facts: dict[str, Any] = parse_json((schema.metadata or {}).get(FACTS, b'{"status": {}, "failed": 0}'))
    return facts


def write_part(path: Path, block: Block, table: pa.Table) -> None:
    """Write a part whole or not at all.

    Raises:
        DataError: the table has not the rows of the block.
    """
    if table.num_rows != block[1] - block[0]:
        raise DataError(f"{table.num_rows:,} rows came back for the rows {block[0]:,} to {block[1]:,}")
    target = part_file(path, block)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    with written_whole(target, partial), partial.open("wb") as file:
        pq.write_table(table, file)


def remove_parts(path: Path) -> None:
    """Remove parts and header, nothing else."""
    for one in [*path.glob("part-*.parquet"), *path.glob(".part-*.partial"), path / PARTS_HEADER]:
        one.unlink(missing_ok=True)
