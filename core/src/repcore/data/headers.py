"""What a file is by its first bytes: people give names, and a sniffer that trusts them opens the wrong thing."""

from __future__ import annotations

import re
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

_Magic = tuple[tuple[int, bytes], ...]  # (offset, bytes), one of which must be there
_SOUND: _Magic = (  # decoders look at the content, and people rename files
    (0, b"RIFF"), (0, b"RF64"), (0, b"RIFX"), (0, b"fLaC"), (0, b"ID3"), (0, b"OggS"), (0, b"FORM"), (0, b".snd"),
    (0, b"caff"), *((0, b"\xff" + bytes([second])) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
)  # fmt: skip
_PICTURE: _Magic = (
    (0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"GIF8"), (0, b"BM"), (0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"),
    (0, b"MM\0+"), (8, b"WEBP"), (4, b"jP  "),
)  # fmt: skip
_FIRST_ELEMENTS = (0x00, 0x01, 0x05, 0x08, 0x12, 0x16, 0x18)  # of group 8, where DICOM has no preamble
_MAGIC: Mapping[str, _Magic] = {
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), _SOUND),
    **dict.fromkeys((".png", ".jpg", ".gif", ".bmp", ".tif"), _PICTURE),
    ".npy": ((0, b"\x93NUMPY"),),
    ".npz": ((0, b"PK\x03\x04"), (0, b"PK\x05\x06")),
    ".gz": ((0, b"\x1f\x8b"),),
    ".h5": tuple((offset, b"\x89HDF\r\n\x1a\n") for offset in (0, 512, 1024, 2048)),
    ".parquet": ((0, b"PAR1"),),
    ".nii": ((344, b"n+1"), (344, b"ni1"), (4, b"n+2"), (0, b"\x5c\x01\0\0"), (0, b"\0\0\x01\x5c")),
    ".dcm": (
        (128, b"DICM"), (0, b"\x02\0\0\0"), (0, b"\0\x08\0"),
        *((0, bytes([8, 0, element, 0])) for element in _FIRST_ELEMENTS),
    ),
    ".las": ((0, b"LASF"),),
    ".laz": ((0, b"LASF"),),
}  # fmt: skip
_FIRST_WORDS: Mapping[str, re.Pattern[bytes]] = {  # of headers in text, in either case
    ".ply": re.compile(rb"ply\s"),
    ".off": re.compile(rb"[a-z0-9]{0,4}off(?:\b|\d)|#"),  # ModelNet glues the counts on: OFF40 30 0
    ".pcd": re.compile(rb"#|version|fields"),
    ".nrrd": re.compile(rb"nrrd"),
    ".mha": re.compile(rb"[a-z]+\s*="),
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
    if suffix not in _MAGIC and suffix not in _FIRST_WORDS and suffix not in _TEXT:
        return None
    first = head(path)
    if not first:
        return None
    if suffix in _TEXT:
        return is_text(first)
    if suffix in _FIRST_WORDS:
        return _FIRST_WORDS[suffix].match(first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()) is not None
    return any(first[offset : offset + len(magic)] == magic for offset, magic in _MAGIC[suffix])


def is_text(first: bytes) -> bool:
    """Whether bytes read like text of any usual encoding: UTF-8, UTF-16, or a one-byte code page."""
    if first[:2] in (b"\xff\xfe", b"\xfe\xff") or _is_wide(first):
        return True
    controls = sum(byte < 9 or 13 < byte < 32 for byte in first)
    return controls <= max(1, len(first) // 100)  # one stray byte does not make a table binary


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
