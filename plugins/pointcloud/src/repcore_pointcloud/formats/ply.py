"""PLY (Stanford polygon files): ascii and binary in either byte order, lists, any number of elements.

What a header announces is compared with the size of the file before anything is allocated.

Symbols: n rows of an element, c numbers of a list.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ItemError

HEADER_BYTES = 1 << 20
KINDS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
WORDS = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float",
         "f8": "double", "i8": "int64", "u8": "uint64"}  # fmt: skip
REMARKS = ("comment", "obj_info")
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
FIRST_RUN = 64  # rows that are read at once where lists may differ in length; doubled as long as they do not


@dataclass(frozen=True, slots=True)
class Property:
    """One property: type of its numbers, and of the count before them where it is a list (empty = no list)."""

    name: str
    kind: str
    count_kind: str = ""


@dataclass(slots=True)
class Element:
    """One element of the header."""

    name: str
    rows: int
    properties: list[Property] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of n rows: ``counts`` int64 (n,), and their numbers one after the other, ``values`` (sum of counts,)."""

    counts: np.ndarray
    values: np.ndarray

    def each(self) -> list[np.ndarray]:
        """One array a row."""
        return np.split(self.values, np.cumsum(self.counts)[:-1]) if len(self.counts) else []


Columns = Mapping[str, "np.ndarray | Lists"]


@dataclass(frozen=True, slots=True)
class PlyFile:
    """A whole file: its elements as the header says them, their columns by name, and the header's remarks."""

    elements: Sequence[Element]
    columns: Mapping[str, Columns]
    remarks: Sequence[str] = ()


def read_elements(path: Path) -> Mapping[str, Columns]:
    """Every element of a file by name: its columns (n,) in the file's own types, and its lists.

    Raises:
        ItemError: ``corrupt``.
    """
    return read_ply_file(path).columns


def read_ply_file(path: Path) -> PlyFile:
    """The file with its header; of several elements of one name the first.

    Raises:
        ItemError: ``corrupt``.
    """
    content = path.read_bytes()
    order, elements, start = _header(content[:HEADER_BYTES], path.name)
    _check_promise(elements, order, len(content) - start, path.name)
    body: _Text | _Binary = _Text(content[start:], path.name) if not order else _Binary(content, start, order)
    found: dict[str, Columns] = {}
    for element in elements:
        columns = _columns(body, element, path.name)
        found.setdefault(element.name, columns)
    if body.is_followed():
        counted = " and ".join(f"{one.rows:,} rows of {one.name!r}" for one in elements)
        raise _damaged(path.name, f"holds more than the {counted} of its header: mend the header, or write it anew")
    first = [one for place, one in enumerate(elements) if one.name not in {each.name for each in elements[:place]}]
    lines = content[:start].decode("latin-1").splitlines()
    return PlyFile(first, found, [line for line in lines if line.partition(" ")[0] in REMARKS])


def ply_bytes(file: PlyFile) -> bytes:
    """A file with lists, several elements and remarks, binary, whatever it was read from."""
    lines = ["ply", "format binary_little_endian 1.0", *file.remarks]
    body = []
    for element in file.elements:
        lines.append(f"element {element.name} {element.rows}")
        for one in element.properties:
            kind = f"list {WORDS[one.count_kind]} {WORDS[one.kind]}" if one.count_kind else WORDS[one.kind]
            lines.append(f"property {kind} {one.name}")
        body.append(_row_bytes(element, file.columns[element.name]))
    return ("\n".join([*lines, "end_header"]) + "\n").encode("latin-1", "replace") + b"".join(body)


def _row_bytes(element: Element, columns: Columns) -> bytes:
    """Rows of an element; those that follow each other with lists of the same lengths at once."""
    values = [columns[one.name] for one in element.properties]
    lists = [one for one in values if isinstance(one, Lists)]
    counts = np.stack([one.counts for one in lists], 1) if lists else np.zeros((element.rows, 0), np.int64)
    firsts = np.concatenate([np.zeros((1, len(lists)), np.int64), np.cumsum(counts, 0)])
    borders = np.flatnonzero((np.diff(counts, axis=0) != 0).any(1)) + 1
    parts = []
    for start, stop in pairwise([0, *borders.tolist(), element.rows]):
        layout: list[Any] = []
        filled: list[np.ndarray] = []
        for number, (one, own) in enumerate(zip(element.properties, values, strict=True)):
            if isinstance(own, Lists):
                place = next(at for at, each in enumerate(lists) if each is own)
                length = int(counts[start, place]) if stop > start else 0
                layout += [(f"c{number}", f"<{one.count_kind}"), (f"v{number}", f"<{one.kind}", (length,))]
                filled.append(np.full(stop - start, length))
                filled.append(own.values[firsts[start, place] : firsts[stop, place]].reshape(stop - start, length))
            else:
                layout.append((f"v{number}", f"<{one.kind}"))
                filled.append(own[start:stop])
        table = np.zeros(stop - start, layout)
        for (name, *_), part in zip(layout, filled, strict=True):
            table[name] = part
        parts.append(table.tobytes())
    return b"".join(parts)


