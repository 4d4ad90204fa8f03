"""One-frame DICOM pictures: padding, palettes, lookup tables and turned scales give the right values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.errors import ItemError
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.datasets.images import ImageFolderReader
from repcore_medical3d.formats.images import read_radiograph

STORED = np.arange(600, 600 + 6 * 8, dtype=np.uint16).reshape(6, 8)
CORNER = np.zeros((6, 8), bool)
CORNER[:2, :3] = True


def picture(path: Path, stored: np.ndarray = STORED, **changes: Any) -> Path:
    module = pytest.importorskip("pydicom", reason="DICOM needs the extra 'dicom'")
    meta = module.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = module.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        module.uid.DigitalXRayImageStorageForPresentation, module.uid.generate_uid(),
    )  # fmt: skip
    data = module.dataset.Dataset()
    data.file_meta, data.SOPClassUID, data.SOPInstanceUID = (
        meta, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID,
    )  # fmt: skip
    data.Modality, data.Rows, data.Columns = "DX", *stored.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("padding", "limit", "changes", "scale"),
    [
        (4095, None, {}, (1, 0)), (0, None, {"PhotometricInterpretation": "MONOCHROME1"}, (-1, 1247)),
        (65535, 65000, {"RescaleSlope": 2, "RescaleIntercept": -100}, (2, -100)),
        (65535, None, {"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR"}, (-1, 1247)),
        (0, None, {"RescaleSlope": -1, "RescaleIntercept": 4000}, (-1, 4000)), (0, 3, {"Modality": "US"}, (1, 0)),
    ],
)  # fmt: skip
def test_padding_of_a_picture_is_given_its_lowest_value(
    tmp_path: Path, padding: int, limit: int | None, changes: dict[str, Any], scale: tuple[int, int]
) -> None:
    """Turned scales are turned about what was measured: 600 + 647 on the scale of the stored numbers of the rest."""
    stored = np.where(CORNER, padding, STORED).astype(np.uint16)
    more = {"PixelPaddingValue": padding} | ({} if limit is None else {"PixelPaddingRangeLimit": limit})
    found = read_radiograph(picture(tmp_path / "a.dcm", stored, **more, **changes))
    measured = STORED[~CORNER]
    if changes.get("PhotometricInterpretation") == "MONOCHROME1":
        scale = (-1, int(measured.min()) + int(measured.max()))
    wanted = STORED.astype(np.float32) * scale[0] + scale[1]
    wanted[CORNER] = wanted[~CORNER].min()
    np.testing.assert_array_equal(found.pixels, wanted)
    assert "padding (PixelPaddingValue" in found.remark
    sample = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))[0]
    assert sample.meta["remark"] == found.remark


def test_pictures_without_padding_keep_every_value_and_zeros_their_distance(tmp_path: Path) -> None:
    stored = np.where(CORNER, 0, STORED).astype(np.uint16)
    for number, more in enumerate(({}, {"PixelPaddingValue": 0}, {"PixelPaddingValue": 70})):
        found = read_radiograph(picture(tmp_path / f"{number}.dcm", stored, **more))
        np.testing.assert_array_equal(found.pixels, stored)
        assert found.remark == ""
    empty = read_radiograph(picture(tmp_path / "e.dcm", np.full_like(STORED, 9), PixelPaddingValue=9))
    assert not empty.pixels.any()
    assert empty.remark.startswith("nothing but padding")


def test_signed_padding_that_is_written_unsigned(tmp_path: Path) -> None:
    stored = np.where(CORNER, -2000, STORED).astype(np.int16)
    found = read_radiograph(picture(tmp_path / "a.dcm", stored, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(found.pixels, np.where(CORNER, STORED[~CORNER].min(), STORED))


def table(values: np.ndarray, first: int, bits: int) -> Any:
    module = pytest.importorskip("pydicom")
    item = module.dataset.Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), first, bits], values.tolist()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    item.ModalityLUTType = "OD"
    return module.sequence.Sequence([item])


def test_tables_of_the_modality_and_palettes_are_looked_up(tmp_path: Path) -> None:
    square = (np.arange(48, dtype=np.uint16) ** 2).astype(np.uint16)
    found = read_radiograph(picture(tmp_path / "lut.dcm", ModalityLUTSequence=table(square, 600, 16)))
    np.testing.assert_array_equal(found.pixels, (STORED - 600.0) ** 2)
    numbers = (STORED - 600).astype(np.uint8)
    palette = np.random.default_rng(0).integers(0, 256, (3, 48)).astype(np.uint16)
    changes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US"}
    for name, colours in zip(("Red", "Green", "Blue"), palette, strict=True):
        changes[f"{name}PaletteColorLookupTableDescriptor"] = [48, 0, 16]
        changes[f"{name}PaletteColorLookupTableData"] = (colours * 257).astype("<u2").tobytes()
    found = read_radiograph(picture(tmp_path / "palette.dcm", numbers, **changes))
    np.testing.assert_array_equal(found.pixels, palette.T[numbers])


def test_colours_keep_their_values_or_are_refused(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    how = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Modality": "US"}
    np.testing.assert_array_equal(read_radiograph(picture(tmp_path / "a.dcm", rgb, **how)).pixels, rgb)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    change = {**how, "PlanarConfiguration": 1}
    path = picture(tmp_path / "b.dcm", rgb, **change, PixelData=planes.tobytes())
    np.testing.assert_array_equal(read_radiograph(path).pixels, rgb)
    ybr = np.full((6, 8, 3), (76, 85, 255), np.uint8)  # red
    found = read_radiograph(picture(tmp_path / "c.dcm", ybr, **{**how, "PhotometricInterpretation": "YBR_FULL"}))
    assert np.abs(found.pixels.astype(int) - [254, 0, 0]).max() <= 2
    with pytest.raises(ItemError, match="colours of 16 bits"):
        read_radiograph(picture(tmp_path / "d.dcm", rgb.astype(np.uint16) * 257, **how))
