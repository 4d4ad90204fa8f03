"""NIfTI and Analyze files with nibabel: what the header promises is judged before anything is allocated.

Units of the header are honoured (metres and microns become millimetres), a fourth axis and RGB become channels, and
what a float32 grey value cannot hold is refused in words.

Symbols: (I, J, K) voxels along the array's axes, C channels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from repcore.errors import DataError, ItemError
from repcore_medical3d.formats.volumes import Volume

NIFTI_SUFFIXES = (".nii", ".nii.gz")
PAIR_SUFFIXES = (".hdr", ".hdr.gz")  # NIfTI pairs and Analyze: the values lie in a file .img beside it
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
MM_PER_WORD = {"m": 1000.0, "mm": 1.0, "um": 0.001}
MOST_CHANNELS = 8  # a fourth axis longer than this is a series in time, not the sequences of one scan
DEFLATE_RATIO = 1032  # no gzip file unpacks to more than this many times its size
LARGEST_MIB = 8192
LEAST_EXTENT_MM = 1.0  # a scan that is smaller and names no unit was written in metres
LARGEST_SPACING_MM = 200.0
DISAGREEMENT = 0.5  # voxels between sform and qform that are worth a word
Unit = Literal["header", "mm", "m", "um"]


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How doubtful headers are read.

    Args:
        assume_ras: accept a header that places the scan nowhere.
        unit: of lengths; ``header`` takes the header's word and millimetres where it has none.
        largest_mib: decoded size from which on a file is refused.
        spacing_mm: of arrays that tell none.
    """

    assume_ras: bool = False
    unit: Unit = "header"
    largest_mib: int = LARGEST_MIB
    spacing_mm: tuple[float, float, float] | None = None


