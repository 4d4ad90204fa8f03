"""DICOM series as volumes: geometry, Hounsfield units, several series in a folder, missing slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.errors import DataError, ItemError
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.dicom import DicomSeriesReader, read_series, sniff_dicom
from repcore_medical3d.formats.dicom import read_header
from repcore_medical3d.formats.images import read_image

pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra 'dicom'")
ROWS, COLUMNS, SLICES = 5, 4, 6
VALUES = np.random.default_rng(0).integers(0, 2000, (COLUMNS, ROWS, SLICES)).astype(np.uint16)


def write_series(folder: Path, series: str, *, keep: range = range(SLICES), **changes: Any) -> list[Path]:
    """Slices in a shuffled order of file names, 2.5 mm apart, 0.8 x 0.6 mm in the plane."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    patient_of = changes.get("patient_of", lambda number: "p1")
    for number in keep:
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series}.{number + 1}"
        slice_ = pydicom.dataset.Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        slice_.PatientID, slice_.Modality, slice_.SeriesInstanceUID = patient_of(number), "CT", series
        slice_.ImagePositionPatient = [10.0, 20.0, 100.0 + 2.5 * number]
        slice_.ImageOrientationPatient = changes.get("orientation", [1, 0, 0, 0, 1, 0])
        slice_.PixelSpacing = [0.8, 0.6]  # between rows, between columns
        slice_.Rows, slice_.Columns = ROWS, COLUMNS
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, changes.get("signed", 0)
        for name, value in changes.get("extra", {}).items():
            setattr(slice_, name, value)
        slice_.PixelData = np.ascontiguousarray(changes.get("values", VALUES)[:, :, number].T).tobytes()
        path = folder / f"{series}-{(number * 5) % 7}.dcm"
        slice_.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def test_a_series_is_a_volume_in_the_world(tmp_path: Path) -> None:
    volume = read_series(write_series(tmp_path, "1.2.3"))
    np.testing.assert_array_equal(volume.read(), VALUES.astype(np.float32) - 1024)
    assert volume.shape == (COLUMNS, ROWS, SLICES)
    np.testing.assert_allclose(volume.spacing_mm, (0.6, 0.8, 2.5))
    # DICOM counts to the left and to the back, the world here to the right and to the front
    np.testing.assert_allclose(volume.grid.world(np.array([1, 2, 3])), [-10.6, -21.6, 107.5])
    assert volume.orientation == "LPS"
    block = volume.read((slice(1, 3), slice(0, 2), slice(2, 4)))
    np.testing.assert_array_equal(block, volume.read()[1:3, 0:2, 2:4])


def test_two_series_in_a_folder_are_two_rows(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_series(folder, "1.2.3")
    write_series(folder, "1.2.45")
    write_series(folder, "1.2.6", keep=range(2))
    assert sniff_dicom(tmp_path) > 0.5
    reader = DicomSeriesReader(VolumeFilesConfig(path=str(tmp_path)))
    assert len(reader) == 2
    assert len({reader[row].id for row in range(2)}) == 2
    assert reader[0].group == "p1"
    assert "several series" in reader.notes[0]
    assert "2 files are left out" in reader.notes[1]


def test_slices_of_two_series_make_no_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", "1.2.3") + write_series(tmp_path / "b", "1.2.4")
    with pytest.raises(ItemError, match="holds 2 series"):
        read_series(files)


@pytest.mark.parametrize(("leave_out", "status"), [(2, "missing_slices"), (None, "mixed_slices")])
def test_gaps_and_other_planes_are_reported(tmp_path: Path, leave_out: int | None, status: str) -> None:
    files = write_series(tmp_path, "1.2.3")
    if leave_out is not None:
        files.pop(leave_out)
    else:
        tilted = write_series(tmp_path / "t", "1.2.3", keep=range(1), orientation=[1, 0, 0, 0, 0, 1])
        files = [*files[1:], *tilted]
    with pytest.raises(ItemError) as caught:
        read_series(files)
    assert caught.value.status == status


def test_a_series_of_two_patients_is_no_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path / "torn", "1.2.3", patient_of=lambda number: "p1" if number < 3 else "p2")
    write_series(tmp_path / "whole", "1.2.4", patient_of=lambda number: "" if number < 3 else "p2 ")  # one, half named
    reader = DicomSeriesReader(VolumeFilesConfig(path=str(tmp_path)))
    with pytest.raises(ItemError, match="2 different PatientIDs in one series") as failure:
        reader[0]
    assert failure.value.status == "several_patients"
    assert reader[1].inputs.shape == (COLUMNS, ROWS, SLICES)
    with pytest.raises(ItemError, match="2 different PatientIDs"):
        read_series(files)


