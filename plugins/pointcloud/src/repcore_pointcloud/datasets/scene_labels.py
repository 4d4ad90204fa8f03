"""Labels of points that lie in files beside the clouds, joined by name: SemanticKITTI, Semantic3D, mmdetection3d.

Symbols: N points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from repcore.data.cells import DecimalWord
from repcore.errors import ItemError
from repcore_pointcloud.formats.flags import LEFT_OUT
from repcore_pointcloud.formats.scenes import Loaded, load_scene

MASKS = {"semantic": "semantic_mask", "instance": "instance_mask"}  # label -> folder of mmdetection3d
LABEL_FOLDER, PACKED_SUFFIX, TEXT_SUFFIX = "labels", ".label", ".labels"


def labels_beside(path: Path) -> dict[str, Path]:
    """Files of labels that belong to a cloud by their names: what they hold -> path."""
    stem = path.name.split(".")[0] if path.name.lower().endswith(".pcd.bin") else path.stem
    found: dict[str, Path] = {}
    packed = [path.parent.parent / LABEL_FOLDER / f"{stem}{PACKED_SUFFIX}", path.with_name(f"{stem}{PACKED_SUFFIX}")]
    for one in packed:
        if one.is_file():
            return {"packed": one}
    text = path.with_name(f"{stem}{TEXT_SUFFIX}")
    if text.is_file():
        return {"semantic": text}
    for name, folder in MASKS.items():
        mask = path.parent.parent / folder / f"{stem}.bin"
        if path.parent.name != folder and mask.is_file():
            found[name] = mask
    return found


def load_labelled(
    path: Path,
    *,
    columns: Sequence[str] = (),
    bin_columns: int = 0,
    flags_left_out: Sequence[str] = LEFT_OUT,
    decimal: DecimalWord = "auto",
) -> Loaded:
    """A scene with the labels in its file and those beside it.

    Raises:
        ItemError: as :func:`repcore_pointcloud.formats.scenes.load_scene`; ``labels_differ``: another number of labels
            than points.
    """
    labels = read_labels(labels_beside(path))
    count = next((len(one) for one in labels.values()), None)
    is_bin = path.suffix.lower() == ".bin" and not bin_columns
    known = count if is_bin and count and _fits(path, count) else None
    loaded = load_scene(
        path,
        columns=columns,
        bin_columns=bin_columns,
        points=known,
        flags_left_out=flags_left_out,
        decimal=decimal,
    )
    for values in labels.values():
        if len(values) != len(loaded.scene.points):
            raise ItemError(
                "labels_differ",
                f"{path.name}: {len(values)} labels for {len(loaded.scene.points)} points",
            )
    return Loaded(loaded.scene, {**loaded.labels, **labels}, loaded.words, loaded.notes, loaded.columns)


def _fits(path: Path, count: int) -> bool:
    numbers = path.stat().st_size // 4
    return numbers % count == 0 and 3 <= numbers // count <= 16


def read_labels(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Labels int64 (N,) by name.

    Raises:
        ItemError: ``labels_differ``: a file that cannot be read as labels.
    """
    labels: dict[str, np.ndarray] = {}
    for name, path in files.items():
        try:
            if name == "packed":  # lower 16 bits class, upper 16 bits instance
                both = np.fromfile(path, np.uint32)
                labels |= {"semantic": (both & 0xFFFF).astype(np.int64), "instance": (both >> 16).astype(np.int64)}
            elif path.suffix.lower() == TEXT_SUFFIX:
                labels[name] = np.loadtxt(path, dtype=np.float64, ndmin=1).astype(np.int64)
            else:
                labels[name] = np.maximum(np.fromfile(path, np.int64), -1)
        except (ValueError, OSError) as error:
            raise ItemError("labels_differ", f"{path.name} holds no labels: {str(error).splitlines()[0]}") from error
    return labels
