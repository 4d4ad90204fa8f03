"""Files of surveyors: LAS and LAZ (laspy), E57 (pye57), PTX (text). The libraries are extras; without one its files are
rows that name the pip command.

Symbols: n points.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.encodings import whole_text
from repcore.errors import ItemError
from repcore_pointcloud.formats.flags import FLAGS
from repcore_pointcloud.formats.table import RawColumns

LAS_COLUMNS = ("intensity", "classification", "gps_time", "red", "green", "blue", "return_number", *FLAGS)
LAS_SHORTEST_HEAD, LAS_LONGEST_HEAD = 227, 375  # bytes, of versions 1.0 and 1.4
LAS_RECORD, LAS_LATE_RECORD = 54, 60  # bytes of a record without content, before and after the points
NARROW_CLASSES, FIRST_WIDE_FORMAT = 32, 6  # older point formats have five bits for the class
WIDE_FORMATS = {0: 6, 1: 6, 2: 7, 3: 7, 4: 9, 5: 10}
EXTRA_DIMENSIONS = ("LASF_Spec", 4)  # the record that describes further attributes of points
PTX_HEADER = 10  # columns, rows, position, three axes, four rows of a matrix
E57_COLOURS = ("colorRed", "colorGreen", "colorBlue")


def filled_survey(path: Path, xyz: np.ndarray, classes: np.ndarray | None) -> Any:  # a laspy file, or None
    """The survey as it is (scales, reference system, intensity, returns, times) with its classification replaced.

    Args:
        xyz: float64 (n, 3), the points that are answered about.
        classes: int (n,) in 0 .. 255; None = the classification stays.

    Returns:
        None where the file is gone or does not hold these points.
    """
    import laspy

    try:
        file = laspy.read(path)
    except (laspy.errors.LaspyException, OSError, ValueError, RuntimeError):
        return None
    own = np.stack([np.asarray(file.x), np.asarray(file.y), np.asarray(file.z)], axis=1)
    if own.shape != xyz.shape or not np.allclose(own, xyz, rtol=0, atol=float(np.max(file.header.scales))):
        return None
    if classes is not None:
        if file.point_format.id < FIRST_WIDE_FORMAT and classes.max(initial=0) >= NARROW_CLASSES:
            file = laspy.convert(file, point_format_id=WIDE_FORMATS[file.point_format.id])
        file.classification = classes.astype(np.uint8)
    return file


def survey_columns(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Every attribute of the points of a LAS or LAZ file in its own type, scaled coordinates as ``x y z``; and what
    stands beside the points.

    Raises:
        ItemError: ``missing_library``, ``corrupt``, ``incomplete``.
    """
    raw = read_las(path)  # checks the file
    import laspy

    file = laspy.read(path)
    columns = {axis: raw.columns["xyz"][:, place] for place, axis in enumerate("xyz")}
    for name in file.point_format.dimension_names:
        if name not in ("X", "Y", "Z"):
            columns[name] = np.asarray(file[name])
    records = sum((one.user_id, one.record_id) != EXTRA_DIMENSIONS for one in file.header.vlrs)
    return columns, (f"{records} records of its header (reference system, ...)",) if records else ()


def read_las(path: Path) -> RawColumns:
    """Scaled coordinates in float64 with class, intensity, colours, time and flags of a LAS or LAZ file.

    Raises:
        ItemError: ``missing_library``, ``corrupt``, ``incomplete``.
    """
    try:
        import laspy
    except ImportError as error:
        raise _missing(path, "laspy", "las") from error
    _check_las_head(path)
    try:
        file = laspy.read(path)
    except (laspy.errors.LaspyException, ValueError, RuntimeError) as error:
        raise ItemError("corrupt", f"{path.name} cannot be read: {error}") from error
    columns = {"xyz": np.stack([np.asarray(file.x), np.asarray(file.y), np.asarray(file.z)], axis=1)}
    present = set(file.point_format.dimension_names)
    for name in (*LAS_COLUMNS, *file.point_format.extra_dimension_names):
        if name in present:
            values = np.asarray(file[name])
            columns[name] = values
    if len(columns["xyz"]) < file.header.point_count:
        raise ItemError(
            "corrupt", f"{path.name} announces {file.header.point_count:,} points and holds {len(columns['xyz']):,}"
        )
    return RawColumns(columns)


