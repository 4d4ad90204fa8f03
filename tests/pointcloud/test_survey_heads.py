"""Headers of LAS files that lie: refused by the file's size before a library believes them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from repcore.errors import ItemError
from repcore_pointcloud.formats.surveys import read_las

SHORT, LONG = 227, 375


def written(path: Path, *, length: int, points_at: int, records: int, late: tuple[int, int] = (0, 0)) -> Path:
    """A file of version 1.4 that holds its header only."""
    head = bytearray(LONG)
    head[:4], head[24:26] = b"LASF", b"\x01\x04"
    struct.pack_into("<HII", head, 94, length, points_at, records)
    struct.pack_into("<QI", head, 235, *late)
    path.write_bytes(head)
    return path


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"length": 65_535, "points_at": 2**32 - 1, "records": 2**32 - 1}, "its header 65,535"),
        ({"length": 20, "points_at": LONG, "records": 0}, "its header 20"),
        ({"length": LONG, "points_at": LONG, "records": 2**32 - 1}, "announces 4,294,967,295 records in 0 bytes"),
        ({"length": LONG, "points_at": LONG, "records": 0, "late": (LONG, 2**32 - 1)}, "records after its points"),
    ],
)
def test_a_header_that_promises_more_than_the_file(head: dict[str, int], words: str, tmp_path: Path) -> None:
    pytest.importorskip("laspy", reason="LAS is an optional format")
    with pytest.raises(ItemError, match=words) as told:
        read_las(written(tmp_path / "a.las", **head))  # type: ignore[arg-type]
    assert told.value.status == "corrupt"
    (tmp_path / "b.las").write_bytes(b"LASF")
    with pytest.raises(ItemError, match="no header of a LAS file in its 4 bytes"):
        read_las(tmp_path / "b.las")


@pytest.mark.parametrize(("version", "kind"), [("1.2", 3), ("1.4", 6)])
def test_a_sound_file_with_records_is_read(version: str, kind: int, tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy", reason="LAS is an optional format")
    cloud = laspy.create(point_format=kind, file_version=version)
    cloud.x, cloud.y, cloud.z = np.eye(3)
    cloud.vlrs.append(laspy.vlrs.vlr.VLR("me", 7, "a note", b"12345"))
    cloud.write(tmp_path / "a.las")
    np.testing.assert_allclose(read_las(tmp_path / "a.las").columns["xyz"], np.eye(3))
