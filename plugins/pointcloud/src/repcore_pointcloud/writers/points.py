"""Answers about points as PLY, LAS, PCD and SemanticKITTI ``.label``: one entry a point, in the order of the input.

PLY, LAS and PCD hold what the user's own file says about its points, whatever its format, with the answer behind:
coordinates, colours, intensity, normals, ring, time and all else that is a number, in the file's own types; of a PLY
also its faces and remarks, of a PCD its grid and viewpoint. Where the file has a column of the answer's name, the
answer's is called ``predicted_<name>`` (``predicted_label``), and a PLY file says so in a comment.

Points without an answer (coordinates that are not finite) have probability 0 in files that know no empty cell, and the
class 0, or where the model has a class 0: -1 (PLY, PCD), or the highest number that no class has (LAS, ``.label``).

Writers of PLY, LAS and PCD return, in words, what of the user's own file the format does not hold; empty where nothing.

Symbols: N points, K classes or values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ConfigError, DataError
from repcore.interfaces import DenseAnswer
from repcore_pointcloud.formats.own_file import FACT, OwnFile, free_names, own_file
from repcore_pointcloud.formats.pcd import pcd_bytes
from repcore_pointcloud.formats.ply import Element, PlyFile, Property, ply_bytes
from repcore_pointcloud.formats.surveys import filled_survey

PALETTE = np.array(
    [[127, 127, 127], [31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75],
     [227, 119, 194], [188, 189, 34], [23, 190, 207], [255, 187, 120], [152, 223, 138]], np.uint8,
)  # fmt: skip
PREDICTED = "predicted_"
AXES = ("x", "y", "z")
COLOURS = ("red", "green", "blue")
LAS_CLASSES = 256
LAS_NAME = 32  # bytes of the name of an extra dimension
LABEL_CLASSES = 65_536  # SemanticKITTI keeps the class in the lower 16 bits and the instance in the upper ones


def columns(answer: DenseAnswer, missing: Iterable[int] = (0, -1)) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Coordinates float64 (N, 3) and named columns (N,): label, probability and colour of a class, else values.

    Args:
        missing: class numbers of points without an answer, the first that no class has.

    Raises:
        DataError: the model's preprocessor gives no coordinates beside its answers.
    """
    if not {"x", "y", "z"} <= set(answer.elements):
        raise DataError(f"answers about {answer.sample.id} come without coordinates", hint="--format npz")
    xyz = np.stack([answer.elements[name] for name in "xyz"], axis=1)
    outputs = np.nan_to_num(answer.outputs)
    if answer.target is None or answer.target.kind != "class":
        names = [f"value_{k}" for k in range(outputs.shape[1])]
        return xyz, {name: outputs[:, k] for k, name in enumerate(names)}
    colour = PALETTE[outputs.argmax(1) % len(PALETTE)]
    colour[~np.isfinite(answer.outputs).all(1)] = 0
    found = {
        "label": answer.labels(missing).astype(np.int32),
        "probability": outputs.max(1).astype(np.float32),
        "red": colour[:, 0],
        "green": colour[:, 1],
        "blue": colour[:, 2],
    }
    return xyz, found


def beside(named: Mapping[str, np.ndarray], taken: Iterable[str]) -> dict[str, np.ndarray]:
    """The answer's columns under names that the file does not have; the three colours stay together."""
    known = list(taken)
    colours = [name for name in named if name in COLOURS]
    renamed = free_names(colours, known, PREDICTED)
    if renamed != colours:  # one of them is taken
        known += colours
    return dict(zip(free_names(named, known, PREDICTED), named.values(), strict=True))


def write_ply(path: Path, answer: DenseAnswer) -> str:
    """Binary PLY: the file's own columns, then label, probability and colour of the class; x y z of points that come
    from no file as float32, or float64 where that would lose a tenth of a millimetre."""
    xyz, named = columns(answer)
    own = _own(answer, xyz)
    if own is not None and own.ply is not None:
        path.write_bytes(ply_bytes(_with_columns(own.ply, named)))
        return ""
    if own is None:
        exact = np.allclose(xyz.astype(np.float32), xyz, rtol=0, atol=1e-4, equal_nan=True)
        table = {name: xyz[:, axis].astype(np.float32 if exact else np.float64) for axis, name in enumerate("xyz")}
    else:
        table = _for_ply(own.in_place())
    empty = PlyFile([Element("vertex", len(xyz), _properties(table))], {"vertex": table})
    path.write_bytes(ply_bytes(_with_columns(empty, named)))
    return _left_out("PLY", own)


def _left_out(format_name: str, own: OwnFile | None) -> str:
    """What a format does not hold of a file of another format."""
    return f"{format_name} does not hold {', '.join(own.beside)} of the file" if own is not None and own.beside else ""


def _with_columns(file: PlyFile, named: Mapping[str, np.ndarray]) -> PlyFile:
    """The file with further columns of its vertices."""
    vertex = next(one for one in file.elements if one.name == "vertex")
    added = beside(named, file.columns["vertex"])
    wider = Element("vertex", vertex.rows, [*vertex.properties, *_properties(added)])
    said = [
        f"comment {new} is what was predicted, {name} the file's own"
        for new, name in zip(added, named, strict=True)
        if new != name
    ]
    return replace(
        file,
        elements=[wider if one is vertex else one for one in file.elements],
        columns={**file.columns, "vertex": {**file.columns["vertex"], **added}},
        remarks=[*file.remarks, *(one for one in said if one not in file.remarks)],
    )


def _properties(table: Mapping[str, np.ndarray]) -> list[Property]:
    return [Property(name, values.dtype.str[1:]) for name, values in table.items()]


