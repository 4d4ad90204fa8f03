"""The one table of points that every file becomes, whatever its format; shapes and scenes take what they need of it.

Symbols: n points, F faces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.formats import column_names as known
from repcore_pointcloud.formats.flags import LEFT_OUT, marked

LARGEST = 1e12  # a coordinate beyond this is no length, and its square leaves float32
SIGNED_BYTE = 127.0
POINTS_OF_A_CLOUD = 4  # a column with fewer points a value tells no clouds apart
LABEL_RANGE = 2**16  # a column of whole numbers that is not called a label, and spans more, counts or times something


@dataclass(frozen=True, slots=True)
class PointTable:
    """Everything that a file says about its points.

    Args:
        xyz: float64 or float32 (n, 3), as exact as the file, in the file's unit and frame.
        colours: float32 (n, 3) in [0, 1]. normals: float32 (n, 3). intensity: float32 (n,). time: float64 (n,).
        labels: name -> int64 (n,), negative = unlabelled. words: name -> texts (n,) of columns that are no numbers.
        faces: int64 (F, 3) of a mesh; then the points are its vertices.
        viewpoint: float64 (3,), where the sensor stood.
        left_out: bool (n,), points that are no part of the cloud (formats/flags.py); None = all are.
        columns: names of all columns as the file has them.
        notes: guesses that were made, with their reasons.
        remark: status and reason of something that a user should know about this file.
    """

    xyz: np.ndarray
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None
    intensity: np.ndarray | None = None
    time: np.ndarray | None = None
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    words: Mapping[str, np.ndarray] = field(default_factory=dict)
    faces: np.ndarray | None = None
    viewpoint: np.ndarray | None = None
    left_out: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remark: tuple[str, str] | None = None

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True, slots=True)
class RawColumns:
    """Columns as a format's reader finds them, before anybody knows what they mean.

    Args:
        columns: name -> numbers (n,), texts (n,), or several numbers a point (n, k) such as ``xyz`` or ``rgb``.
        faces / viewpoint / notes / remark: as in :class:`PointTable`.
        headerless: whether the names are conventions, not the file's own.
    """

    columns: Mapping[str, np.ndarray]
    faces: np.ndarray | None = None
    viewpoint: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    remark: tuple[str, str] | None = None
    headerless: bool = False


def point_table(
    raw: RawColumns, source: str, wanted: Sequence[str] = (), flags_left_out: Sequence[str] = LEFT_OUT
) -> PointTable:
    """Find coordinates, colours, normals, intensity, time and labels among named columns.

    Args:
        raw: what a format's reader found.
        source: file name, for messages.
        wanted: names or numbers of x, y and z; recognised by name when empty.
        flags_left_out: flags whose points are no part of the cloud.

    Raises:
        ItemError: ``wrong_columns``, ``empty`` (all points are left out, too), ``labels_differ``.
    """
    given = {str(name): _native(np.asarray(values)) for name, values in raw.columns.items()}
    longest = max((values.shape[0] for values in given.values() if values.ndim), default=0)
    columns = {name: values for name, values in given.items() if not _is_single(name, values, longest)}
    xyz, used = _coordinates(columns, source, wanted)
    if len(xyz) == 0:
        raise ItemError("empty", f"{source} holds no points")
    if raw.headerless and not wanted and len(columns) > 3 < len(xyz):
        _check_counting(xyz[:, 0], source)
    rest = {name: values for name, values in columns.items() if name not in used}
    whole = {known.plain(name): values for name, values in rest.items() if len(values) == len(xyz)}
    _check_lengths(rest, len(xyz), source)
    left_out, said = marked(whole, flags_left_out)
    if left_out is not None and left_out.all():
        raise ItemError("empty", f"{source}: {said[0]}")
    found = _Taken(whole)
    colours = found.joined(known.COLOUR_ARRAYS, known.COLOURS)
    normals = found.joined(known.NORMAL_ARRAYS, known.NORMALS)
    if normals is not None and not normals.any():
        normals = None  # places that a writer left empty
    intensity = found.single(known.INTENSITY)
    time = found.single(known.TIME)
    if intensity is None and xyz.shape[1] > 3:
        intensity = xyz[:, 3]
    labels, words, notes = _labels(found.rest)
    return PointTable(
        xyz=_exact(xyz[:, :3]),
        colours=None if colours is None else unit_colours(colours),
        normals=None if normals is None else _unit_normals(normals),
        intensity=None if intensity is None else intensity.astype(np.float32),
        time=None if time is None else time.astype(np.float64),
        labels=labels,
        words=words,
        faces=raw.faces,
        viewpoint=raw.viewpoint,
        left_out=left_out,
        columns=tuple(columns),
        notes=(*raw.notes, *said, *notes, *_single_labels(given, columns)),
        remark=raw.remark,
    )


def check_one_cloud(raw: RawColumns, source: str, wanted: Sequence[str] = ()) -> None:
    """Refuse a table of several clouds; one whose columns of coordinates the user named is one cloud.

    Raises:
        ItemError: ``several_clouds``: a column called like clouds has few values, each of several points.
    """
    for name, values in {} if wanted or raw.headerless else raw.columns.items():
        count = len(values)
        if not known.names_clouds(known.plain(name)) or values.ndim != 1 or count < 2 * POINTS_OF_A_CLOUD:
            continue
        held = list(dict.fromkeys(values.tolist()))
        if 1 < len(held) <= count // POINTS_OF_A_CLOUD:
            shown = ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in held[:3])
            raise ItemError(
                "several_clouds",
                f"{source}: column {name!r} tells {len(held):,} clouds apart ({shown}): write a file for each, or take "
                "all points as one cloud with dataset.columns=[x,y,z]",
            )


def _native(values: np.ndarray) -> np.ndarray:
    """Numbers in this machine's byte order."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


