"""Decoding single images: PNG, JPEG, BMP, TIFF with Pillow, DICOM radiographs with pydicom.

Values keep their depth: 8-bit files give uint8, deeper ones uint16 or float32. Palettes become colours, transparency is
dropped, and a colour image whose three channels are equal becomes grey.

Symbols: H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.allocation import CappedFile
from repcore.errors import ItemError
from repcore_medical3d.formats.dicom_pictures import read_dicom_picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2")
DICOM_SUFFIXES = (".dcm", ".dicom")
PNG_DEPTH_AT = 24  # byte of a PNG file that says the bits of a channel
SUFFIXES = (*PICTURE_SUFFIXES, *DICOM_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A decoded image: ``pixels`` (H, W) or (H, W, 3), bright = dense; optional labels of the pixels and places.

    Args:
        pixels: uint8, uint16 or float32.
        mask: uint8 (H, W), 0 = background.
        landmarks: float32 (K, 2), row and column in pixels, NaN = not there.
        remark: what a user should know about how the file was read; empty where there is nothing.
    """

    pixels: np.ndarray
    mask: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    remark: str = ""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels: what tells two images apart."""
        return np.array(self.pixels, dtype=dtype, copy=copy)


def read_image(path: Path) -> np.ndarray:
    """Pixels of a file; raises as :func:`read_radiograph`."""
    return read_radiograph(path).pixels


def read_radiograph(path: Path) -> Radiograph:
    """Pixels of a file, and a remark on them.

    Raises:
        ItemError: ``missing_file``, ``empty``, ``corrupt``, or ``not_an_image``.
        PluginError: a DICOM file, and pydicom is not installed.
    """
    if not path.is_file():
        raise ItemError("missing_file", f"{path.name} does not exist" if not path.exists() else f"{path} is no file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        pixels, remark = read_dicom_picture(path)
        return Radiograph(grey_if_equal(pixels) if pixels.ndim == 3 else pixels, remark=remark)
    return Radiograph(_read_picture(path))


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with CappedFile(path) as file, Image.open(file) as image:
            _check_kind(image, path)
            image.load()
            return _pixels_of(ImageOps.exif_transpose(image))  # as the photographer held the camera
    except ItemError:
        raise
    except UnidentifiedImageError as error:
        raise ItemError("not_an_image", f"{path.name} is not an image of a known format") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error


def _check_kind(image: Any, path: Path) -> None:  # Pillow's image
    """Files that hold more than Pillow would give.

    Raises:
        ItemError: several pages, or colours of 16 bits, of which eight would be lost.
    """
    pages = int(getattr(image, "n_frames", 1))
    if pages > 1:
        raise ItemError("several_pages", f"{path.name} has {pages} pages; save them as files of their own")
    if path.suffix.lower() == ".png" and image.mode in ("RGB", "RGBA"):
        with path.open("rb") as file:
            depth = file.read(PNG_DEPTH_AT + 1)[PNG_DEPTH_AT]
        if depth > 8:
            raise ItemError(
                "colour_16_bit",
                f"{path.name} holds colours of {depth} bits, which are not read; save it as grey or with 8 bits",
            )


def _pixels_of(image: Any) -> np.ndarray:  # Pillow's image
    mode = image.mode
    if mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if mode in ("I", "F"):
        values = np.array(image).astype(np.float32)
        is_16_bit = mode == "I" and values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
        return values.astype(np.uint16) if is_16_bit else values
    if mode in ("1", "L"):
        return np.array(image.convert("L"))
    if mode in ("LA", "La"):
        return np.array(image)[..., 0]
    return grey_if_equal(np.array(image.convert("RGB")))


def grey_if_equal(colours: np.ndarray) -> np.ndarray:
    """(H, W) if the three channels of (H, W, 3) are the same, else unchanged."""
    same = np.array_equal(colours[..., 0], colours[..., 1]) and np.array_equal(colours[..., 0], colours[..., 2])
    return np.ascontiguousarray(colours[..., 0]) if same else colours


def write_png(pixels: np.ndarray) -> bytes:
    """An 8-bit grey (H, W) or colour (H, W, 3) image, or a 16-bit grey one, as PNG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
