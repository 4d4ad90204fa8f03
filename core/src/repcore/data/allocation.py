"""What a header promises is judged before memory is taken for it.

A few bytes can announce terabytes: a damaged header, an archive made to unpack without end. Readers ask
:func:`check_allocation` with the bytes that a header announces before they make room for them, and read NumPy's files
through :func:`load_array` and :func:`open_arrays`, which do so. The limit is ``REPCORE_ITEM_MIB`` (8192 unless set),
and never more than half of the machine's memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from repcore.errors import ItemError
from repcore.files import special_kind
from repcore.memory import total_memory

LIMIT_VARIABLE = "REPCORE_ITEM_MIB"
LIMIT_MIB = 8192.0
MOST_EMPTY = 2**32  # longest side of an array without values; numpy refuses the largest in words about overflow
DEFLATE_RATIO = 1032  # no deflated file unpacks to more than this many times its size


def largest_item() -> int:
    """Most bytes that one item may announce."""
    try:
        asked = float(os.environ.get(LIMIT_VARIABLE, "") or LIMIT_MIB)
    except ValueError:
        asked = LIMIT_MIB
    return int(min(asked * 2**20, total_memory() / 2))


class CappedFile(io.BufferedReader):
    """A file for libraries that read as many bytes as a header says: room is made only for those that are there.

    Python's own file objects make room for all that is asked for before they read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def check_allocation(needed: int, name: str, what: str = "its header") -> None:
    """Refuse an item before memory is taken for it.

    Args:
        needed: bytes that are announced.
        name: of the file, for the message.
        what: announces them.

    Raises:
        ItemError: ``too_large``.
    """
    limit = largest_item()
    if needed > limit:
        raise ItemError(
            "too_large",
            f"{name}: {what} announces {needed / 2**20:,.0f} MiB; the limit is {limit / 2**20:,.0f} MiB "
            f"(raise it with {LIMIT_VARIABLE})",
        )


def refuse_special(path: Path) -> None:
    """Refuse a path that is no file: opening a pipe waits for ever, a device has no end.

    Raises:
        ItemError: ``special_file``.
    """
    kind = special_kind(path)
    if kind:
        raise ItemError("special_file", f"{path.name} is {kind}, no file")


def load_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file. Nothing is unpickled.

    Raises:
        ItemError: ``special_file``, ``too_large``, ``corrupt``: the file is shorter than its header says.
        ValueError, OSError: it is no such file.
    """
    refuse_special(path)
    with path.open("rb") as file:
        needed = array_header(file)[1]
        left = path.stat().st_size - file.tell()
    if needed > left:
        raise ItemError("corrupt", f"{path.name} holds {left:,} bytes of values; its header announces {needed:,}")
    check_allocation(needed, path.name)
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it is no .npy file")
    return array


@contextmanager
def open_arrays(path: Path) -> Iterator[Any]:  # numpy.lib.npyio.NpzFile
    """An open ``.npz`` archive whose members have been judged by their headers; arrays are read when asked for.

    Raises:
        ItemError: ``special_file``, ``too_large``, ``corrupt``.
        ValueError, OSError, zipfile.BadZipFile: it is no such file.
    """
    refuse_special(path)
    with ZipFile(path) as packed:
        announced = sum(_judged(packed, member, path.name) for member in packed.infolist())
    check_allocation(announced, path.name, "the list of its arrays")
    with np.load(path, allow_pickle=False) as archive:
        yield archive


def _judged(packed: ZipFile, member: ZipInfo, name: str) -> int:
    """Bytes that a member of an archive takes."""
    if member.file_size > member.compress_size * DEFLATE_RATIO + 1024:
        raise ItemError("corrupt", f"{name}: {member.filename!r} announces more than its packed bytes can hold")
    if not member.filename.endswith(".npy"):
        return member.file_size
    check_allocation(member.file_size, name, f"{member.filename!r}")
    with packed.open(member) as file:
        needed = array_header(file)[1]
    if needed > member.file_size:
        raise ItemError(
            "corrupt", f"{name}: {member.filename!r} has {member.file_size:,} bytes; its header announces {needed:,}"
        )
    return member.file_size


def array_header(file: IO[bytes]) -> tuple[tuple[int, ...], int]:
    """Shape that an ``.npy`` header announces, and the bytes of its values.

    Raises:
        ValueError: it is no such header, or no array can have its shape.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    count = 1
    for length in shape:
        count *= int(length)
    largest = max((int(length) for length in shape), default=0)
    if min((int(length) for length in shape), default=0) < 0 or (count == 0 and largest > MOST_EMPTY):
        raise ValueError(f"its header announces the shape {tuple(shape)}")
    return tuple(shape), count * int(kind.itemsize)
