"""Small files written whole or not at all, and JSON lines that survive a kill."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from repcore.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_ROOM_IN_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|\(os error (?:27|28|122)\)|^\d+ requested and \d+ written"
    r"|unexpected pos \d+ vs|errno = 28\b"
)
"""What safetensors, numpy, torch, HDF5 and faiss say of a disk that is full; none of them gives the system's number."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error is that of a disk, quota or limit of a file's size that takes no more, whoever raised it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in NO_ROOM
    return _NO_ROOM_IN_WORDS.search(str(error)) is not None


_LEAVINGS = re.compile(
    r"\._.*|\.DS_Store|\.AppleDouble|\.localized|\.Spotlight-V100|\.Trashes|\.fseventsd|\.TemporaryItems|__MACOSX|Icon\r"
    r"|(?i:(?:eh)?thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information)|~\$.*|@eaDir"
    r"|\.directory|\.Trash-\d+|\.nfs[0-9a-fA-F]+|\.fuse_hidden[0-9a-fA-F]+|lost\+found"
    r"|.*~|\..*\.sw[a-p]|#.*#|\.#.*|\.~lock\..*#",
    re.DOTALL,
)


@contextlib.contextmanager
def written_whole(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A place to write a file to, which gets its name once all is in it, and is gone if anything fails.

    Args:
        path: of the finished file; one that is there stays until then.
        partial: another place than ``.NAME.partial`` beside it.

    Raises:
        OSError: the disk is full; names ``path``, whatever the library said that has met the end of it.
    """
    place = path.with_name(f".{path.name}.partial") if partial is None else partial
    try:
        yield place
        open_to_others(place)
        place.replace(path)
    except Exception as error:
        if not is_disk_full(error):
            raise
        number = (error.errno if isinstance(error, OSError) else None) or errno.ENOSPC
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def open_to_others(path: Path) -> None:
    """Give a file the rights of every file that is made here (0666 without the bits of the umask): libraries that write
    through a temporary file of their own leave it to its owner alone."""
    with contextlib.suppress(OSError):  # file systems without rights, files of somebody else
        path.chmod(0o666 & ~_umask())


def _umask() -> int:
    """Of this process, without touching it where the system tells it: threads may be making files."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """A folder that is made if it is missing, and is gone again if what follows fails and leaves nothing in it."""
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it: readers never see half of it."""
    with written_whole(path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        sync_file(temporary)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an ``.npy`` file through Python, whole or not at all.

    ``numpy.save`` hands a file to the C library and does not look whether its last buffer arrived: on a full disk the
    end of an array may be missing without a word.
    """
    import numpy as np

    with written_whole(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array(_Sink(file), array, allow_pickle=False)


class _Sink:
    """A file that numpy does not know for one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file, whole or not at all; one that a kill has cut off stays a line of its own."""
    with path.open("ab", buffering=0) as file:  # a buffer would be written once more when the file is closed
        before = file.tell()
        cut = b"\n" if before and not _ends_a_line(path) else b""
        left = memoryview(cut + f"{line}\n".encode())
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def storable(text: str) -> str:
    """A text that every file can hold: bytes of a file name that are no UTF-8 become escapes (``\\xff``)."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a character of UTF-16
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_left_by_a_system(name: str) -> bool:
    """Whether a name is one of those that file managers, network shares and editors leave in folders on their own."""
    return _LEAVINGS.fullmatch(name) is not None


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without what a system left there."""
    return sorted(path for path in folder.iterdir() if not is_left_by_a_system(path.name))


def is_file(path: Path) -> bool:
    """Whether a path that was put together from received text is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def special_kind(path: Path) -> str:
    """What a path is if opening it may hang or has no end (pipe, socket, device), in words; empty for files, folders
    and where there is nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    kinds = {
        "a named pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a character device": stat.S_ISCHR,
        "a block device": stat.S_ISBLK,
    }  # fmt: skip
    return next((words for words, is_kind in kinds.items() if is_kind(mode)), "")


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
        parts = [read_parquet(part) for part in entries_of(path) if part.match("*.parquet")]
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


def as_strict(value: Any, default: Callable[[Any], Any] | None = None) -> Any:  # any JSON value
    """A value as strict readers of JSON take it: numbers that are not finite become null.

    Args:
        default: what else becomes of a value that JSON does not know.
    """
    return json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)


def read_json_file(path: Path) -> Any:  # any JSON value
    """The JSON value in a file of bounded size.

    Raises:
        OSError: it cannot be read. ValueError: it is no JSON, too large or nested too deeply.
    """
    if kind := special_kind(path):
        raise ValueError(f"it is {kind}, no file")
    with path.open("rb") as file:
        content = file.read(MOST_JSON + 1)
    if len(content) > MOST_JSON:
        raise ValueError(f"it has more than {MOST_JSON:,} bytes")
    return parse_json(content.decode("utf-8"))


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


def read_figures(path: Path) -> Iterator[dict[str, Any]]:
    """Like :func:`read_lines`, of figures: null, which stands for a number that is not finite, comes back as NaN."""
    for line in read_lines(path):
        yield {name: math.nan if value is None else value for name, value in line.items()}


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
