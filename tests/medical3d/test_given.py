"""Scans and images that people hold in Python."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from repcore.data.given import given_reader
from repcore.errors import DataError, ItemError
from repcore.interfaces import DatasetReader
from repcore_medical3d.preprocessors.given import radiograph_from, volume_from

VALUES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def test_images_of_nibabel_arrays_and_files_are_volumes(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    nibabel.save(image, tmp_path / "one.nii.gz")
    for given in (image, (VALUES, AFFINE), tmp_path / "one.nii.gz", str(tmp_path / "one.nii.gz")):
        found = volume_from(given)
        assert found.spacing_mm == (1.0, 2.0, 3.0)
        np.testing.assert_array_equal(found.read(), VALUES)
    for other in (VALUES, "nothing.nii", (VALUES, 3), 5, None):
        assert volume_from(other) is None
    with pytest.raises(ItemError, match="two_dimensional"):
        volume_from((VALUES[0], AFFINE))


def test_pixels_are_images(tmp_path: Path) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(grey).save(tmp_path / "one.png")
    for given in (grey, Image.fromarray(grey), tmp_path / "one.png", grey.astype(np.int64)):
        np.testing.assert_array_equal(radiograph_from(given).pixels, grey)
    assert radiograph_from(np.zeros((4, 5, 3), np.float64)).pixels.dtype == np.float32
    for other in (np.zeros((7, 4, 5)), [1, 2], "nothing.png", SimpleNamespace(), None):
        assert radiograph_from(other) is None


def refuses(path: Path, wanted: object) -> DatasetReader:
    raise DataError(f"no reader recognises '{path}'", found="a binary file", readers="medical3d/volumes")


@pytest.mark.parametrize("kind", ["pandas", "dict", "broken first"])
def test_a_column_of_paths_is_the_input_beside_its_labels(kind: str, tmp_path: Path) -> None:
    files = [str(tmp_path / f"{row}.nii.gz") for row in range(8)]
    for row, file in enumerate(files):
        nibabel.save(nibabel.Nifti1Image(VALUES + row, AFFINE), file)
    if kind == "broken first":
        Path(files[0]).write_bytes(b"no scan")
    columns = {"who": list("abcdefgh"), "scan": files, "lesion": ["yes", "no"] * 4}
    reader = given_reader(columns if kind == "dict" else pd.DataFrame(columns), refuses, volume_from, {})
    assert [one.name for one in reader.targets] == ["lesion"]
    for row in range(kind == "broken first", 8):
        np.testing.assert_array_equal(reader[row].inputs.read(), VALUES + row)
        assert reader[row].targets == {"lesion": 1 - row % 2}


def test_what_no_column_can_be_read_from_is_said_in_terms_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no scan")
    frame = pd.DataFrame({"note": [str(tmp_path / "note.txt")] * 2, "lesion": ["yes", "no"], "size": [1.0, 2.0]})
    for convert, data in (
        (volume_from, frame),
        (radiograph_from, frame[["size", "size"]].set_axis(["x", "y"], axis=1)),
    ):
        with pytest.raises(DataError, match="no reader recognises the table") as told:
            given_reader(data, refuses, convert, {})
        assert "binary" not in str(told.value)
        assert "expected:" in str(told.value)
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE), tmp_path / "one.nii.gz")
    scans = pd.DataFrame({"a": [str(tmp_path / "one.nii.gz")], "b": [str(tmp_path / "one.nii.gz")]})
    with pytest.raises(DataError, match="which column of the table is the input"):
        given_reader(scans, refuses, volume_from, {})


def test_a_missing_file_of_a_list_is_called_so(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE), tmp_path / "one.nii.gz")
    for order in (1, -1):
        reader = given_reader(
            [str(tmp_path / "one.nii.gz"), str(tmp_path / "two.nii.gz")][::order], refuses, volume_from
        )
        with pytest.raises(ItemError, match=r"missing_file: there is no file '.*two\.nii\.gz'"):
            reader[1 if order == 1 else 0]