class _Taken:
    """Columns by plain name; each is taken once."""

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self.rest = columns

    def joined(self, arrays: Sequence[str], parts: known.Triples) -> np.ndarray | None:
        """An array of three columns, or three columns of one number each, (n, 3)."""
        for name in arrays:
            if name in self.rest and self.rest[name].ndim == 2 and self.rest[name].shape[1] >= 3:
                return self.rest.pop(name)[:, :3]
        names = list(self.rest)
        places = known.triple(parts, names)
        if places is None:
            return None
        three = [self.rest.pop(names[place]) for place in places]
        return np.stack(three, axis=1) if all(_is_number(one) for one in three) else None

    def single(self, names: Sequence[str]) -> np.ndarray | None:
        for name in names:
            if name in self.rest and self.rest[name].size == len(self.rest[name]) and _is_number(self.rest[name]):
                return self.rest.pop(name).reshape(-1)
        return None


def _coordinates(columns: Mapping[str, np.ndarray], source: str, wanted: Sequence[str]) -> tuple[np.ndarray, set[str]]:
    """Coordinates (n, 3), or (n, 4) with an intensity, and the names of the columns that they come from."""
    names = list(columns)
    if wanted:
        if len(wanted) != 3:
            raise ItemError("wrong_columns", f"{len(wanted)} columns named for {source}; expected three")
        places = [_place(one, names, source) for one in wanted]
        return _stacked([columns[names[place]] for place in places], source), {names[place] for place in places}
    plain = [known.plain(name) for name in names]
    for array in (one for one in known.POSITION_ARRAYS if one in plain):
        name = names[plain.index(array)]
        if columns[name].ndim == 2 and columns[name].shape[1] >= 3:
            return columns[name], {name}
    found = known.triple(known.AXES, plain)
    if found is None:
        raise ItemError(
            "wrong_columns",
            f"{source} has no x, y and z, only {', '.join(names[:12]) or 'nothing'}; "
            "dataset.columns=[...] names or numbers them",
        )
    return _stacked([columns[names[place]] for place in found], source), {names[place] for place in found}


def _check_counting(first: np.ndarray, source: str) -> None:
    """Raises ItemError ``wrong_columns``: row numbers where x should be."""
    if np.array_equal(first, np.arange(len(first)) + first[0]):
        raise ItemError(
            "wrong_columns",
            f"the first column of {source} counts the rows; dataset.columns=[1,2,3] names x, y, z",
        )


def _place(column: str, names: Sequence[str], source: str) -> int:
    if column in names:
        return list(names).index(column)
    plain = [known.plain(name) for name in names]
    if known.plain(column) in plain and not column.isdigit():
        return plain.index(known.plain(column))
    if column.isdigit() and int(column) < len(names):
        return int(column)
    raise ItemError("wrong_columns", f"{source} has no column {column!r}; it has {', '.join(names)}")


def _stacked(three: Sequence[np.ndarray], source: str) -> np.ndarray:
    for one in three:
        if not _is_number(one) or one.ndim != 1:
            raise ItemError("corrupt", f"{source}: a column of coordinates holds {one[:1].tolist()}, no numbers")
    exact = np.float32 if all(one.dtype == np.float32 for one in three) else np.float64
    return np.stack([one.astype(exact, copy=False) for one in three], axis=1)


def _is_number(values: np.ndarray) -> bool:
    return values.dtype.kind in "fiub"


def _exact(xyz: np.ndarray) -> np.ndarray:
    """float32 stays, everything else becomes float64: large map coordinates need it until they are centred."""
    return np.ascontiguousarray(xyz, dtype=np.float32 if xyz.dtype == np.float32 else np.float64)


