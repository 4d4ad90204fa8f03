"""The reader that all layouts of shapes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from repcore.data.catalogue import CatalogueReader, Row
from repcore.interfaces import Sample
from repcore_pointcloud.formats.description import describe_points
from repcore_pointcloud.formats.points import PointCloud

ReadCloud = Callable[[], PointCloud]
"""How a row is read. Picklable (a ``partial`` of a module's function): worker processes may be started afresh."""


class ShapeReader(CatalogueReader[ReadCloud, PointCloud]):
    """Random access to the clouds of a catalogue."""

    noun = "shape"

    def read(self, row: Row[ReadCloud]) -> PointCloud:
        return row.source()

    def size_of(self, content: PointCloud) -> int:
        return content.points.nbytes

    def facts(self, content: PointCloud) -> Mapping[str, Any]:
        facts: dict[str, Any] = {"points": len(content.points)}
        return {**facts, "columns": " ".join(content.columns)} if content.columns else facts

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Extents and spacing, for ``repcore inspect``."""
        return describe_points(sample.inputs.points)