def _for_ply(table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In types that other programs read, too; the three colours in one type, of text as bytes where all three fit."""
    found = {name: _plain_type(values) for name, values in table.items()}
    colours = [name for name in found if name in COLOURS]
    if colours:
        are_bytes = all(np.isin(found[name], np.arange(256)).all() for name in colours)
        kind = np.dtype(np.uint8) if are_bytes else np.result_type(*(found[name] for name in colours))
        found |= {name: found[name].astype(kind) for name in colours}
    return found


def _plain_type(values: np.ndarray) -> np.ndarray:
    """No whole numbers of 8 bytes, no yes and no."""
    if values.dtype.kind == "b" or values.dtype == np.float16:
        return values.astype(np.uint8 if values.dtype.kind == "b" else np.float32)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        fits = len(values) == 0 or (values.min() >= -(2**31) and values.max() < 2**31)
        return values.astype(np.int32 if fits else np.float64)
    return values.astype(values.dtype.newbyteorder("="))


def write_las(path: Path, answer: DenseAnswer) -> str:
    """The survey that was read with the class in ``classification`` and the probability beside, all else as it was; of
    other clouds LAS 1.4 with the colour of the class, too, and the file's own columns as further dimensions.

    Raises:
        ConfigError: laspy is missing.
        DataError: a class number that LAS cannot hold, or coordinates that are not finite.
    """
    laspy = _laspy()
    xyz, named = columns(answer, (0, *range(LAS_CLASSES - 1, 0, -1)))
    if not np.isfinite(xyz).all():
        raise DataError(
            f"{answer.sample.id} has points without coordinates, which LAS cannot hold", hint="--format ply"
        )
    classes = named.get("label")
    if classes is not None and (classes.min(initial=0) < 0 or classes.max(initial=0) >= LAS_CLASSES):
        raise DataError(f"class {int(classes.max())} is outside 0 .. {LAS_CLASSES - 1} of LAS", hint="--format ply")
    source = answer.sample.meta.get(FACT)
    is_survey = isinstance(source, Path) and source.suffix.lower() in (".las", ".laz")
    file = filled_survey(source, xyz, classes) if is_survey and isinstance(source, Path) else None
    own = None
    if file is None:
        file = _new_las(laspy, xyz, named)
        own = None if is_survey else _own(answer, xyz)
        further = {} if own is None else own.in_place()
        given = {name: one for name, one in further.items() if name not in AXES}
        _add_dimensions(laspy, file, given, "own_")
    _add_dimensions(
        laspy, file, {name: one for name, one in named.items() if name not in ("label", *COLOURS)}, PREDICTED
    )
    with path.open("wb") as target:
        file.write(target)
    return _left_out("LAS", own)


def _laspy() -> Any:  # the library
    try:
        import laspy
    except ImportError as error:
        raise ConfigError("LAS files need laspy", hint='pip install "repcore-pointcloud[las]"') from error
    return laspy


def _add_dimensions(laspy: Any, file: Any, named: Mapping[str, np.ndarray], prefix: str) -> None:
    """Further dimensions of a LAS file; a name that it has already gets the prefix."""
    names = free_names((name[:LAS_NAME] for name in named), file.point_format.dimension_names, prefix)
    for name, values in zip(names, named.values(), strict=True):
        kind = np.dtype(np.uint8 if values.dtype.kind == "b" else values.dtype.newbyteorder("="))
        kind = np.dtype(np.float32) if kind == np.float16 else kind
        file.add_extra_dim(laspy.ExtraBytesParams(name=name[:LAS_NAME], type=kind))
        file[name[:LAS_NAME]] = values


def _new_las(laspy: Any, xyz: np.ndarray, named: dict[str, np.ndarray]) -> Any:  # a laspy file
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.offsets = np.floor(xyz.min(0)) if len(xyz) else np.zeros(3)
    header.scales = np.full(3, 1e-3 if np.ptp(xyz, axis=0).max(initial=0) > 10 else 1e-5)
    file = laspy.LasData(header)
    file.x, file.y, file.z = xyz.T
    if "label" in named:
        file.classification = named["label"].astype(np.uint8)
        file.red, file.green, file.blue = (named[name].astype(np.uint16) * 257 for name in COLOURS)
    return file


def write_pcd(path: Path, answer: DenseAnswer) -> str:
    """Binary PCD 0.7: the file's own fields, then label and probability, or values; x y z of points that come from no
    file as float64."""
    xyz, named = columns(answer)
    kept = {name: values for name, values in named.items() if name not in COLOURS}
    own = _own(answer, xyz)
    if own is None:
        fields = {name: xyz[:, axis] for axis, name in enumerate("xyz")}
    elif own.pcd is not None:
        fields = own.pcd.typed()
    else:
        fields = {name: one.astype(np.uint8) if one.dtype.kind == "b" else one for name, one in own.in_place().items()}
    header = None if own is None or own.pcd is None else own.pcd.header
    path.write_bytes(pcd_bytes({**fields, **beside(kept, fields)}, header))
    return "" if header is not None else _left_out("PCD", own)


def _own(answer: DenseAnswer, xyz: np.ndarray) -> OwnFile | None:
    source = answer.sample.meta.get(FACT)
    return own_file(source, xyz) if isinstance(source, Path) else None


def write_label(path: Path, answer: DenseAnswer) -> None:
    """SemanticKITTI's ``.label``: one uint32 a point, in the order of the sweep.

    Raises:
        DataError: a class number above 65,535.
    """
    labels = answer.labels((0, *range(LABEL_CLASSES - 1, 0, -1)))
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= LABEL_CLASSES:
        raise DataError(
            f"class {int(labels.max())} is outside 0 .. {LABEL_CLASSES - 1} of .label files", hint="--format npz"
        )
    path.write_bytes(labels.astype("<u4").tobytes())
