"""Animated PNG from frames with a palette: no script, nothing from outside the page."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FRAME_MS = 120


def animated_png(frames: Sequence[np.ndarray], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """Frames of palette numbers, uint8 (height, width), as an endless animated PNG; old viewers show the first.

    Args:
        frames: all of one size.
        colours: at most 256 of them.
    """
    height, width = frames[0].shape
    chunks = [
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)),
        (b"acTL", struct.pack(">2I", len(frames), 0)),
        (b"PLTE", b"".join(bytes(colour) for colour in colours)),
    ]
    sequence = 0
    for number, frame in enumerate(frames):
        control = struct.pack(">5I2H2B", sequence, width, height, 0, 0, FRAME_MS, 1000, 0, 0)
        chunks.append((b"fcTL", control))
        sequence += 1
        packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in frame), 9)  # filter 0 in front of each row
        if number == 0:
            chunks.append((b"IDAT", packed))
        else:
            chunks.append((b"fdAT", struct.pack(">I", sequence) + packed))
            sequence += 1
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
