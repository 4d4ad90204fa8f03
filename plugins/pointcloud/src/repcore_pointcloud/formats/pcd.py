"""Point Cloud Library files: named columns of an ascii or binary ``.pcd``, for shapes and for scenes.

Symbols: n points.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from repcore.errors import ItemError

TYPES = {
    ("F", 4): "<f4", ("F", 8): "<f8", ("U", 1): "u1", ("U", 2): "<u2", ("U", 4): "<u4",
    ("I", 1): "i1", ("I", 2): "<i2", ("I", 4): "<i4",
}  # fmt: skip
SKIPPED = "_"  # PCL's name of padding


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """First number of every field, (n,) each, in the order of the file.

    Raises:
        ItemError: ``corrupt``: no DATA line, or a header that does not fit the data; ``unknown_format``: compressed.
    """
    content = path.read_bytes()
    head = re.search(rb"^DATA\s+(\w+)[ \t]*\r?\n", content, re.MULTILINE)
    if head is None:
        raise ItemError("corrupt", f"{path.name} has no DATA line")
    lines = [line.split() for line in content[: head.start()].decode("ascii", "replace").splitlines()]
    header = {line[0].upper(): line[1:] for line in lines if line and not line[0].startswith("#")}
    body, how = content[head.end() :], head[1].decode().lower()
    if how not in ("ascii", "binary"):
        raise ItemError("unknown_format", f"{path.name} is {how}; save it as ascii or binary")
    try:
        return _ascii(header, body) if how == "ascii" else _binary(header, body)
    except (ValueError, KeyError, IndexError) as error:
        reason = f"no {error} in the header" if isinstance(error, KeyError) else str(error)
        raise ItemError("corrupt", f"{path.name} cannot be read: {reason}") from error


def _counts(header: dict[str, list[str]]) -> list[int]:
    return [int(one) for one in header.get("COUNT", ["1"] * len(header["FIELDS"]))]


def _ascii(header: dict[str, list[str]], body: bytes) -> dict[str, np.ndarray]:
    values = np.loadtxt(io.BytesIO(body), ndmin=2, dtype=np.float64)
    starts = np.cumsum([0, *_counts(header)[:-1]])
    return {name: values[:, start] for name, start in zip(header["FIELDS"], starts, strict=True) if name != SKIPPED}


def _binary(header: dict[str, list[str]], body: bytes) -> dict[str, np.ndarray]:
    names, counts = header["FIELDS"], _counts(header)
    kinds = [
        TYPES.get((kind, int(size)), f"V{size}") for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)
    ]
    rows = [(f"field{place}", kind, (count,)) for place, (kind, count) in enumerate(zip(kinds, counts, strict=True))]
    table = np.frombuffer(body, np.dtype(rows), int(header["POINTS"][0]))
    return {name: table[f"field{place}"][:, 0] for place, name in enumerate(names) if name != SKIPPED}
