"""DICOM as people have it: series over folders, localisers, phases, multi-frame, films, names of patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore import registry
from repcore.data.accounting import account_of
from repcore.data.readers import open_data
from repcore.errors import DataError, ItemError
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets import image_sniffing
from repcore_medical3d.datasets.dicom import DicomSeriesReader, sniff_dicom
from repcore_medical3d.datasets.images import ImageFolderReader


def ids_of(reader: Any) -> list[str]:
    return [reader.id_of(row) for row in range(len(reader))]


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def status_of(reader: Any, row: int = 0) -> str:
    with pytest.raises(ItemError) as caught:
        reader[row]
    return caught.value.status


# ------------------------------------------------------------------------------------------------- DICOM


def pydicom() -> Any:
    return pytest.importorskip("pydicom", reason="DICOM needs the extra 'dicom'")


def slice_of(number: int, pixels: np.ndarray, series: str = "1.2.3", **changes: Any) -> Any:
    """One CT slice, 2.5 mm from the next."""
    module = pydicom()
    meta = module.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("syntax", module.uid.ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = module.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = changes.pop("instance", None) or module.uid.generate_uid()
    data = module.dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.Modality, data.SeriesInstanceUID, data.InstanceNumber = "MRN-1", "CT", series, number + 1
    data.ImagePositionPatient = [10.0, 20.0, 100.0 + 2.5 * number]
    data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.6]
    data.Rows, data.Columns = pixels.shape[-2:]
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = np.ascontiguousarray(pixels.astype(np.uint16)).tobytes()
    for name, value in changes.items():
        delattr(data, name) if value is ... else setattr(data, name, value)
    return data


STACK = np.random.default_rng(5).integers(0, 2000, (6, 5, 4)).astype(np.uint16)  # slices, rows, columns
WANTED = STACK.transpose(2, 1, 0).astype(np.float32) - 1024


def put(path: Path, data: Any, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, **{"enforce_file_format": True, **how})


def stack(folder: Path, name: Callable[[int], str] = lambda k: f"I{k}", **changes: Any) -> None:
    for number, pixels in enumerate(STACK):
        put(folder / name(number), slice_of(number, pixels, **changes))


def series(path: Path) -> DicomSeriesReader:
    return DicomSeriesReader(VolumeFilesConfig(path=str(path)))


def test_one_series_over_several_folders_is_one_volume(tmp_path: Path) -> None:
    stack(tmp_path / "p1", lambda k: f"part{k // 2}/I{(k * 5) % 6}")
    stack(tmp_path / "p2", series="1.2.4", PatientID="MRN-2")
    reader = series(tmp_path)
    assert ids_of(reader) == ["p1", "p2"]
    np.testing.assert_array_equal(reader[0].inputs.read(), WANTED)
    np.testing.assert_allclose(reader[0].inputs.grid.world(np.array([1, 2, 3])), [-10.6, -21.6, 107.5])
    assert "1 series lie in several folders" in said(reader)
    assert reader.groups == ["MRN-1", "MRN-2"]


def test_localisers_captures_and_copies_are_left_out_and_said(tmp_path: Path) -> None:
    stack(tmp_path / "p1")
    put(tmp_path / "p1" / "LOC", slice_of(90, STACK[0], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"), ...)
    put(tmp_path / "p1" / "SC", slice_of(91, STACK[0], **bare))
    put(tmp_path / "p1" / "SR", slice_of(92, STACK[0], Rows=..., Columns=..., PixelData=..., Modality="SR"))
    put(tmp_path / "again" / "I3", slice_of(3, STACK[3]))
    reader = series(tmp_path)
    assert ids_of(reader) == ["p1"] or len(reader) == 1
    np.testing.assert_array_equal(reader[0].inputs.read(), WANTED)
    words = said(reader)
    for part in (
        "p1/LOC: lie in another plane",
        "p1/SC: do not say where they lie",
        "p1/SR: hold no image (SR)",
        "repeat",
    ):
        assert part in words
    assert account_of(reader).counts == {"used": 6, "ignored": 4, "unreadable": 0}


def test_phases_at_the_same_places_are_volumes_of_their_own(tmp_path: Path) -> None:
    for phase in range(2):
        for number, pixels in enumerate(STACK):
            data = slice_of(number, pixels + 7 * phase, InstanceNumber=number + 1 + 6 * phase)
            put(tmp_path / "p1" / f"{phase}_{number}", data)
    reader = series(tmp_path)
    assert ids_of(reader) == ["p1:phase1", "p1:phase2"]
    np.testing.assert_array_equal(reader[1].inputs.read(), WANTED + 7)
    for number, pixels in enumerate(STACK):  # a third one that no header field tells from the second
        put(tmp_path / "p2" / f"a{number}", slice_of(number, pixels, "1.9"))
        put(tmp_path / "p2" / f"b{number}", slice_of(number, pixels + 1, "1.9"))
    assert status_of(series(tmp_path), 2) == "several_volumes"


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_rescaling_means_none(tmp_path: Path, empty: Any) -> None:
    stack(tmp_path / "p1", RescaleSlope=empty, RescaleIntercept=empty)
    np.testing.assert_array_equal(series(tmp_path)[0].inputs.read(), WANTED + 1024)


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    module = pydicom()
    (tmp_path / "p1").mkdir()
    for number, pixels in enumerate(STACK):
        data = slice_of(number, pixels, syntax=module.uid.ImplicitVRLittleEndian)
        del data.file_meta
        path = tmp_path / "p1" / f"{number}.dcm"
        module.dcmwrite(path, data, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert sniff_dicom(tmp_path) > 0.5
    np.testing.assert_array_equal(series(tmp_path)[0].inputs.read(), WANTED)
    part, _ = open_data(registry.default(), str(tmp_path), domain="medical3d")  # first bytes do not contradict the name
    assert part.name == "medical3d/dicom-series"


def multi_frame(is_placed: bool) -> Any:
    """All slices in one file, out of order, geometry in functional groups, a slope of its own for each frame."""
    module = pydicom()
    order = [3, 0, 5, 1, 4, 2]
    bare = dict.fromkeys(
        ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"), ...
    )
    data = slice_of(0, STACK[order], "1.2.8", NumberOfFrames=6, **bare)
    if not is_placed:
        return data
    Dataset = module.dataset.Dataset
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.6]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in order:
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [10.0, 20.0, 100.0 + 2.5 * number]
        values.RescaleSlope, values.RescaleIntercept = 1 + number, -1024
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return data


def test_enhanced_multi_frame_files_are_volumes(tmp_path: Path) -> None:
    put(tmp_path / "p1" / "enhanced.dcm", multi_frame(is_placed=True))
    put(tmp_path / "p2" / "cine.dcm", multi_frame(is_placed=False))
    stack(tmp_path / "p3", series="1.2.9")
    reader = series(tmp_path)
    volume = reader[0].inputs
    wanted = STACK.transpose(2, 1, 0) * (1.0 + np.arange(6)) - 1024
    np.testing.assert_array_equal(volume.read(), wanted)
    np.testing.assert_array_equal(volume.read((slice(1, 3), slice(0, 2), slice(2, 4))), wanted[1:3, 0:2, 2:4])
    np.testing.assert_allclose(volume.grid.world(np.array([1, 2, 3])), [-10.6, -21.6, 107.5])
    with pytest.raises(ItemError, match="does not say where each of them lies"):
        reader[1]


@pytest.mark.parametrize("name", ["film{}.dcm", "IM{}"])
def test_films_are_images_not_slices(tmp_path: Path, name: str) -> None:
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"), ...)
    pixels = np.arange(40 * 40).reshape(40, 40)
    for number in range(4):
        change = {"Modality": "DX", "PatientID": f"P{number // 2}", "RescaleSlope": None, **bare}
        put(tmp_path / name.format(number), slice_of(number, pixels, f"1.2.{number}", **change))
    assert image_sniffing.folder(tmp_path) > sniff_dicom(tmp_path)
    reader = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))
    assert reader.groups == ["P0", "P0", "P1", "P1"]
    np.testing.assert_array_equal(reader[0].inputs.pixels, pixels - 1024.0)
    (tmp_path / "labels.csv").write_text("patient,finding\nP1,1\nP0,0\n")  # patients that only headers name
    reader = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))
    assert [reader[row].targets["finding"] for row in range(4)] == [0, 0, 1, 1]


# ----------------------------------------------------------------------------------------- who it was


def test_pseudonyms_hide_names_and_the_key_file_keeps_them(tmp_path: Path) -> None:
    for name, number in (("DOE_JANE_1945", 1), ("ROE_RICHARD", 2), ("DOE_JANE_1945", 3)):
        change = {"PatientID": f"MRN-77{name[:3]}", "SeriesDescription": f"Abdomen {name}"}
        stack(tmp_path / "set" / name / f"CT{number}", series=f"1.2.{number}", **change)
    (tmp_path / "set" / "ROE_RICHARD" / "CT2" / "I2").unlink()
    put(tmp_path / "set" / "DOE_JANE_1945" / "SC", slice_of(1, STACK[0], "1.2.1", PixelSpacing=...))
    keys = tmp_path / "apart" / "keys.csv"
    config = VolumeFilesConfig(path=str(tmp_path / "set"), pseudonymise=str(keys))
    reader = DicomSeriesReader(config)
    everything = [*ids_of(reader), *map(str, reader.groups or ()), said(reader), str(reader[0].meta)]
    with pytest.raises(ItemError) as caught:
        reader[2]
    everything.append(caught.value.reason)
    for part in ("DOE", "ROE", "JANE", "RICHARD", "1945", "MRN"):
        assert part not in "\n".join(everything)
    assert "slices lie 2.500 to 5.000 mm apart" in caught.value.reason
    assert (reader.groups or [])[0] == (reader.groups or [])[1] != (reader.groups or [])[2]
    text = keys.read_text()
    assert "DOE_JANE_1945/CT1" in text
    assert ids_of(reader)[0] in text
    assert keys.stat().st_mode & 0o077 == 0
    assert ids_of(DicomSeriesReader(config)) == ids_of(reader)  # the same key file, the same pseudonyms
    assert account_of(reader).counts == account_of(series(tmp_path / "set")).counts
    (tmp_path / "other.csv").write_text("id,age\n1,2\n")
    with pytest.raises(DataError, match="no key file"):
        DicomSeriesReader(VolumeFilesConfig(path=str(tmp_path / "set"), pseudonymise=str(tmp_path / "other.csv")))