def _is_single(name: str, values: np.ndarray, longest: int) -> bool:
    """Whether values are about the file, not about points: a number, or a list of one that is called a label."""
    is_called = known.plain(name) in (*known.LABEL_WORDS, *known.FILE_LABELS)
    return values.ndim == 0 or (values.size == 1 < longest and is_called)


def _single_labels(given: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence for each label of the whole file: it is not a label of points, and must not vanish."""
    return [
        f"{name}: {values.reshape(-1)[0]} is one label of the whole file and is not used; labels of files come from "
        "folders or from a table"
        for name, values in given.items()
        if name not in columns and known.plain(name) in (*known.LABEL_WORDS, *known.FILE_LABELS)
    ]


def _check_lengths(rest: Mapping[str, np.ndarray], count: int, source: str) -> None:
    """Raises ItemError ``labels_differ``: a column of labels that does not belong to these points."""
    for name, values in rest.items():
        plain = known.plain(name)
        # names of classes and weights of them (class_names, class_weights) are as many as there are classes
        is_numbered = values.dtype.kind in "iub" and values.size == len(values)
        is_of_points = is_numbered and plain.startswith(known.POINT_LABEL_STARTS)
        if len(values) != count and (plain in known.LABEL_WORDS or is_of_points):
            raise ItemError("labels_differ", f"{source}: {name!r} has {len(values)} entries for {count} points")


def _labels(
    columns: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Columns that are labels, columns of words, and remarks."""
    labels: dict[str, np.ndarray] = {}
    words: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for name, values in columns.items():
        if values.size != len(values):
            continue
        values = values.reshape(-1)
        if values.dtype.kind in "UOS":
            words[name] = values
        elif _is_number(values) and (numbers := _whole_labels(name, values)) is not None:
            labels[name] = numbers
            if numbers.min(initial=0) < 0:
                notes.append(f"label {name}: negative numbers mean unlabelled")
    return labels, words, notes


def _whole_labels(name: str, values: np.ndarray) -> np.ndarray | None:
    """A column as labels int64 (n,), negative ones as -1; None if it is none."""
    named = known.is_label(name)
    if name in known.NOT_LABELS or (values.dtype.kind == "f" and not named):
        return None
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if (values[finite] != np.round(values[finite])).any():
            return None
        values = np.where(finite, values, -1)  # an empty cell is an unlabelled point
    if values.dtype.kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max:
        return None
    numbers = values.astype(np.int64)
    if not named and int(numbers.max()) - int(numbers.min()) >= LABEL_RANGE:
        return None
    return np.maximum(numbers, -1)


def unit_colours(colours: np.ndarray) -> np.ndarray:
    """float32 (n, 3) in [0, 1] from bytes, 16-bit numbers, or shares that are there already."""
    scaled = colours[:, :3].astype(np.float32)
    largest = float(np.nanmax(scaled)) if np.isfinite(scaled).any() else 0.0
    if colours.dtype.kind == "f" and largest <= 1.0:
        return scaled
    return scaled / (255.0 if largest <= 255.0 else 65535.0)


def _unit_normals(normals: np.ndarray) -> np.ndarray:
    return (normals / SIGNED_BYTE if normals.dtype == np.int8 else normals).astype(np.float32)


# ---------------------------------------------------------------------------------------- coordinates


def usable(points: np.ndarray) -> np.ndarray:
    """Which points have coordinates that are lengths, bool (n,): neither NaN nor infinite nor beyond 1e12."""
    with np.errstate(invalid="ignore"):
        result: np.ndarray = (np.abs(points) <= LARGEST).all(axis=1)
    return result


def far_offset(points: np.ndarray) -> np.ndarray | None:
    """What to subtract before float32, float64 (3,) in whole units; None where float32 is fine enough as it is.

    Map coordinates (500,000 and 5,400,000) leave float32 a resolution of half a metre. The median is taken, so that a
    stray point at 0, 0, 0 does not hide the case, and rounded, so that a grid of whole units stays where it was.
    """
    if len(points) == 0:
        return None
    some = points[:: max(1, len(points) // 50_000)].astype(np.float64)
    low, centre, high = np.percentile(some, (5, 50, 95), axis=0)
    spread = float((high - low).max())
    step = float(np.spacing(np.float32(np.abs(centre).max())))
    if spread == 0.0 or step <= 1e-5 * spread:
        return None
    return np.asarray(np.round(centre) + 0.0)  # no -0


def stored_coarsely(xyz: np.ndarray, offset: np.ndarray | None) -> str:
    """A sentence about coordinates that the file itself rounded to float32 far from 0; empty otherwise."""
    if offset is None or xyz.dtype != np.float32:
        return ""
    far = float(np.abs(offset).max())
    return f"coordinates near {far:,.0f} are stored in float32: they come in steps of {np.spacing(np.float32(far)):g}"
