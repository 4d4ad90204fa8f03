"""What the first bytes of a file say: how much sound a header promises, and what a file is that is no sound.

A recorder that lost power leaves a header that promises more than follows; decoders shorten it without a word. Sizes
that stand for "unknown" (a stream was written to a pipe) promise nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path

UNKNOWN_SIZE = 0x7FFFF000  # sizes from here on are placeholders in 32-bit headers
LOOKED_AT = 1 << 20  # bytes in which the chunk of samples begins


def delivered_share(path: Path) -> float:
    """Bytes of samples that are there, divided by the bytes that the header promises; 1 where it promises nothing.

    Known: WAV (RIFF, RIFX, RF64), AIFF, AU. Other formats count as complete: their decoders notice.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(min(size, LOOKED_AT))
    begins = _samples_at(head)
    if begins is None:
        return 1.0
    start, promised = begins
    if promised <= 0 or UNKNOWN_SIZE <= promised <= 0xFFFFFFFF:
        return 1.0
    return min(1.0, max(0, size - start) / promised)


def _samples_at(head: bytes) -> tuple[int, int] | None:
    """Where samples begin and how many bytes of them are promised."""
    kind = head[:4]
    if kind in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _chunk(head, b"data", ">" if kind == b"RIFX" else "<")
    if kind == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunk(head, b"SSND", ">")
    if kind == b".snd" and len(head) >= 12:
        start, promised = struct.unpack(">II", head[4:12])
        return start, promised
    return None


def _chunk(head: bytes, wanted: bytes, order: str) -> tuple[int, int] | None:
    place, wide = 12, 0
    while place + 8 <= len(head):
        name, size = head[place : place + 4], struct.unpack(f"{order}I", head[place + 4 : place + 8])[0]
        if name == b"ds64" and place + 24 <= len(head):
            wide = struct.unpack("<Q", head[place + 16 : place + 24])[0]
        if name == wanted:
            return place + 8, wide if size == 0xFFFFFFFF and wide else size
        place += 8 + size + size % 2
    return None


def what_it_is(path: Path) -> str:
    """In words, what a file is that no decoder takes; empty if its beginning says nothing."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the recording (git lfs pull fetches it)"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not a recording (the download failed)"
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "it is a packed archive, not a recording"
    if not any(head):
        return "it holds nothing but zeros"
    if head[4:8] == b"ftyp":
        return "it is an MPEG-4 container"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "it is a Matroska or WebM container"
    return ""
