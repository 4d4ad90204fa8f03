"""Pictures for reports: a spectrogram as an inline PNG, with the recording itself to listen to."""

from __future__ import annotations

import base64
import html
import io
import struct
import wave
import zlib
from typing import TYPE_CHECKING

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample

if TYPE_CHECKING:
    import numpy as np

    from repcore_audio.datasets.recordings import LongRecording, Recording

LONGEST_SECONDS = 12.0  # 16-bit mono at 16 kHz is 32 kB a second, and a report holds many
PICTURE_BINS = 64
LARGEST_WIDTH = 400
IMAGE_STYLE = "width:100%;height:9rem;image-rendering:pixelated"  # one height, however short the clip
HOT = (255, 120, 20)
# Dark blue to yellow through green, evenly spaced; grey values rise all the way, so that it prints well.
COLOURS = ((13, 8, 61), (60, 42, 120), (49, 104, 142), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def render(sample: Sample) -> Picture:
    """Spectrogram picture and audio player of one recording.

    Args:
        sample: with a :class:`repcore_audio.datasets.recordings.Recording`.
    """
    from repcore_audio.preprocessors.listening import lanes_of

    recording: Recording | LongRecording = sample.inputs
    seconds = recording.length / recording.sample_rate_hz
    shown = min(seconds, LONGEST_SECONDS)
    with recording.opened() as read:
        mono = lanes_of(read(0, int(shown * recording.sample_rate_hz)), recording.channels)[0]
    picture = base64.b64encode(png(_colours(mono, recording.sample_rate_hz))).decode()
    sound = base64.b64encode(wav(mono, recording.sample_rate_hz)).decode()
    cut = f", the first {shown:.0f} s" if shown < seconds else ""
    alt = f"Spectrogram of {sample.id}: {seconds:.2f} s at {recording.sample_rate_hz} Hz{cut}"
    text = html.escape(alt, quote=True)
    return Picture(
        html=(
            f'<figure class="sound"><img alt="{text}" title="{text}" style="{IMAGE_STYLE}" '
            f'src="data:image/png;base64,{picture}"><audio controls preload="none" style="width:100%" '
            f'src="data:audio/wav;base64,{sound}"></audio></figure>'
        ),
        alt=alt,
    )


def _colours(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """uint8 (bins, width, 3), low frequencies at the bottom."""
    import numpy as np
    import torch

    from repcore_audio.preprocessors.log_mel import LogMel

    log_mel = LogMel(sample_rate_hz, PICTURE_BINS)([torch.from_numpy(np.ascontiguousarray(mono))])[0].numpy()
    if len(log_mel) == 0:
        log_mel = np.zeros((1, PICTURE_BINS), np.float32)
    step = -(-len(log_mel) // LARGEST_WIDTH)
    starts = np.arange(0, len(log_mel), step)
    image = np.nan_to_num(np.maximum.reduceat(log_mel, starts, axis=0).T[::-1])
    return coloured(image, (float(np.quantile(image, 0.02)), float(image.max())))


def render_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """Spectrogram in grey with the value of each patch laid over it in colour.

    Args:
        heat: (T,), one value a token, in the order of time and frequency that ``position`` gives.
        position: row (mel band, low first) and column (time) of each token; None = one token a stretch of time.

    Raises:
        ItemError: ``other_tokens``: places that are no grid, or a recording longer than a picture shows.
    """
    import numpy as np

    from repcore_audio.preprocessors.listening import lanes_of

    recording: Recording | LongRecording = sample.inputs
    seconds = recording.length / recording.sample_rate_hz
    places = np.stack([np.zeros(len(heat)), np.arange(len(heat))], 1) if position is None else np.asarray(position)
    if seconds > LONGEST_SECONDS or places.shape != (len(heat), 2) or not len(heat):
        raise ItemError("other_tokens", f"{len(heat)} values have no place in a spectrogram of {seconds:.1f} s")
    rows, columns = places.astype(np.int64).T
    grid = np.full((rows.max() + 1, columns.max() + 1), float(np.min(heat)))
    grid[rows, columns] = heat
    with recording.opened() as read:
        mono = lanes_of(read(0, recording.length), recording.channels)[0]
    under = _colours(mono, recording.sample_rate_hz).astype(np.float64).mean(2)  # (bins, width), low ones at the bottom
    height, width = under.shape
    shown = grid[::-1][np.arange(height) * grid.shape[0] // height][:, np.arange(width) * grid.shape[1] // width]
    low, high = float(np.min(heat)), float(np.max(heat))
    share = (0.75 * (shown - low) / max(high - low, 1e-12))[..., None]
    pixels = ((1 - share) * under[..., None] + share * np.asarray(HOT)).round().astype(np.uint8)
    alt = f"Spectrogram of {sample.id} with values of {len(heat)} tokens from {low:.3g} (grey) to {high:.3g} (orange)"
    text = html.escape(alt, quote=True)
    picture = base64.b64encode(png(pixels)).decode()
    return Picture(
        f'<figure class="sound"><img alt="{text}" title="{text}" style="{IMAGE_STYLE}" '
        f'src="data:image/png;base64,{picture}"></figure>', alt,
    )  # fmt: skip


def coloured(image: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Grey values (height, width) as uint8 (height, width, 3), from dark at the lower bound to bright at the upper."""
    import numpy as np

    low, high = bounds
    level = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * (len(COLOURS) - 1)
    base = np.minimum(level.astype(int), len(COLOURS) - 2)
    table = np.array(COLOURS, dtype=np.float64)
    mixed = table[base] + (level - base)[..., None] * (table[base + 1] - table[base])
    return mixed.round().astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """An RGB image, uint8 (height, width, 3), as PNG."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # filter 0 in front of each row
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def inline_image(pixels: np.ndarray, name: str, style: str = IMAGE_STYLE) -> str:
    """An RGB image, uint8 (height, width, 3), as an HTML element that holds it."""
    data = base64.b64encode(png(pixels)).decode()
    return f'<img alt="{html.escape(name, quote=True)}" style="{style}" src="data:image/png;base64,{data}">'


def wav(mono: np.ndarray, sample_rate_hz: int) -> bytes:
    """16-bit mono WAV, scaled down only if it would clip; values that are not finite become silence."""
    import numpy as np

    finite = np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(np.abs(finite).max()) if finite.size else 0.0
    samples = (finite / max(peak, 1.0) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
