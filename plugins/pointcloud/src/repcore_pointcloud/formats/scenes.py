"""A scene from a file, with whatever labels lie in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repcore.data.cells import DecimalWord
from repcore_pointcloud.formats.flags import LEFT_OUT
from repcore_pointcloud.formats.reading import SUFFIXES, read_points
from repcore_pointcloud.formats.scene import Scene, scene_of
from repcore_pointcloud.formats.table import PointTable

__all__ = ["SUFFIXES", "Loaded", "load_scene", "loaded"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scene and what else its file said.

    Args:
        scene: points and what belongs to them.
        labels: name -> int64 (N,), -1 = unlabelled.
        words: name -> texts (N,), labels in words.
        notes: guesses that were made, with their reasons.
        columns: names of the columns of the file.
    """

    scene: Scene
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    words: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def load_scene(
    path: Path,
    *,
    columns: Sequence[str] = (),
    bin_columns: int = 0,
    points: int | None = None,
    flags_left_out: Sequence[str] = LEFT_OUT,
    decimal: DecimalWord = "auto",
) -> Loaded:
    """Read one file; arguments as those of :func:`repcore_pointcloud.formats.reading.read_points`.

    Raises:
        ItemError: the file cannot be read, or holds no coordinates.
    """
    return loaded(
        read_points(
            path,
            columns=columns,
            bin_columns=bin_columns,
            points=points,
            flags_left_out=flags_left_out,
            decimal=decimal,
        )
    )


def loaded(table: PointTable) -> Loaded:
    """The scene of a table of points, and its labels."""
    return Loaded(scene_of(table), table.labels, table.words, table.notes, table.columns)