def _damaged(name: str, why: str) -> ItemError:
    return ItemError("corrupt", f"{name} {why}")


def _header(head: bytes, name: str) -> tuple[str, list[Element], int]:
    """Byte order (empty = ascii), elements, and where the data begin."""
    if head[:3] != b"ply" or head[3:4] not in (b"\n", b"\r"):
        raise _damaged(name, "cannot be read: it does not begin with a line 'ply'")
    end = next((at for mark in (b"\nend_header", b"\rend_header") if (at := head.find(mark)) >= 0), -1)
    if end < 0:
        raise _damaged(name, "cannot be read: its header has no line 'end_header'")
    stop = end + len(b"\nend_header")
    stop += 2 if head[stop : stop + 2] == b"\r\n" else 1
    order: str | None = None
    elements: list[Element] = []
    for line in head[:end].decode("ascii", "replace").splitlines()[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) >= 2 and words[1] in ORDERS:
            order = ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
            elements.append(Element(words[1], int(words[2][:18])))
        elif words[0] == "property" and elements and (one := _property(words)) is not None:
            elements[-1].properties.append(one)
        else:
            raise _damaged(name, f"cannot be read: its header has a line {line[:60]!r}")
    if order is None:
        raise _damaged(name, "cannot be read: its header has no line 'format'")
    return order, elements, stop


def _property(words: Sequence[str]) -> Property | None:
    if len(words) == 3 and words[1] in KINDS:
        return Property(words[2], KINDS[words[1]])
    if len(words) == 5 and words[1] == "list" and words[2] in KINDS and words[3] in KINDS:
        return None if KINDS[words[2]][0] == "f" else Property(words[4], KINDS[words[3]], KINDS[words[2]])
    return None


def _check_promise(elements: Sequence[Element], order: str, left: int, name: str) -> None:
    """Every number takes bytes (in text two, one digit and what divides it); empty lists take those of their count."""
    needed = 0
    for one in elements:
        kinds = [each.count_kind or each.kind for each in one.properties]
        needed += one.rows * sum(2 if not order else int(kind[1]) for kind in kinds)
    if needed > left + (0 if order else 1):
        raise _damaged(name, f"is cut off: {left:,} bytes for elements that take {needed:,} or more")


class _Binary:
    """Numbers of a binary file from a place on."""

    def __init__(self, content: bytes, start: int, order: str) -> None:
        self.content, self.place, self.order = content, start, order
        self._size = 0

    def rows(self, properties: Sequence[Property], lengths: Sequence[int], most: int) -> list[np.ndarray]:
        """Up to so many rows with lists of these lengths; nothing moves on.

        Args:
            lengths: one a property, 0 for those that are no list.

        Returns:
            Of each property its numbers (n,), or for a list its counts (n,) and its numbers (n, c).
        """
        layout: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
        for number, (one, length) in enumerate(zip(properties, lengths, strict=True)):
            if one.count_kind:
                layout.append((f"c{number}", self.order + one.count_kind))
                layout.append((f"v{number}", self.order + one.kind, (length,)))
            else:
                layout.append((f"v{number}", self.order + one.kind))
        kind = np.dtype(layout)
        self._size = kind.itemsize
        fits = (len(self.content) - self.place) // self._size
        table = np.frombuffer(self.content, kind, min(most, fits), self.place)
        return [table[name] for name in kind.names or ()]

    def left(self) -> int:
        """Numbers that there is room for, at most."""
        return len(self.content) - self.place

    def is_followed(self) -> bool:
        """Whether more lies behind the last row read than a line end or padding: at least another row."""
        rest = self.content[self.place :]
        return len(rest) >= max(1, self._size) and bool(rest.strip(b"\0\r\n\t "))

    def advance(self, rows: int) -> None:
        """Past so many rows of the last layout."""
        self.place += rows * self._size