def _check_las_head(path: Path) -> None:
    """Lengths and counts of the header against the file's size: laspy believes them, and 4 billion records take long.

    Raises:
        ItemError: ``corrupt``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LAS_LONGEST_HEAD)
    if len(head) < LAS_SHORTEST_HEAD or not head.startswith(b"LASF"):
        raise ItemError("corrupt", f"{path.name} cannot be read: no header of a LAS file in its {size:,} bytes")
    length, points_at, records = struct.unpack_from("<HII", head, 94)
    if not LAS_SHORTEST_HEAD <= length <= points_at <= size:
        raise ItemError(
            "corrupt", f"{path.name} has {size:,} bytes, its header {length:,}, and its points begin at {points_at:,}"
        )
    if records * LAS_RECORD > points_at - length:
        raise ItemError("corrupt", f"{path.name} announces {records:,} records in {points_at - length:,} bytes")
    if head[25] >= 4 and len(head) == LAS_LONGEST_HEAD:
        begin, late = struct.unpack_from("<QI", head, 235)
        if late and late * LAS_LATE_RECORD > size - begin:
            raise ItemError("corrupt", f"{path.name} announces {late:,} records after its points, which are not there")


def read_e57(path: Path) -> RawColumns:
    """Points of all scans of an E57 file in its common frame.

    Raises:
        ItemError: ``missing_library``, ``corrupt``.
    """
    try:
        import pye57
    except ImportError as error:
        raise _missing(path, "pye57", "e57") from error
    try:
        file = pye57.E57(str(path))
        scans = [
            file.read_scan(number, intensity=True, colors=True, ignore_missing_fields=True)
            for number in range(file.scan_count)
        ]
    except Exception as error:  # the library raises bare C++ errors
        raise ItemError("corrupt", f"{path.name} cannot be read: {error}") from error
    if not scans:
        raise ItemError("empty", f"{path.name} has no scans")
    parts = [np.stack([scan[f"cartesian{axis}"] for axis in "XYZ"], axis=1) for scan in scans]
    columns = {"xyz": np.concatenate(parts)}
    if all("intensity" in scan for scan in scans):
        columns["intensity"] = np.concatenate([scan["intensity"] for scan in scans])
    if all(one in scan for scan in scans for one in E57_COLOURS):
        columns["rgb"] = np.concatenate([np.stack([scan[one] for one in E57_COLOURS], axis=1) for scan in scans])
    notes = (f"{len(scans)} scans in one cloud",) if len(scans) > 1 else ()
    return RawColumns(columns, notes=notes)


def _missing(path: Path, library: str, extra: str) -> ItemError:
    return ItemError("missing_library", f'{path.name} needs {library}: pip install "repcore-pointcloud[{extra}]"')


def read_ptx(path: Path) -> RawColumns:
    """Points of all scans of a PTX file, moved by each scan's matrix; places without a return are left out.

    Raises:
        ItemError: ``corrupt``.
    """
    lines = whole_text(path).splitlines()
    parts: list[np.ndarray] = []
    position, start, empty = None, 0, 0
    while start < len(lines) and (parts == [] or lines[start].strip()):
        header = lines[start : start + PTX_HEADER]
        try:
            count = int(header[0]) * int(header[1])
            stood = np.array(header[2].split(), dtype=np.float64)
            matrix = np.array([line.split() for line in header[6:PTX_HEADER]], dtype=np.float64)
            rows = np.loadtxt(lines[start + PTX_HEADER : start + PTX_HEADER + count], ndmin=2, dtype=np.float64)
        except (ValueError, IndexError) as error:
            raise ItemError("corrupt", f"{path.name} cannot be read: line {start + 1}: {error}") from error
        if matrix.shape != (4, 4) or len(rows) != count or rows.shape[1] < 4:
            raise ItemError(
                "corrupt", f"{path.name}: a scan announces {count:,} points and holds {rows.shape[0]:,}: cut off?"
            )
        seen = rows[:, :3].any(axis=1)
        empty += int((~seen).sum())
        rows = rows[seen]
        # row vectors: a point stands to the left of the matrix, which is stored row by row
        rows[:, :3] = rows[:, :3] @ matrix[:3, :3] + matrix[3, :3]
        parts.append(rows)
        position = stood if position is None else position
        start += PTX_HEADER + count
    widths = {part.shape[1] for part in parts}
    if len(widths) != 1:
        raise ItemError("corrupt", f"{path.name} has scans of {sorted(widths)} columns")
    table = np.concatenate(parts)
    columns = {"xyz": table[:, :3], "intensity": table[:, 3]}
    if table.shape[1] >= 7:
        columns["rgb"] = table[:, 4:7]
    notes = [f"{len(parts)} scans in one cloud"] if len(parts) > 1 else []
    notes += [f"{empty:,} places without a return are left out"] if empty else []
    return RawColumns(columns, viewpoint=position if len(parts) == 1 else None, notes=tuple(notes))
