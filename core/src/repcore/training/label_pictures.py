"""A few test samples of a task about elements, drawn with labels and with predictions: ``pictures.jsonl``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from repcore.data.guard import draw_sample
from repcore.embedding.dense import DenseRow
from repcore.errors import RepcoreError
from repcore.interfaces import DenseAnswer, Picture
from repcore.specs import TargetSpec
from repcore.training.pictures import MOST_BYTES, NAME
from repcore.training.run_folder import RunFolder

SAMPLES = 4
SHOWN = 12
"""Elements in the table of a sample."""
LISTED = ("node", "edge")
"""Levels whose elements have names of their own, so that a table says more than a picture."""
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
        shows = self.overlay is not None or (row.answer is not None and row.answer.level in LISTED)
        wanted = shows and self.target.kind == "class" and len(self.lines) < SAMPLES
        truth = row.labels.get(self.target.name)
        if not wanted or row.answer is None or truth is None or np.size(truth) != row.answer.outputs[..., 0].size:
            return
        found = row.answer.labels(missing=UNKNOWN)
        labellings = {"labelled": self._known(truth).reshape(found.shape), "predicted": found}
        picture = Picture("", row.id)
        if self.overlay is not None:
            try:
                picture = draw_sample(lambda sample: self.overlay(sample, labellings), row.answer.sample)  # type: ignore[misc]
            except RepcoreError:
                log.warning("test sample %s cannot be drawn", row.id, exc_info=True)
                return
        table = self._table(row.answer, labellings) if row.answer.level in LISTED else ""
        html = f'<div style="width:100%">{picture.html}{table}</div>'  # pages lay parts side by side
        self._left -= len(html)
        if self._left >= 0:
            self.lines.append({"id": row.id, "html": html, "alt": picture.alt + self._names(labellings)})

    def _table(self, answer: DenseAnswer, labellings: Mapping[str, np.ndarray]) -> str:
        """The first elements with label, answer and probability."""
        names = dict(zip(self.values, self.target.names, strict=False))
        columns = {
            name: [str(one) for one in np.asarray(own)[:SHOWN].tolist()] for name, own in answer.elements.items()
        }
        for word, numbers in labellings.items():
            columns[word] = [names.get(one, "" if one == UNKNOWN else str(one)) for one in numbers[:SHOWN].tolist()]
        columns["probability"] = [f"{one:.3f}" for one in answer.outputs[:SHOWN].max(-1).tolist()]
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in zip(*columns.values(), strict=True)]
        more = len(answer.outputs) - SHOWN
        rows += [f'<td colspan="{len(columns)}">and {more:,} more</td>'] if more > 0 else []
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{one}</tr>' for one in rows)}</table>"

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
