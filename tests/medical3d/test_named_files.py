"""Headers of MetaImage and NRRD that name the file of values: only files of their own folder are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.errors import ItemError
from repcore_medical3d.formats.itk import read_itk, value_file
from repcore_medical3d.formats.nifti import ReadingRules

META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 4 4\nElementSpacing = 1 1 1\n"
    "ElementType = MET_UCHAR\nElementDataFile = {}\n"
)
NRRD = (
    "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\ndata file: {}\n"
)
VALUES = bytes(range(100, 164))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.mhd", META), ("a.mha", META), ("a.nhdr", NRRD), ("a.nrrd", NRRD), ("a.mhd", META.replace("File =", "File :"))],
)
def test_values_of_another_folder_are_not_read(name: str, text: str, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="MetaImage and NRRD are optional formats")
    folder = tmp_path / "sent"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(VALUES)
    header = folder / name
    for named in (str(tmp_path / "secret.raw"), "../secret.raw", "x/../../secret.raw", "LIST\n../secret.raw"):
        header.write_text(text.format(named))
        assert value_file(header) is None
        with pytest.raises(ItemError, match="outside its own folder; that was not read") as told:
            read_itk(header, ReadingRules())
        assert told.value.status == "corrupt"
    header.write_text("\n".join([*text.splitlines()[:-1], "# " + "x" * 2**20, text.splitlines()[-1].format("../s")]))
    with pytest.raises(ItemError, match="has a header of more than 1,048,576 bytes"):
        read_itk(header, ReadingRules())


@pytest.mark.parametrize(("name", "text"), [("a.mhd", META), ("a.nhdr", NRRD)])
def test_values_beside_the_header_and_below_it_are_read(name: str, text: str, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="MetaImage and NRRD are optional formats")
    (tmp_path / "raw").mkdir()
    for place in ("v.raw", "raw/v.raw"):
        (tmp_path / place).write_bytes(VALUES)
        (tmp_path / name).write_text(text.format(place))
        assert value_file(tmp_path / name) == tmp_path / place
        read = read_itk(tmp_path / name, ReadingRules()).read()
        np.testing.assert_array_equal(np.asarray(read).ravel(order="F"), np.arange(100, 164))
