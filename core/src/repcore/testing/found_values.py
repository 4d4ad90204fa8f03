"""Finding known values again in a file of a format that nobody here can read: in which order do they stand there?

Text is looked at column by column; NumPy archives and zips of zarr array by array; anything else (also gzipped) as
bytes, for numbers that stand at a constant distance: one column of a table of records, or an array.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import numpy as np

from repcore.interfaces import DenseAnswer

MOST_STRIDE = 64  # bytes of a record
MOST_HEADER = 8192
LOOKED_AT = 48  # elements, before all are compared
INTEGERS = ("u1", "<i2", "<u2", "<i4", "<u4", "<i8")
FLOATS = ("<f4", "<f8")
ROUNDED = 2e-3  # relative to the largest: text and scaled integers lose digits


class Order(Enum):
    """In which order values were found."""

    SAME = "same"
    OTHER = "another"
    PLACES = "numbers of classes by place"
    NOWHERE = "not found"


def order_in_file(path: Path, answer: DenseAnswer) -> Order:
    """Where the answers of the elements stand; elements without an answer are left out of the comparison."""
    outputs = answer.outputs.reshape(-1, answer.outputs.shape[-1])
    grid = np.arange(len(outputs)).reshape(answer.outputs.shape[:-1])
    known = np.isfinite(outputs).all(1)
    columns = list(_columns(path))
    same = [np.arange(len(outputs)), grid.reshape(-1, order="F")]
    wanted = list(_wanted(answer))
    if any(_is_there(columns, values[order], known[order]) for values in wanted for order in same):
        return Order.SAME
    if answer.target is not None and answer.target.kind == "class":
        places = np.nan_to_num(outputs).argmax(1)
        if any(_is_there(columns, places[order], known[order]) for order in same):
            return Order.PLACES
    first = wanted[0]
    sorted_order = np.argsort(first, kind="stable")
    others = [np.arange(len(outputs))[::-1], np.roll(same[0], 1), np.roll(same[0], -1), sorted_order]
    others.append(sorted_order[::-1])
    wrong = any(_is_there(columns, values[order], known[order]) for values in wanted for order in others)
    return Order.OTHER if wrong else Order.NOWHERE


def numbers_in_order(content: bytes, vectors: np.ndarray) -> str:
    """What is wrong with the order in which known vectors (N, D) stand in a file, in words; empty where they stand
    right, row by row or column by column, or cannot be found."""
    good = vectors[np.isfinite(vectors).all(1)]
    forms = {"": good, "the numbers of each vector stand in reverse order": good[:, ::-1]}
    columns = {"": vectors.T, "the columns stand in reverse order": vectors.T[::-1]}
    columns["the rows of each column stand in reverse order"] = vectors.T[:, ::-1]
    streams = list(_streams(content))
    for known in (forms, columns):
        for problem, wanted in known.items():
            for stream in streams:
                places = [_place(stream, one) for one in wanted]
                if min(places) >= 0:
                    return problem or ("" if places == sorted(places) else "vectors stand in another order than ids")
    return ""


def _streams(content: bytes) -> Iterator[np.ndarray]:
    """Numbers of a text, or the bytes as each type of float at each distance from a multiple of its size."""
    try:
        words = re.findall(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?|nan|NaN", content.decode("utf-8"))
        yield np.asarray(words, np.float64)
        return
    except UnicodeDecodeError:
        pass
    for kind in ("<f4", ">f4", "<f8", ">f8"):
        size = np.dtype(kind).itemsize
        for start in range(size):
            count = (len(content) - start) // size
            yield np.frombuffer(content, kind, count=count, offset=start).astype(np.float64)


def _place(stream: np.ndarray, wanted: np.ndarray) -> int:
    """Where known numbers stand one behind the other; -1 if nowhere."""
    starts = len(stream) - len(wanted) + 1
    if starts <= 0:
        return -1
    there = np.ones(starts, bool)
    for step, value in enumerate(wanted):
        found = stream[step : step + starts]
        with np.errstate(all="ignore"):  # bytes that are no numbers
            there &= np.isnan(found) if np.isnan(value) else np.abs(found - value) <= 1e-6 + ROUNDED * abs(value)
    return int(np.argmax(there)) if there.any() else -1


def _wanted(answer: DenseAnswer) -> Iterator[np.ndarray]:
    """What may stand in a file for each element: label, name of the class, or the first number."""
    outputs = answer.outputs.reshape(-1, answer.outputs.shape[-1])
    if answer.target is not None and answer.target.kind == "class":
        places = np.nan_to_num(outputs).argmax(1)
        yield np.asarray(answer.values)[places]
        yield np.asarray(answer.target.names)[places]
    yield outputs[:, 0]


def _is_there(columns: list[np.ndarray | bytes], values: np.ndarray, known: np.ndarray) -> bool:
    for one in columns:
        if isinstance(one, bytes):
            if values.dtype.kind in "iuf" and _in_bytes(one, values, known):
                return True
        elif len(one) >= len(values) and _equal(one[len(one) - len(values) :], values, known):
            return True
    return False


def _equal(found: np.ndarray, values: np.ndarray, known: np.ndarray) -> bool:
    """Whether a column of a file (text or numbers) holds the values."""
    if values.dtype.kind in "US":
        return found.dtype.kind in "US" and bool((found[known] == values[known]).all())
    try:
        numbers = found[known].astype(np.float64)
    except ValueError:
        return False
    return np.allclose(numbers, values[known], rtol=1e-4, atol=1e-6)


def _columns(path: Path) -> Iterator[np.ndarray | bytes]:
    """Columns of a text, arrays of an archive, or the bytes."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if zipfile.is_zipfile(io.BytesIO(content)):
        if "zarr.json" in zipfile.ZipFile(io.BytesIO(content)).namelist():
            yield from _zarr_columns(path)
            return
        with np.load(io.BytesIO(content)) as stored:
            for name in stored.files:
                array = stored[name]
                if array.dtype.kind not in "iufUS":
                    continue
                yield array.reshape(-1)
                if array.ndim > 1:
                    yield from array.reshape(-1, array.shape[-1]).T
        return
    yield content  # small numbers read as text, too
    try:
        lines = [re.split(r"[,;\t ]", line) for line in content.decode("utf-8").splitlines() if line]
    except UnicodeDecodeError:
        return
    width = min((len(line) for line in lines[-3:]), default=0)
    body = [line for line in lines if len(line) >= width]
    for number in range(width):
        yield np.asarray([line[number] for line in body])