def is_nifti(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def stem_of(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


def read_nifti(path: Path, *, assume_ras: bool = False, rules: ReadingRules | None = None) -> Volume:
    """Open a NIfTI or Analyze file: compressed ones are decoded now, others only where they are read.

    Args:
        path: ``.nii``, ``.nii.gz``, or the ``.hdr`` of a pair.
        assume_ras: as in :class:`ReadingRules`.
        rules: further rules; ``assume_ras`` is ignored beside them.

    Returns:
        a volume with one channel, or with as many as the fourth axis or the colours give.

    Raises:
        ItemError: missing, empty, damaged, cut off, too large, not three-dimensional, complex, or without an affine.
    """
    import nibabel

    rules = rules or ReadingRules(assume_ras=assume_ras)
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    try:
        with _heard() as remarks:
            image = nibabel.load(path)
        if not isinstance(image, nibabel.analyze.AnalyzeImage):  # NIfTI 1 and 2 and SPM's kinds are among them
            raise ItemError("not_nifti", f"{path.name} is a {type(image).__name__}")
        _check_promise(image, path, rules.largest_mib)
        affine, facts = _placed(image, path, rules)
        sources = _channels(image, path)
        if remarks:
            facts["remark"] = "; ".join(dict.fromkeys([*([facts["remark"]] if "remark" in facts else []), *remarks]))
    except ItemError:
        raise
    except Exception as error:  # nibabel, gzip and numpy raise many kinds for damaged headers
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
    parts = [
        Volume(source, affine, path, files=_files_of(image, path), channel=name, facts=facts)
        for name, source in sources.items()
    ]
    first = parts[0]
    first.further = tuple(parts[1:])
    return first


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What nibabel has to say of a header, which it tells the terminal without the name of the file otherwise."""
    from nibabel.imageglobals import logger

    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"header: {record.getMessage()}")

    listener, others, passed_on = Listener(), list(logger.handlers), logger.propagate
    logger.handlers[:], logger.propagate = [listener], False
    try:
        yield found
    finally:
        logger.handlers[:], logger.propagate = others, passed_on


def _files_of(image: Any, path: Path) -> list[Path]:  # a nibabel image
    names = {str(holder.filename) for holder in image.file_map.values() if holder.filename}
    return sorted({path, *(Path(name) for name in names if Path(name).is_file())})


def _check_promise(image: Any, path: Path, largest_mib: int) -> None:  # a nibabel image
    """A header is believed only as far as the file can hold what it promises.

    Raises:
        ItemError: more than the file holds, or more than the limit.
    """
    shape = tuple(int(size) for size in image.shape)
    if any(size < 1 for size in shape):
        raise ItemError("empty", f"{path.name} has shape {shape}")
    needed = int(image.dataobj.offset) + int(np.prod(shape, dtype=object)) * image.header.get_data_dtype().itemsize
    holder = image.file_map.get("image") or next(iter(image.file_map.values()))
    data = Path(str(holder.filename or path))
    size = data.stat().st_size
    most = size * DEFLATE_RATIO if data.name.lower().endswith(".gz") else size
    if needed > most:
        words = "unpacks to at most" if data.name.lower().endswith(".gz") else "has"
        raise ItemError("corrupt", f"{data.name} {words} {most} bytes; its header promises {needed}")
    if needed > largest_mib * 2**20:
        raise ItemError(
            "too_large",
            f"{path.name} promises {needed / 2**20:,.0f} MiB ({' x '.join(map(str, shape))} voxels); the limit is "
            f"{largest_mib:,} (dataset.largest_mib)",
        )


def _placed(image: Any, path: Path, rules: ReadingRules) -> tuple[np.ndarray, dict[str, Any]]:  # a nibabel image
    """The affine in millimetres, and remarks on how it was found.

    Raises:
        ItemError: no place is given, or lengths that no scan has.
    """
    header, facts = image.header, {}
    if "sform_code" in header:
        is_placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
        if not is_placed and not rules.assume_ras:
            raise ItemError(
                "no_affine",
                f"{path.name} has neither sform nor qform, so nobody knows where it lies or which side is left "
                "(dataset.missing_affine=assume-ras takes its axes as they are)",
            )
        affine = np.asarray(image.affine if is_placed else np.diag([*header.get_zooms()[:3], 1.0]), np.float64)
        facts.update(_disagreement(header))
    else:
        affine = _analyze_affine(image, path)
        facts["remark"] = "Analyze files store no orientation: taken as the format's own, x to the left"
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "unknown"
    factor = MM_PER_UNIT.get(unit, 1.0) if rules.unit == "header" else MM_PER_WORD[rules.unit]
    if factor != 1.0:
        affine = affine.copy()
        affine[:3] *= factor
        facts["unit"] = f"{unit if rules.unit == 'header' else rules.unit}, converted to mm"
    is_said = unit in MM_PER_UNIT or rules.unit != "header"
    _check_lengths(affine, image.shape, path, is_said)
    return affine, facts


def _analyze_affine(image: Any, path: Path) -> np.ndarray:  # a nibabel image
    """SPM's origin or matrix where there is one, else the grid around its own centre."""
    stored = bytes(image.header["orient"]) if "orient" in image.header else b""
    orient = stored[0] if stored else 0
    if orient != 0 and "origin" not in image.header:
        raise ItemError(
            "no_affine", f"{path.name} is an Analyze file with slices of kind {orient}, whose order has no one meaning"
        )
    return np.asarray(image.affine, np.float64)


def _disagreement(header: Any) -> dict[str, str]:  # a NIfTI header
    """A remark where both placements are valid and differ by half a voxel or more somewhere."""
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return {}
    shape = np.asarray([*header.get_data_shape(), 1, 1, 1][:3])
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    first, second = header.get_sform(), header.get_qform()
    away = np.linalg.norm(corners @ (first[:3, :3] - second[:3, :3]).T + first[:3, 3] - second[:3, 3], axis=-1).max()
    if away <= DISAGREEMENT * float(min(header.get_zooms()[:3])):
        return {}
    return {"remark": f"sform and qform place it up to {away:.1f} apart: the sform is taken"}


def _check_lengths(affine: np.ndarray, shape: tuple[int, ...], path: Path, is_unit_said: bool) -> None:
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    extent = float((spacing * np.asarray([*shape, 1, 1][:3])).max())
    words = " x ".join(f"{length:.3g}" for length in spacing)
    if spacing.max() > LARGEST_SPACING_MM:
        raise ItemError(
            "bad_spacing",
            f"{path.name} has voxels of {words} mm by its header's unit; no scan has (dataset.unit=mm if it is wrong)",
        )
    if not is_unit_said and extent < LEAST_EXTENT_MM:
        raise ItemError(
            "bad_spacing",
            f"{path.name} would be {extent:.3g} mm long (voxels of {words}) and names no unit: probably written in "
            "metres (dataset.unit=m, or mm if it is that small)",
        )


def _channels(image: Any, path: Path) -> Mapping[str, Any]:  # a nibabel image; name -> array or proxy (I, J, K)
    """The channels of a file as arrays or lazy proxies of three axes.

    Raises:
        ItemError: a kind of value or number of axes that no scan has.
    """
    data, kind = image.dataobj, image.header.get_data_dtype()
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:  # a vector image: the fifth axis
        shape = (*shape[:3], shape[4])
    if kind.kind == "c":
        raise ItemError("complex_values", f"{path.name} holds complex numbers; save their magnitude")
    if len(shape) > 4 or (len(shape) == 4 and shape[3] > MOST_CHANNELS):
        raise ItemError(
            "four_dimensional",
            f"{path.name} has shape {shape}: {shape[-1]} volumes in one file are a series, not channels of one scan; "
            "split it, one file a volume",
        )
    if len(shape) == 3 and 1 in shape:
        raise ItemError("two_dimensional", f"{path.name} has shape {shape}: one slice is no volume")
    is_packed = path.name.lower().endswith(".gz")
    if kind.names:  # RGB
        colours = np.asanyarray(data).reshape(shape)
        names = [name for name in kind.names if name != "A"]
        if all(np.array_equal(colours[names[0]], colours[name]) for name in names[1:]):
            return {"": np.ascontiguousarray(colours[names[0]])}
        return {name: np.ascontiguousarray(colours[name]) for name in names}
    if len(shape) == 4:
        values = np.asanyarray(data).reshape(shape)
        return {f"channel {number}": values[..., number] for number in range(shape[3])}
    if is_packed or shape != tuple(image.shape):
        return {"": np.asanyarray(data).reshape(shape)}
    return {"": data}


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Write (I, J, K) or (I, J, K, C) values with their affine as NIfTI.

    Raises:
        DataError: the name does not end in ``.nii`` or ``.nii.gz``.
    """
    import nibabel

    if not is_nifti(path):
        raise DataError(f"{path.name!r} is no NIfTI name", expected=", ".join(NIFTI_SUFFIXES))
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path