class _Text:
    """Numbers of a text file, whatever divides them."""

    def __init__(self, content: bytes, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what numpy says of text that is no number
            try:
                self.numbers = np.fromstring(content.decode("ascii"), np.float64, sep=" ")
            except (DeprecationWarning, ValueError) as error:
                raise _damaged(name, "cannot be read: not all of its data are numbers") from error
        self.place, self._size = 0, 0

    def rows(self, properties: Sequence[Property], lengths: Sequence[int], most: int) -> list[np.ndarray]:
        """As of :class:`_Binary`, all float64."""
        sizes: list[int | None] = []  # None = one number, else a list of so many
        for one, length in zip(properties, lengths, strict=True):
            sizes += [None, length] if one.count_kind else [None]
        self._size = sum(1 if one is None else one for one in sizes)
        fits = min(most, self.left() // self._size)
        table = self.numbers[self.place : self.place + fits * self._size].reshape(fits, self._size)
        found, at = [], 0
        for size in sizes:
            found.append(table[:, at] if size is None else table[:, at : at + size])
            at += 1 if size is None else size
        return found

    def left(self) -> int:
        """Numbers that are left."""
        return len(self.numbers) - self.place

    def is_followed(self) -> bool:
        """Whether numbers lie behind the last row read."""
        return self.left() > 0

    def advance(self, rows: int) -> None:
        """Past so many rows of the last layout."""
        self.place += rows * self._size


def _columns(body: _Text | _Binary, element: Element, name: str) -> Columns:
    """Columns and lists of the next element; rows whose lists have the same lengths are read at once."""
    properties = element.properties
    if not properties:
        return {}
    parts: list[list[np.ndarray]] = [[] for one in properties for _ in range(2 if one.count_kind else 1)]
    has_lists = any(one.count_kind for one in properties)
    left, run = element.rows, FIRST_RUN if has_lists else element.rows
    while left:
        asked = min(run, left)
        lengths = _lengths(body, properties, name)
        read = body.rows(properties, lengths, asked)
        good = _alike(read, properties, lengths)
        if not good or (good < asked and not has_lists):
            missing = left if has_lists else left - good
            raise _damaged(name, f"is cut off: {missing:,} of {element.rows:,} rows of {element.name!r} are missing")
        for own, values in zip(parts, read, strict=True):
            own.append(values[:good])
        body.advance(good)
        left, run = left - good, 2 * run if good == run else FIRST_RUN
    return _joined(parts, properties, name)


def _lengths(body: _Text | _Binary, properties: Sequence[Property], name: str) -> list[int]:
    """Lengths of the lists of the next row; 0 for what is no list."""
    lengths: list[int] = []
    for number, one in enumerate(properties):
        lengths.append(0)
        if not one.count_kind:
            continue
        read = body.rows(properties[: number + 1], lengths, 1)
        count = float(read[-2][0]) if len(read[-2]) else 0.0
        if not 0 <= count <= body.left() or count != int(count):
            raise _damaged(name, f"cannot be read: a list {one.name!r} of {count:g} numbers")
        lengths[-1] = int(count)
    return lengths


def _alike(read: Sequence[np.ndarray], properties: Sequence[Property], lengths: Sequence[int]) -> int:
    """How many rows have lists of these lengths, up to the first that has not."""
    good, place = len(read[0]), 0
    for one, length in zip(properties, lengths, strict=True):
        if one.count_kind:
            other = np.flatnonzero(read[place] != length)
            good = min(good, int(other[0]) if len(other) else good)
        place += 2 if one.count_kind else 1
    return good


def _joined(parts: Sequence[list[np.ndarray]], properties: Sequence[Property], name: str) -> Columns:
    found: dict[str, np.ndarray | Lists] = {}
    place = 0
    for one in properties:
        if one.count_kind:
            counts = np.concatenate([np.zeros(0, np.int64), *parts[place]]).astype(np.int64)
            values = np.concatenate([np.zeros(0, one.kind), *(each.reshape(-1) for each in parts[place + 1])])
            found[one.name] = Lists(counts, _typed(values, one, name))
        else:
            found[one.name] = _typed(np.concatenate([np.zeros(0, one.kind), *parts[place]]), one, name)
        place += 2 if one.count_kind else 1
    return found


def _typed(values: np.ndarray, one: Property, name: str) -> np.ndarray:
    """Numbers in the type of the header, in the byte order of this machine.

    Raises:
        ItemError: text that this type cannot hold.
    """
    kind = np.dtype(one.kind)
    if values.dtype.kind == "f" and kind.kind != "f":
        limits = np.iinfo(kind)
        with np.errstate(invalid="ignore"):
            bad = ~((values == np.floor(values)) & (values >= limits.min) & (values <= limits.max))
        if bad.any():
            word = WORDS.get(one.kind, one.kind)
            raise _damaged(name, f"cannot be read: {one.name}={values[bad][0]:g} is no {word}")
    return np.ascontiguousarray(values.astype(kind, copy=False))
