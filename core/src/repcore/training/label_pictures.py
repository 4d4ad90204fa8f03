"""A few test samples of a task about elements, drawn with labels and with predictions: ``pictures.jsonl``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcore.data.guard import draw_sample
from repcore.embedding.dense import DenseRow
from repcore.errors import RepcoreError
from repcore.specs import TargetSpec
from repcore.training.pictures import MOST_BYTES, NAME
from repcore.training.run_folder import RunFolder

SAMPLES = 4
UNKNOWN = -1

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LabelPictures:
    """Draws the first test samples that have labels and answers.

    Args:
        overlay: ``DatasetSpec.overlay`` of the data.
        target / values: of classes; the data's own number of each.
    """

    overlay: Callable[..., Any] | None  # a plugin's: what it returns is checked
    target: TargetSpec
    values: tuple[int, ...]
    lines: list[dict[str, str]] = field(default_factory=list)
    _left: int = MOST_BYTES

    def see(self, row: DenseRow) -> None:
        """Draw one row, if it is wanted; a drawing that fails costs no score."""
        wanted = self.overlay is not None and self.target.kind == "class" and len(self.lines) < SAMPLES
        truth = row.labels.get(self.target.name)
        if not wanted or row.answer is None or truth is None or np.size(truth) != row.answer.outputs[..., 0].size:
            return
        found = row.answer.labels(missing=UNKNOWN)
        labellings = {"labelled": self._known(truth).reshape(found.shape), "predicted": found}
        try:
            picture = draw_sample(lambda sample: self.overlay(sample, labellings), row.answer.sample)  # type: ignore[misc]
        except RepcoreError:
            log.warning("test sample %s cannot be drawn", row.id, exc_info=True)
            return
        self._left -= len(picture.html)
        if self._left >= 0:
            self.lines.append({"id": row.id, "html": picture.html, "alt": picture.alt + self._names(labellings)})

    def _known(self, truth: Any) -> np.ndarray:  # an array of the domain's own kind
        labels = np.asarray(truth, np.float64)
        known = np.isin(labels, self.values) & (labels != self.target.ignore)
        return np.where(known, labels, UNKNOWN).astype(np.int64)

    def _names(self, labellings: Mapping[str, np.ndarray]) -> str:
        """What the numbers in the picture are called, where they have names."""
        shown = {number for labels in labellings.values() for number in np.unique(labels).tolist()}
        pairs = [(value, name) for value, name in zip(self.values, self.target.names, strict=False) if value in shown]
        named = [f"{value} {name}" for value, name in pairs if str(value) != name]
        return f"; {', '.join(named)}" if named else ""

    def write(self, folder: RunFolder) -> None:
        """Into the run; nothing where nothing was drawn."""
        if self.lines:
            (folder.path / NAME).unlink(missing_ok=True)
            folder.append_lines(NAME, self.lines)


def pictures_of(entry: Any, target: TargetSpec, values: Sequence[int]) -> LabelPictures:
    """For a data set by its entry."""
    overlay = entry.load("overlay") if getattr(entry.spec, "overlay", "") else None
    return LabelPictures(overlay, target, tuple(values))
