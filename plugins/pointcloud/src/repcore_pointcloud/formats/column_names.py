"""What the columns of a point file are called, and what a column without a name is by its content.

Names come from many programs: ``x``, ``//X``, ``X [m]``, ``Points:0``, ``Easting``, ``scalar_Label``. Columns without
names follow the conventions of their formats where the content agrees with them (bytes are colours, rows of unit length
are normals); the choice is returned as a sentence, so that it can be shown.

Symbols: n points, C columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

Triples = tuple[tuple[str, str, str], ...]


def _numbered(*stems: str) -> Triples:
    return tuple((f"{stem}_0", f"{stem}_1", f"{stem}_2") for stem in stems)


AXES: Triples = (
    ("x", "y", "z"), ("px", "py", "pz"), ("pos_x", "pos_y", "pos_z"), ("point_x", "point_y", "point_z"),
    ("coord_x", "coord_y", "coord_z"), ("position_x", "position_y", "position_z"), ("posx", "posy", "posz"),
    ("cartesianx", "cartesiany", "cartesianz"), ("x_coordinate", "y_coordinate", "z_coordinate"), ("xs", "ys", "zs"),
    *_numbered("points", "point", "position", "coord", "coords", "xyz"),
    *((east, north, up) for east, north in (("easting", "northing"), ("east", "north"), ("e", "n"), ("x", "y"))
      for up in ("elevation", "elev", "height", "altitude", "alt", "z", "h")),
)  # fmt: skip
COLOURS: Triples = (
    ("red", "green", "blue"), ("r", "g", "b"), ("rf", "gf", "bf"), ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("colorred", "colorgreen", "colorblue"), *_numbered("rgb", "color", "colors"),
)  # fmt: skip
NORMALS: Triples = (
    ("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"), ("normalx", "normaly", "normalz"),
    *_numbered("normals", "normal"),
)  # fmt: skip
POSITION_ARRAYS = ("xyz", "points", "coord", "coords", "coordinates", "pcd", "pos", "position", "positions", "vertices",
                   "point", "data", "pc", "pointcloud", "point_cloud", "locs", "arr_0")  # fmt: skip
COLOUR_ARRAYS = ("rgb", "color", "colour", "colors", "colours", "rgba")
NORMAL_ARRAYS = ("normal", "normals")
INTENSITY = ("intensity", "reflectance", "remission", "reflectivity", "intensities", "scalar_field_intensity", "i")
TIME = ("time", "timestamp", "gps_time", "t", "offset_time", "gpstime", "time_stamp")
LABEL_WORDS = ("label", "labels", "class", "classes", "classification", "category", "semantic", "sem", "gt", "instance",
               "ground_truth", "annotation", "part", "object_id")  # fmt: skip
LABEL_STARTS = ("label_", "semantic_", "segment", "instance_", "class_", "sem_", "gt_")
POINT_LABEL_STARTS = ("seg", "semantic", "sem_", "gt_", "point_label")  # one a point, whatever follows
FILE_LABELS = ("y", "target", "cls", "shape_label")  # of single numbers only: as arrays they are coordinates or values
NOT_LABELS = frozenset({
    "alpha", "a", "ring", "row", "column", "col", "index", "idx", "id", "point_id", "echo", "return_number", "rgb",
    "number_of_returns", "scan_direction_flag", "edge_of_flight_line", "synthetic", "key_point", "withheld", "overlap",
    "scanner_channel", "scan_angle", "scan_angle_rank", "user_data", "point_source_id", "laser", "beam", "range",
    "viewpoint", "ambient", "noise", "offset", "scale", "elongation", "raw_classification", "view", "curvature",
    *(word for three in (*COLOURS, *NORMALS) for word in three),
})  # fmt: skip
CLOUD_WORDS = frozenset({
    "scan", "frame", "file", "filename", "cloud", "pointcloud", "point_cloud", "sweep", "scene", "shape", "mesh",
    "model", "sample", "item", "source_file", "file_path", "filepath", "path",
})  # fmt: skip
"""Names of columns that say from which cloud a point is, alone or with a number's name behind them (``scan_id``)."""
METRES = {
    "m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3,
    "ft": 0.3048, "feet": 0.3048, "foot": 0.3048, "us-ft": 1200 / 3937, "usft": 1200 / 3937, "in": 0.0254,
    "inch": 0.0254,
}  # fmt: skip
"""Metres in a unit that a header may name."""
UNIT = re.compile(r"\s*[\[(]\s*([^\])]*?)\s*[\])]")
BYTES_MAX, UNIT_TOLERANCE, MOST_ROWS = 255, 0.02, 20_000


def plain(name: str) -> str:
    """A name as it is compared: ``//X [m]`` and ``scalar_X`` are ``x``, ``Points:0`` is ``points_0``."""
    text = UNIT.sub("", name.strip().strip("\"'").lstrip("/#% ").strip()).lower()
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    return text.removeprefix("scalar_") if text not in ("scalar_field",) else text


def unit_of(name: str) -> str:
    """The unit that a name gives in brackets, lower case; empty without one."""
    found = UNIT.search(name)
    return found[1].lower() if found else ""


