"""The reader that all layouts of shapes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from repcore.data.catalogue import CatalogueReader, Row
from repcore.interfaces import Sample
from repcore_pointcloud.formats.description import describe_points
from repcore_pointcloud.formats.own_file import own_file_fact
from repcore_pointcloud.formats.points import PointCloud

ReadCloud = Callable[[], PointCloud]
"""How a row is read. Picklable (a ``partial`` of a module's function): worker processes may be started afresh."""


class ShapeReader(CatalogueReader[ReadCloud, PointCloud]):
    """Random access to the clouds of a catalogue."""

    noun = "shape"
    lengths = frozenset({"extent"})  # facts in one unit for all rows: `inspect` says which rows have another

    def read(self, row: Row[ReadCloud]) -> PointCloud:
        return row.source()

    def sample(self, row: Row[ReadCloud], content: PointCloud) -> Sample:
        """A cloud, with the labels of its points where the file holds the one that the data set names."""
        sample = super().sample(row, content)
        sample = replace(sample, meta={**sample.meta, **own_file_fact(row.files)})
        names = [one.name for one in self.targets if one.level == "point"]
        if not names or content.labels is None:
            return sample
        return replace(sample, targets={**sample.targets, names[0]: content.labels})

    def size_of(self, content: PointCloud) -> int:
        return content.points.nbytes

    def facts(self, content: PointCloud) -> Mapping[str, Any]:
        facts: dict[str, Any] = {"points": len(content.points)}
        if content.left_out is not None:
            facts["left out"] = int(content.left_out.sum())
        return {**facts, "columns": " ".join(content.columns)} if content.columns else facts

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Extents and spacing, for ``repcore inspect``."""
        return describe_points(sample.inputs.points, sample.inputs.left_out)
