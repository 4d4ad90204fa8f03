"""What a file is by its first bytes: people give names, and a sniffer that trusts them opens the wrong thing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repcore.data.first_files import first_files
from repcore.files import parse_json

HEAD_BYTES = 4096
LOOKED_AT = 400  # files of a folder
SMALL_JSON = 16 << 20  # bytes; a larger one is judged by its head
LARGE_TEXT, SHORT_TEXT = 32 << 20, 1 << 20  # bytes

_MAGIC: Mapping[str, tuple[tuple[int, bytes], ...]] = {  # suffix -> (offset, bytes), one of which must be there
    ".wav": ((0, b"RIFF"), (0, b"RF64"), (0, b"RIFX")),
    ".flac": ((0, b"fLaC"), (0, b"ID3")),
    ".ogg": ((0, b"OggS"),),
    ".mp3": ((0, b"ID3"), (0, b"\xff\xfb"), (0, b"\xff\xfa"), (0, b"\xff\xf3"), (0, b"\xff\xf2")),
    ".png": ((0, b"\x89PNG"),),
    ".jpg": ((0, b"\xff\xd8\xff"),),
    ".gif": ((0, b"GIF8"),),
    ".bmp": ((0, b"BM"),),
    ".tif": ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0")),
    ".npy": ((0, b"\x93NUMPY"),),
    ".npz": ((0, b"PK\x03\x04"), (0, b"PK\x05\x06")),
    ".gz": ((0, b"\x1f\x8b"),),
    ".h5": ((0, b"\x89HDF\r\n\x1a\n"),),
    ".parquet": ((0, b"PAR1"),),
    ".nii": ((344, b"n+1"), (344, b"ni1"), (4, b"n+2"), (0, b"\x5c\x01\0\0"), (0, b"\0\0\x01\x5c")),
    ".dcm": ((128, b"DICM"),),
    ".ply": ((0, b"ply"),),
    ".las": ((0, b"LASF"),),
    ".laz": ((0, b"LASF"),),
    ".nrrd": ((0, b"NRRD"),),
    ".mha": ((0, b"ObjectType"), (0, b"NDims"), (0, b"Comment")),
    ".off": ((0, b"OFF"), (0, b"COFF"), (0, b"NOFF"), (0, b"CNOFF"), (0, b"STOFF"), (0, b"#")),
    ".pcd": ((0, b"# .PCD"), (0, b"#"), (0, b"VERSION")),
}
_ALIKE = {".jpeg": ".jpg", ".tiff": ".tif", ".hdf5": ".h5", ".hdf": ".h5", ".zip": ".npz", ".pq": ".parquet"}
_TEXT = {
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".smi", ".smiles", ".xyz", ".obj", ".pts", ".xml", ".yaml", ".ts",
    ".arff", ".sdf",
    ".mol", ".edgelist", ".graphml", ".mhd", ".vtk",
}  # fmt: skip


def head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """First bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def contradicts(path: Path) -> bool:
    """Whether what lies at a path is plainly not what its name says.

    A file by the header that its suffix calls for, text by the absence of zero bytes and control characters; a folder,
    when every file of a known suffix contradicts it. Empty files and unknown suffixes contradict nothing.
    """
    if path.is_dir():
        said = [_agrees(one) for one in first_files(path, LOOKED_AT)]
        known = [one for one in said if one is not None]
        return bool(known) and not any(known)
    return _agrees(path) is False


def _agrees(path: Path) -> bool | None:
    """Whether a file is what its suffix says; None where nothing can be said."""
    suffix = path.suffix.lower()
    suffix = _ALIKE.get(suffix, suffix)
    if suffix not in _MAGIC and suffix not in _TEXT:
        return None
    first = head(path)
    if not first:
        return None
    if suffix in _TEXT:
        return is_text(first)
    return any(first[offset : offset + len(magic)] == magic for offset, magic in _MAGIC[suffix])


def is_text(first: bytes) -> bool:
    """Whether bytes read like text of any usual encoding: UTF-8, UTF-16, or a one-byte code page."""
    if first[:2] in (b"\xff\xfe", b"\xfe\xff") or _is_wide(first):
        return True
    controls = sum(byte < 9 or 13 < byte < 32 for byte in first)
    return b"\0" not in first and controls <= len(first) // 100


def _is_wide(first: bytes) -> bool:
    """UTF-16 without its mark: western text has a zero in every second byte, and in no other."""
    even, odd = first[0::2].count(0), first[1::2].count(0)
    return len(first) >= 8 and max(even, odd) > 0.3 * len(first) and min(even, odd) <= 0.05 * max(even, odd)


@contextmanager
def shortened(path: Path) -> Iterator[Path]:
    """The path itself, or for a text of many megabytes a file of the same name that holds its first lines.

    What recognises a table opens it, and opening may read all of it; its head says as much.
    """
    if path.suffix.lower() not in _TEXT or not path.is_file() or path.stat().st_size <= LARGE_TEXT:
        yield path
        return
    first = head(path, SHORT_TEXT)
    with tempfile.TemporaryDirectory() as name:
        short = Path(name) / path.name
        short.write_bytes(first[: first.rfind(b"\n") + 1] or first)
        yield short


def json_at(path: Path) -> Any:  # any JSON value
    """The content of a JSON file of moderate size, for sniffers; None if it is none.

    Of a larger object only the names in its head are known: each maps to an empty list.
    """
    try:
        if path.stat().st_size <= SMALL_JSON:
            return parse_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        return None
    text = head(path, 1 << 16).decode("utf-8", errors="replace").lstrip("\ufeff \n\r\t")
    if not text.startswith("{"):
        return None
    return {name: [] for name in text.split('"')[1::2]}