@pytest.mark.parametrize(
    ("stored", "signed", "extra"),
    [
        (63536, 0, {"PixelPaddingValue": 63536}), (-2000, 1, {"PixelPaddingValue": -2000}),
        (63000, 0, {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 62000}), (0, 0, {"PixelPaddingValue": 0}),
    ],
)  # fmt: skip
def test_padding_becomes_the_lowest_value_of_its_slice(
    tmp_path: Path, stored: int, signed: int, extra: dict[str, int]
) -> None:
    values = np.where(VALUES % 3 == 0, stored, VALUES % 1000 + 1).astype(np.int16 if signed else np.uint16)
    values[:, :, 2] = stored  # nothing was measured in this slice
    expected = (VALUES % 1000 + 1).astype(np.float32) - 1024
    for number in range(SLICES):
        expected[:, :, number][VALUES[:, :, number] % 3 == 0] = expected[:, :, number][
            VALUES[:, :, number] % 3 > 0
        ].min()
    expected[:, :, 2] = -1000  # air
    volume = read_series(write_series(tmp_path, "1.2.3", values=values, signed=signed, extra=extra))
    np.testing.assert_array_equal(volume.read(), expected)
    block = volume.read((slice(1, 3), slice(0, 2), slice(2, 4)))
    np.testing.assert_array_equal(block, expected[1:3, 0:2, 2:4])
    assert "padding (PixelPaddingValue" in volume.facts["remark"]


def test_a_scan_without_declared_padding_keeps_every_value(tmp_path: Path) -> None:
    values = np.where(VALUES % 3 == 0, 63536, VALUES).astype(np.uint16)
    volume = read_series(write_series(tmp_path, "1.2.3", values=values))
    np.testing.assert_array_equal(volume.read(), values.astype(np.float32) - 1024)
    assert "remark" not in volume.facts


def test_a_folder_without_a_series_says_so(tmp_path: Path) -> None:
    write_series(tmp_path, "1.2.3", keep=range(1))
    with pytest.raises(DataError, match="no DICOM series"):
        DicomSeriesReader(VolumeFilesConfig(path=str(tmp_path)))


def test_what_a_header_announces_is_judged_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,147,483,647 frames were as many objects; planes of 65,535 x 65,535 and packed data sets were unpacked whole."""
    (path, *_) = write_series(tmp_path, "1.2.3")
    sound = path.read_bytes()

    def changed(**values: Any) -> Path:
        path.write_bytes(sound)
        data = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
        return path

    with pytest.raises(ItemError, match="its header announces 2,147,483,647 frames") as caught:
        read_header(changed(NumberOfFrames=2**31 - 1))
    assert caught.value.status == "corrupt"
    monkeypatch.setenv("REPCORE_ITEM_MIB", "8")
    for read in (read_header, read_image):
        with pytest.raises(ItemError, match="announces 16,384 MiB") as caught:
            read(changed(Rows=65535, Columns=65535))
        assert caught.value.status == "too_large"
    path.write_bytes(sound)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.add_new(0x00420011, "OB", bytes(2**20))
    data.save_as(path, enforce_file_format=True)
    assert read_header(path).slices[0].size == (COLUMNS, ROWS)  # a packed file of moderate size is read
    data.add_new(0x00420011, "OB", bytes(20 * 2**20))
    data.save_as(path, enforce_file_format=True)
    with pytest.raises(ItemError, match="its packed data set announces") as caught:
        read_header(path)
    assert caught.value.status == "too_large"
