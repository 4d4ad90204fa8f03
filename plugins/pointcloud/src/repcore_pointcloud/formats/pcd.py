"""Point Cloud Library files: named columns of an ascii, binary or compressed ``.pcd``.

Symbols: n points.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repcore.data.allocation import check_allocation
from repcore.errors import ItemError
from repcore_pointcloud.formats.table import RawColumns

TYPES = {
    ("F", 4): "<f4", ("F", 8): "<f8", ("U", 1): "u1", ("U", 2): "<u2", ("U", 4): "<u4", ("U", 8): "<u8",
    ("I", 1): "i1", ("I", 2): "<i2", ("I", 4): "<i4", ("I", 8): "<i8",
}  # fmt: skip
SKIPPED = "_"  # PCL's name of padding
PACKED = ("rgb", "rgba")  # three bytes in the memory of one number


@dataclass(frozen=True, slots=True)
class PcdFile:
    """A whole file: the header by keyword, and each field but padding with all its numbers (n, c)."""

    header: Mapping[str, Sequence[str]]
    fields: Mapping[str, np.ndarray]

    def typed(self) -> dict[str, np.ndarray]:
        """The fields in the types of the header; whole numbers with gaps, and text without types, as float64."""
        kinds = {name: kind for name, kind, _ in _fields(self.header)} if "TYPE" in self.header else {}
        found = {}
        for name, values in self.fields.items():
            kind = np.dtype(kinds.get(name, values.dtype))
            found[name] = values if values.dtype.kind == "f" and kind.kind in "iu" else values.astype(kind)
        return found


def read_pcd(path: Path) -> RawColumns:
    """First number of every field, (n,) each, in the order of the file, packed colours taken apart.

    Raises:
        ItemError: ``corrupt``: no DATA line, or a header that does not fit the data; ``unknown_format``.
    """
    file = read_pcd_file(path)
    columns = {name: values[:, 0] for name, values in file.fields.items()}
    return RawColumns(_unpacked(columns), viewpoint=_viewpoint(file.header))


def read_pcd_file(path: Path) -> PcdFile:
    """The file as it is; numbers of text files as float64 and int64.

    Raises:
        ItemError: as :func:`read_pcd`.
    """
    content = path.read_bytes()
    head = re.search(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", content[:65536], re.MULTILINE)
    if head is None:
        raise ItemError("corrupt", f"{path.name} has no DATA line")
    lines = [line.split() for line in content[: head.start()].decode("ascii", "replace").splitlines()]
    header = {line[0].upper(): line[1:] for line in lines if line and not line[0].startswith("#")}
    body, how = content[head.end() :], head[1].decode().lower()
    readers = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}
    if how not in readers:
        raise ItemError("unknown_format", f"{path.name} is {how}; known are {', '.join(readers)}")
    try:
        columns = readers[how](header, body)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        reason = f"no {error} in the header" if isinstance(error, KeyError) else str(error)
        raise ItemError("corrupt", f"{path.name} cannot be read: {reason}") from error
    return PcdFile(header, columns)


def pcd_bytes(fields: Mapping[str, np.ndarray], header: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """A binary PCD 0.7 file.

    Args:
        fields: (n,) or (n, c) each; numbers of up to 8 bytes.
        header: of a file whose viewpoint, and whose rows and columns of an organised cloud, stay.
    """
    given = header or {}
    count = len(next(iter(fields.values())))
    widths = [1 if values.ndim == 1 else values.shape[1] for values in fields.values()]
    kinds = [values.dtype.newbyteorder("<") for values in fields.values()]
    table = np.zeros(
        count, [(f"f{place}", kind, (width,)) for place, (kind, width) in enumerate(zip(kinds, widths, strict=True))]
    )
    for place, values in enumerate(fields.values()):
        table[f"f{place}"] = values.reshape(count, -1)
    grid = [*given.get("WIDTH", ()), *given.get("HEIGHT", ())]
    if len(grid) != 2 or not all(one.isdecimal() for one in grid) or int(grid[0]) * int(grid[1]) != count:
        grid = [str(count), "1"]
    viewpoint = given.get("VIEWPOINT", ())
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", f"FIELDS {' '.join(fields)}",
        f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}",
        f"TYPE {' '.join(kind.kind.upper() for kind in kinds)}", f"COUNT {' '.join(map(str, widths))}",
        f"WIDTH {grid[0]}", f"HEIGHT {grid[1]}",
        f"VIEWPOINT {' '.join(viewpoint if len(viewpoint) == 7 else '0001000')}", f"POINTS {count}", "DATA binary",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode("ascii", "replace") + table.tobytes()


def _viewpoint(header: Mapping[str, Sequence[str]]) -> np.ndarray | None:
    """Where the sensor stood; None for the position that every writer puts there when it does not know."""
    try:
        found = np.array([float(one) for one in header.get("VIEWPOINT", [])[:3]])
    except ValueError:
        return None
    return found if len(found) == 3 and found.any() else None


def _counts(header: Mapping[str, Sequence[str]]) -> list[int]:
    return [int(one) for one in header.get("COUNT", ["1"] * len(header["FIELDS"]))]


def _points(header: dict[str, list[str]]) -> int:
    """Number of points: said, or width x height of an organised cloud."""
    if "POINTS" in header:
        return int(header["POINTS"][0])
    return int(header["WIDTH"][0]) * int(header.get("HEIGHT", ["1"])[0])


def _fields(header: Mapping[str, Sequence[str]]) -> list[tuple[str, str, int]]:
    """Name, type and numbers of every field."""
    sizes = zip(header["FIELDS"], header["TYPE"], header["SIZE"], _counts(header), strict=True)
    return [(name, TYPES.get((kind.upper(), int(size)), f"V{size}"), count) for name, kind, size, count in sizes]


def _ascii(header: dict[str, list[str]], body: bytes) -> dict[str, np.ndarray]:
    values = np.loadtxt(io.BytesIO(body), ndmin=2, dtype=np.float64)
    counts = _counts(header)
    if values.shape[1] != sum(counts) and len(values):
        raise ValueError(f"{values.shape[1]} numbers a line for {sum(counts)} in the header")
    if len(values) != _points(header):
        raise ValueError(f"{len(values)} points for {_points(header)} in the header")
    starts = np.cumsum([0, *counts[:-1]])
    kinds = {name: kind for name, kind, _ in _fields(header)} if "TYPE" in header else {}
    found = {}
    for name, start, width in zip(header["FIELDS"], starts, counts, strict=True):
        column = values[:, start : start + width]
        whole = np.dtype(kinds.get(name, "<f4")).kind in "iu" and np.isfinite(column).all()
        if name != SKIPPED and width:  # packed colours were written as the number whose memory they are
            packed = name.lower() in PACKED and not whole
            found[name] = column.astype("<f4") if packed else column.astype(np.int64) if whole else column
    return found


def _binary(header: dict[str, list[str]], body: bytes) -> dict[str, np.ndarray]:
    fields = _fields(header)
    rows = [(f"field{place}", kind, (count,)) for place, (_, kind, count) in enumerate(fields)]
    layout, count = np.dtype(rows), _points(header)
    if len(body) < count * layout.itemsize:
        raise ValueError(f"{len(body) // layout.itemsize:,} points for {count:,} in the header: it is cut off")
    table = np.frombuffer(body, layout, count)
    return {
        name: table[f"field{place}"]
        for place, (name, kind, numbers) in enumerate(fields)
        if name != SKIPPED and numbers and not kind.startswith("V")
    }


def _compressed(header: dict[str, list[str]], body: bytes) -> dict[str, np.ndarray]:
    """Column after column, packed with LZF."""
    if len(body) < 8:
        raise ValueError("nothing comes after the header")
    packed, unpacked = struct.unpack_from("<II", body)
    check_allocation(unpacked, "its compressed part", "the header")
    if len(body) - 8 < packed:
        raise ValueError(f"{len(body) - 8:,} of {packed:,} compressed bytes: it is cut off")
    data, count, start = lzf_decompressed(body[8 : 8 + packed], unpacked), _points(header), 0
    found = {}
    for name, kind, numbers in _fields(header):
        layout = np.dtype(kind)
        stop = start + count * numbers * layout.itemsize
        if stop > len(data):
            raise ValueError(f"{len(data):,} bytes are too few for {count:,} points")
        if name != SKIPPED and numbers and not kind.startswith("V"):
            found[name] = np.frombuffer(data[start:stop], layout).reshape(count, numbers)
        start = stop
    return found


def lzf_decompressed(data: bytes, size: int) -> bytes:
    """Content of an LZF stream of Marc Lehmann's format: runs of literals, and references back.

    Raises:
        ValueError: damaged, or not ``size`` bytes.
    """
    out = bytearray()
    place, end = 0, len(data)
    while place < end:
        control = data[place]
        place += 1
        if control < 32:  # control + 1 bytes as they are
            out += data[place : place + control + 1]
            place += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[place]
            place += 1
        back = len(out) - ((control & 31) << 8) - data[place] - 1
        place += 1
        length += 2
        if back < 0:
            raise ValueError("the compressed data refer to before their beginning")
        if back + length <= len(out):
            out += out[back : back + length]
        else:  # the reference runs into what it writes: a repeated pattern
            pattern = out[back:]
            out += (pattern * (length // len(pattern) + 1))[:length]
    if len(out) != size:
        raise ValueError(f"{len(out):,} bytes come out of the compressed data, {size:,} were announced")
    return bytes(out)


def _unpacked(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name in [one for one in columns if one.lower() in PACKED]:
        packed = columns.pop(name)
        bits = packed.astype("<f4").view("<u4") if packed.dtype.kind == "f" else packed.astype(np.int64)
        columns |= {"red": bits >> 16 & 255, "green": bits >> 8 & 255, "blue": bits & 255}
    return columns