def _zarr_columns(path: Path) -> Iterator[np.ndarray]:
    """Numbers of a zip that holds one zarr array; its blocks are compressed."""
    import zarr

    with zarr.storage.ZipStore(path, mode="r") as store:
        array = np.asarray(zarr.open_array(store, mode="r")[...])
    yield array.reshape(-1)
    if array.ndim > 1:
        yield from array.reshape(-1, array.shape[-1]).T


def _in_bytes(content: bytes, values: np.ndarray, known: np.ndarray) -> bool:
    """Whether known values stand in the bytes at a constant distance, as a number type that holds them."""
    places = np.flatnonzero(known)
    few = places[np.unique(np.linspace(0, len(places) - 1, LOOKED_AT).astype(np.int64))]
    for kind in (*INTEGERS, *FLOATS) if values.dtype.kind in "iu" else FLOATS:
        wanted = values.astype(kind)
        size = wanted.itemsize
        for stride in range(size, MOST_STRIDE + 1):
            starts = min(len(content) - (len(values) - 1) * stride - size + 1, MOST_HEADER)
            if starts <= 0:
                break
            if _somewhere(content, wanted, stride, starts, few, places):
                return True
    return False


def _somewhere(
    content: bytes, wanted: np.ndarray, stride: int, starts: int, few: np.ndarray, places: np.ndarray
) -> bool:
    raw = np.frombuffer(content, np.uint8)
    size = wanted.itemsize
    possible = np.arange(starts)
    for numbers in (few, places):
        bits = wanted[numbers].view(np.uint8).reshape(len(numbers), size)
        for number, expected in zip(numbers, bits, strict=True):
            at = possible[:, None] + number * stride + np.arange(size)
            possible = possible[(raw[at] == expected).all(1)]
            if not len(possible):
                return False
    return True