def triple(wanted: Triples, names: Sequence[str]) -> tuple[int, int, int] | None:
    """Places of the first three plain names that belong together; None unless all three are there."""
    place = {name: number for number, name in reversed(list(enumerate(names)))}
    found = next((three for three in wanted if all(one in place for one in three)), None)
    return None if found is None else (place[found[0]], place[found[1]], place[found[2]])


def is_label(name: str) -> bool:
    """Whether a plain name says that a column is a label."""
    return name in LABEL_WORDS or name.startswith(LABEL_STARTS) or name.endswith(("_label", "_labels", "_class"))


def names_clouds(name: str) -> bool:
    """Whether a plain name says that a column tells clouds apart."""
    return re.sub(r"_(id|ids|no|nr|num|number|index|idx|name|key|uid)$", "", name) in CLOUD_WORDS


def conventional_names(table: np.ndarray, suffix: str = "") -> tuple[list[str], str]:
    """Names of the columns of a table without a header.

    Args:
        table: (n, C), C >= 3; the first three are coordinates, or colours where content leaves nothing else.
        suffix: of the file: ``.pts`` puts an intensity before colours.

    Returns:
        C names, ``column 5`` and so on where nothing is known, and a sentence about the choice.
    """
    rest = [f"column {place}" for place in range(3, table.shape[1])]
    rows = table[:: max(1, len(table) // MOST_ROWS)]
    if _colours_first(rows):
        after = _labels(rows[:, 6:]) if table.shape[1] > 6 else []
        names = ["red", "green", "blue", "x", "y", "z", *(after or rest[3:])]
        said = "no header: red green blue come first by content (whole numbers to 255), then x y z in fractions"
        return names, said + ("" if len(names) == 6 or after else f"; columns 6 to {len(names) - 1} are not used")
    found = _rest(rows[:, 3:], suffix)
    rest[: len(found)] = found
    names = ["x", "y", "z", *rest]
    known = [f"{one} (column {place})" for place, one in enumerate(names[3:], 3) if not one.startswith("column ")]
    unknown = [str(place) for place, one in enumerate(names) if one.startswith("column ")]
    said = f"no header: x y z, then {', '.join(known)} by content" if known else "no header: x y z come first"
    if unknown:
        said += f"; columns {', '.join(unknown)} are not used"
    return names, said if table.shape[1] > 3 else ""


def _rest(rest: np.ndarray, suffix: str) -> list[str]:
    """Names of what follows x y z, as far as content and convention tell."""
    width = rest.shape[1]
    if width == 0:
        return []
    if width == 1:
        return ["intensity"]
    if width == 2:
        return ["intensity", "ring" if _whole(rest[:, 1]) else "time"]
    if _unit_rows(rest[:, :3]):
        after = rest[:, 3:]
        if after.shape[1] >= 3 and _colours(after[:, :3]):
            return ["nx", "ny", "nz", "red", "green", "blue", *_labels(after[:, 3:])]
        return ["nx", "ny", "nz", *_labels(after)]
    colour_first, colour_second = _colours(rest[:, :3]), width > 3 and _colours(rest[:, 1:4])
    if colour_first and colour_second:  # x y z i r g b, or x y z r g b label: a label has the fewest values
        counts = [len(np.unique(rest[:, place])) for place in (0, 3)]
        colour_first = suffix != ".pts" and 1 < counts[1] <= counts[0]
    if colour_first:
        after = rest[:, 3:]
        if after.shape[1] == 3 and _unit_rows(after):
            return ["red", "green", "blue", "nx", "ny", "nz"]
        return ["red", "green", "blue", *_labels(after)]
    if colour_second:
        return ["intensity", "red", "green", "blue", *_labels(rest[:, 4:])]
    return ["intensity"] if width == 3 else []


def _colours_first(rows: np.ndarray) -> bool:
    """Whether colours stand before coordinates: whole numbers that fill a byte, then fractions of either sign.

    Whole coordinates before shares of colours, or before normals, are a grid of voxels.
    """
    if rows.shape[1] < 6:
        return False
    first, second = rows[:, :3], rows[:, 3:6]
    if not np.isfinite(first).all() or not _colours(first) or not (first.max(axis=0) > BYTES_MAX // 2).all():
        return False
    are_fractions = not any(_whole(column) for column in second.T)
    return _whole(first) and are_fractions and not _colours(second) and not _unit_rows(second)


def _labels(rest: np.ndarray) -> list[str]:
    """A label and an instance in whole numbers, where that is all that is left."""
    if rest.shape[1] in (1, 2) and all(_whole(column) for column in rest.T):
        return ["label", "instance"][: rest.shape[1]]
    return []


def _whole(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool((known == np.round(known)).all())


def _colours(values: np.ndarray) -> bool:
    """Bytes in whole numbers, or shares in [0, 1]."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known) or known.min() < 0:
        return False
    return bool((_whole(known) and known.max() <= BYTES_MAX) or known.max() <= 1.0)


def _unit_rows(values: np.ndarray) -> bool:
    length = np.linalg.norm(values.astype(np.float64), axis=1)
    return bool(len(length)) and bool((np.abs(length - 1.0) < UNIT_TOLERANCE).mean() > 0.95)
