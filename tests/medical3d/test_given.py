"""Scans and images that people hold in Python."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from PIL import Image

from repcore.errors import ItemError
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
