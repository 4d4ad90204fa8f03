"""Whether numbers can be points at all, seen from shapes and names: every domain has arrays and tables of numbers.

A cloud has a row a point, many rows and few columns. As many columns as rows are a matrix (of a graph, of distances),
dozens of columns without names are measured series, and an archive without an array of coordinates is another domain's.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from repcore.data.allocation import array_header, open_arrays
from repcore.errors import ItemError
from repcore_pointcloud.formats import column_names as known

MOST_UNNAMED = 16  # columns without names; more are a series or a feature vector, no point
LEAST_WIDTH = 7  # from here on a table with no more rows than columns is a matrix
SMALL = 4  # points of the smallest cloud that is told from a small symmetric matrix
ANYTHING = {"data", "arr_0"}  # arrays of any domain
ON_ITS_SIDE = 7  # rows, at most, of a cloud that was saved with a row a coordinate


def is_matrix(values: np.ndarray) -> bool:
    """Whether rows and columns of a table (n, C) are the same things: square, the same on both sides of its diagonal.

    Of a table of n x (n + 1) the first column counts as names of the rows.
    """
    rows, width = values.shape
    square = values[:, 1:] if width == rows + 1 else values
    if square.shape[0] != square.shape[1] or rows < SMALL:
        return False
    return bool(np.array_equal(square, square.T, equal_nan=True))


def fits_points(rows: int, width: int) -> bool:
    """Whether a table without names of columns has a shape that clouds have."""
    return 3 <= width <= MOST_UNNAMED and not (rows <= width and width >= LEAST_WIDTH)


def array_may_be_points(path: Path) -> bool:
    """Whether an ``.npy`` or ``.npz`` file may hold one cloud, by headers; damaged ones may: reading says why not."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                _, needed = array_header(file)
            if not 0 < needed <= path.stat().st_size:
                return True  # cut off
            return _fits(np.load(path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(path) as packed:
            names = {known.plain(Path(one).stem) for one in packed.namelist()}
        if names & set(known.POSITION_ARRAYS) - ANYTHING or known.triple(known.AXES, sorted(names)) is not None:
            return True
        with open_arrays(path) as archive:
            held = [one for one in archive.files if len(names) == 1 or known.plain(one) in ANYTHING]
            return any(_fits(archive[one]) for one in held)
    except (OSError, ValueError, EOFError, ItemError, zipfile.BadZipFile):
        return True


def _fits(array: np.ndarray) -> bool:
    if array.dtype.names or array.ndim != 2:
        return bool(array.dtype.names) or (array.ndim == 3 and array.shape[2] >= 3)
    if array.shape[0] < ON_ITS_SIDE and array.shape[1] > 2 * MOST_UNNAMED:
        return True  # on its side, which reading says
    return fits_points(*array.shape) and not (array.shape[0] <= MOST_UNNAMED and is_matrix(np.asarray(array)))
