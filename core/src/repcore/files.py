"""Small files written whole or not at all, and JSON lines that survive a kill."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repcore.errors import CheckpointError

if TYPE_CHECKING:
    import pyarrow as pa


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it: readers never see half of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:  # of a full disk nothing is left behind
        temporary.unlink(missing_ok=True)


def storable(text: str) -> str:
    """A text that every file can hold: bytes of a file name that are no UTF-8 become escapes (``\\xff``)."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a character of UTF-16
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_file(path: Path) -> bool:
    """Whether a path that was put together from received text is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk: a rename before that can survive a power cut with nothing in it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; some file systems cannot."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read_parquet(path: Path) -> pa.Table:
    """A parquet file, or those of a folder by name, as a table.

    Python opens it, here and wherever one is written: pyarrow takes every path for UTF-8, whatever the bytes of a name
    or the locale, and would look for another file.
    """
    import pyarrow as pa

    from repcore.unpacking import open_parquet, parquet_batches

    if path.is_dir():
        parts = [read_parquet(part) for part in sorted(path.glob("*.parquet"))]
        return pa.concat_tables(parts, promote_options="permissive")
    with path.open("rb") as file:
        opened = open_parquet(file)
        batches = list(parquet_batches(opened, repr(str(path)), path.stat().st_size, ROWS_AT_ONCE))
        return pa.Table.from_batches(batches, None if batches else opened.file.metadata.schema.to_arrow_schema())


def parquet_schema(path: Path) -> pa.Schema:
    """Columns of a parquet file, from its end alone."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.read_schema(file)


ROWS_AT_ONCE = 1 << 16  # of a parquet file
DEVICES = {"con", "prn", "aux", "nul", *(f"{one}{number}" for one in ("com", "lpt") for number in range(1, 10))}
"""Names that no file or folder can have on Windows, whatever their suffix."""
MOST_JSON = 256 * 2**20  # bytes; settings and indexes of large models have a few


def parse_json(text: str | bytes) -> Any:  # any JSON value
    """A JSON value; whatever is wrong with the text is a ``ValueError``: also nesting of ten thousand levels, and a
    name that stands twice in an object, of whose values one would be lost without a word."""
    try:
        return json.loads(text, object_pairs_hook=_each_name_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{name!r} stands twice in one object")
    return found


def read_json_file(path: Path) -> Any:  # any JSON value
    """The JSON value in a file of bounded size.

    Raises:
        OSError: it cannot be read. ValueError: it is no JSON, too large or nested too deeply.
    """
    size = path.stat().st_size
    if size > MOST_JSON:
        raise ValueError(f"it has {size:,} bytes, more than {MOST_JSON:,}")
    return parse_json(path.read_text(encoding="utf-8"))


def read_object(path: Path, keys: Sequence[str] = (), **facts: object) -> dict[str, Any]:
    """The object in a JSON file that belongs to a model.

    Args:
        keys: that it has to hold.
        facts: further lines of an error, for example ``hint``.

    Raises:
        CheckpointError: the file is missing, is not JSON, holds something else than an object, or lacks a key.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path.name} in {path.parent}", **facts)
    try:
        content = read_json_file(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON", reason=error, **facts) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no JSON object", **facts)
    if missing := [key for key in keys if key not in content]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}", **facts)
    return content


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file; a last line cut off by a kill is left out, a missing file has none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield parse_json(line.decode("utf-8"))
            except ValueError:
                return
