"""In which encoding a text is written: by its mark, by its zeros, by whether it is UTF-8, else by its letters.

A text that is UTF-8 but for a few damaged bytes stays UTF-8 (the bytes become U+FFFD and are counted); one in which no
byte beyond ASCII makes sense as UTF-8 is an older code page.
"""

from __future__ import annotations

import codecs
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from repcore.data.scripts import older_code_page
from repcore.errors import DataError
from repcore.reporting import Wait
from repcore.unpacking import counted

SAMPLE_BYTES = 1 << 20
MOST_CONTROLS = 0.02  # share of control characters that a text may hold
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_STARTS = (b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"\x89HDF", b"\xd0\xcf\x11\xe0", b"RIFF", b"%PDF",
                  b"\x93NUMPY", b"BZh", b"\xfd7zXZ", b"PAR1", b"\xff\xd8\xff")  # fmt: skip
_TEXT_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x1a")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding, why it was chosen, and how many bytes do not fit it."""

    name: str
    reason: str
    damaged: int = 0

    @property
    def is_plain(self) -> bool:
        """Nothing worth saying: UTF-8 without damage."""
        return self.name in ("utf-8", "utf-8-sig") and not self.damaged


def open_bytes(path: Path) -> IO[bytes]:
    """A file as bytes, ``.gz`` unpacked on the way, as far as :mod:`repcore.unpacking` lets it."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return counted(cast(IO[bytes], gzip.open(path, "rb")), path)


def detect_encoding(path: Path) -> Encoding:
    """The encoding of a text file, judged from all of it.

    Raises:
        DataError: the file is binary, damaged, or holds nothing but blanks.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(SAMPLE_BYTES)
            found = _by_mark(head) or _by_zeros(head)
            if not head.replace(b"\0", b"").strip() or (found and not head[4:].replace(b"\0", b"").strip()):
                raise DataError(f"{str(path)!r} holds nothing but blanks")
            if found is None:
                _refuse_binary(path, head)
                found = _by_content(head, file, Wait(f"reading {path.name}"))
    except (OSError, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged: {error}") from error
    return found


def whole_text(path: Path) -> str:
    """A text file (or ``.gz``) in the encoding that its bytes show; empty where it holds nothing but blanks.

    Raises:
        DataError: the file is binary or damaged.
    """
    try:
        with open_bytes(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged: {error}") from error
    if not content.strip():
        return ""
    return content.decode(detect_encoding(path).name, "replace").removeprefix("\ufeff")


def head_text(path: Path, size: int) -> str:
    """The first bytes of a file (or ``.gz``) as text, for sniffers; what is cut or damaged becomes U+FFFD."""
    with open_bytes(path) as file:
        head = file.read(size)
    found = _by_mark(head) or _by_zeros(head)
    name = found.name if found else "utf-8" if _is_utf8(head) or b"\0" in head else code_page(head).name
    return head.decode(name, "replace").removeprefix("\ufeff")


def _by_mark(head: bytes) -> Encoding | None:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name, "its byte order mark")
    return None


def _by_zeros(head: bytes) -> Encoding | None:
    """UTF-16 without a mark: western text has a zero in every second byte."""
    if len(head) < 8 or head.count(0) < 0.3 * len(head):
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if min(even, odd) > 0.05 * max(even, odd):
        return None
    name = "utf-16-le" if odd > even else "utf-16-be"
    return Encoding(name, "every second byte is zero") if len(head) % 2 == 0 or len(head) == SAMPLE_BYTES else None


def _is_utf8(head: bytes) -> bool:
    """But for a letter that is cut at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_binary(path: Path, head: bytes) -> None:
    controls = sum(head.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    many = controls > MOST_CONTROLS * len(head) and (b"\0" in head or not _is_utf8(head))  # ids may hold some
    if head.startswith(_BINARY_STARTS) or many:
        raise DataError(f"{str(path)!r} is binary, not a text table", got=f"begins with {head[:8]!r}")


def _by_content(head: bytes, file: IO[bytes], wait: Wait) -> Encoding:
    """UTF-8 if the whole file is, or is but for fewer bytes than make sense; else a code page."""
    damaged = multibyte = 0
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    block, sample, looked_at = head, head, 0
    while block:
        looked_at += len(block)
        wait.at(f"encoding, {looked_at / 1e9:.1f} GB")
        if not block.isascii():
            text = decoder.decode(block)
            wrong = text.count("\ufffd")
            damaged += wrong
            if wrong and sample is head:
                sample = block
            multibyte += len(block) - len(text)
        else:
            decoder.reset()
        block = file.read(SAMPLE_BYTES)
    if not damaged:
        return Encoding("utf-8", "it is UTF-8 throughout")
    if multibyte > damaged:  # a replaced byte keeps the length, a multi-byte letter shortens it
        return Encoding("utf-8", f"it is UTF-8 but for {damaged} bytes", damaged)
    return code_page(sample)


def code_page(sample: bytes) -> Encoding:
    """The encoding of bytes that are no UTF-8."""
    foreign = sum(byte >= 0x80 for byte in sample)
    found = older_code_page(sample)
    if found is not None:
        return Encoding(found, f"{foreign} bytes are no UTF-8; its words read well so")
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return Encoding("latin-1", f"{foreign} bytes are no UTF-8")
    return Encoding("cp1252", f"{foreign} bytes are no UTF-8; western letters")
