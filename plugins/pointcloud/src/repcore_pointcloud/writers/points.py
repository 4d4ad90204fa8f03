"""Answers about points as PLY, LAS, PCD and SemanticKITTI ``.label``: one entry a point, in the order of the input.

Points without an answer (coordinates that are not finite) have probability 0 in files that know no empty cell, and the
class 0, or where the model has a class 0: -1 (PLY, PCD), or the highest number that no class has (LAS, ``.label``).

Symbols: N points, K classes or values.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ConfigError, DataError
from repcore.interfaces import DenseAnswer
from repcore_pointcloud.formats.ply import ply_bytes
from repcore_pointcloud.formats.surveys import filled_survey

PALETTE = np.array(
    [[127, 127, 127], [31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75],
     [227, 119, 194], [188, 189, 34], [23, 190, 207], [255, 187, 120], [152, 223, 138]], np.uint8,
)  # fmt: skip
LAS_CLASSES = 256
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
        return xyz, {name: outputs[:, k].astype(np.float32) for k, name in enumerate(names)}
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


def write_ply(path: Path, answer: DenseAnswer) -> None:
    """Binary PLY: x y z (float64 where float32 would lose a millimetre), label, probability, colour of the class."""
    xyz, named = columns(answer)
    kind = "f4" if np.allclose(xyz.astype(np.float32), xyz, rtol=0, atol=1e-4, equal_nan=True) else "f8"
    layout = [(name, kind) for name in "xyz"] + [(name, values.dtype.str[1:]) for name, values in named.items()]
    table = np.zeros(len(xyz), layout)
    for axis, name in enumerate("xyz"):
        table[name] = xyz[:, axis]
    for name, values in named.items():
        table[name] = values
    path.write_bytes(ply_bytes(table))


def write_las(path: Path, answer: DenseAnswer) -> None:
    """The survey that was read with the class in ``classification`` and the probability beside, all else as it was; of
    other clouds LAS 1.4 with the colour of the class, too.

    Raises:
        ConfigError: laspy is missing.
        DataError: a class number that LAS cannot hold, or coordinates that are not finite.
    """
    try:
        import laspy
    except ImportError as error:
        raise ConfigError("LAS files need laspy", hint='pip install "repcore-pointcloud[las]"') from error
    xyz, named = columns(answer, (0, *range(LAS_CLASSES - 1, 0, -1)))
    if not np.isfinite(xyz).all():
        raise DataError(
            f"{answer.sample.id} has points without coordinates, which LAS cannot hold", hint="--format ply"
        )
    classes = named.get("label")
    if classes is not None and (classes.min(initial=0) < 0 or classes.max(initial=0) >= LAS_CLASSES):
        raise DataError(f"class {int(classes.max())} is outside 0 .. {LAS_CLASSES - 1} of LAS", hint="--format ply")
    source = answer.sample.meta.get("survey")
    file = None if source is None else filled_survey(Path(source), xyz, classes)
    file = _new_las(xyz, named) if file is None else file
    there = set(file.point_format.dimension_names)
    for name in [one for one in named if one not in ("label", "red", "green", "blue")]:
        if name not in there:
            file.add_extra_dim(laspy.ExtraBytesParams(name=name, type=np.float32))
        file[name] = named[name]
    with path.open("wb") as target:
        file.write(target)


def _new_las(xyz: np.ndarray, named: dict[str, np.ndarray]) -> Any:  # a laspy file
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.offsets = np.floor(xyz.min(0)) if len(xyz) else np.zeros(3)
    header.scales = np.full(3, 1e-3 if np.ptp(xyz, axis=0).max(initial=0) > 10 else 1e-5)
    file = laspy.LasData(header)
    file.x, file.y, file.z = xyz.T
    if "label" in named:
        file.classification = named["label"].astype(np.uint8)
        file.red, file.green, file.blue = (named[name].astype(np.uint16) * 257 for name in ("red", "green", "blue"))
    return file


def write_pcd(path: Path, answer: DenseAnswer) -> None:
    """Binary PCD 0.7: x y z float64, then label and probability, or values."""
    xyz, named = columns(answer)
    kept = {name: values for name, values in named.items() if name not in ("red", "green", "blue")}
    layout = [(name, "<f8") for name in "xyz"]
    layout += [(name, "<i4" if values.dtype.kind == "i" else "<f4") for name, values in kept.items()]
    table = np.zeros(len(xyz), layout)
    for axis, name in enumerate("xyz"):
        table[name] = xyz[:, axis]
    for name, values in kept.items():
        table[name] = values
    kinds = ["F" if kind[1] == "f" else "I" for _, kind in layout]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", f"FIELDS {' '.join(name for name, _ in layout)}",
        f"SIZE {' '.join(kind[2] for _, kind in layout)}", f"TYPE {' '.join(kinds)}",
        f"COUNT {' '.join('1' for _ in layout)}", f"WIDTH {len(xyz)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(xyz)}", "DATA binary",
    ]  # fmt: skip
    path.write_bytes(("\n".join(header) + "\n").encode() + table.tobytes())


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
