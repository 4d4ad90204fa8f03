"""Test items of a fine-tuning, drawn by the domain, beside what was predicted and what is true: for its report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.guard import draw_sample, error_in_words, is_strict, read_sample
from repcore.data.seeds import generator
from repcore.embedding.answers import output_names
from repcore.errors import RepcoreError
from repcore.interfaces import DatasetReader, Sample
from repcore.registry import Entry
from repcore.specs import TargetSpec
from repcore.training.run_folder import RunFolder

NAME = Path("predictions") / "pictures.jsonl"
EACH = 4  # worst, best and random items
MOST_BYTES = 1_000_000  # of HTML in all: the report carries it whole
MOST_NAMES = 4  # labels of one multilabel item that are named

log = logging.getLogger(__name__)


def write_answer_pictures(
    folder: RunFolder,
    entry: Entry[Any],
    reader: DatasetReader,
    rows: np.ndarray,
    answers: tuple[TargetSpec, Mapping[str, Any], np.ndarray, np.ndarray],
) -> str:
    """Draw up to twelve test items, those with the largest and smallest errors and some at random.

    Nothing is written where the data set has no renderer. An item that cannot be read or drawn is left out: a drawing
    must not cost a finished run.

    Args:
        entry: of the data set.
        rows: row numbers of the reader (n,).
        answers: target, facts of the task, its outputs (n, K) and the labels (n,) or (n, K); NaN = missing.

    Returns:
        why pictures are missing; empty when none is.
    """
    (folder.path / NAME).unlink(missing_ok=True)
    if not entry.spec.render:
        return ""
    target, facts, outputs, truth = answers
    chosen = chosen_places(answer_errors(target, outputs, truth))
    try:
        render = entry.load("render")
    except RepcoreError as error:
        return f"items are not drawn: {error.summary}"
    problems: list[str] = []
    lines: list[dict[str, str]] = []
    left = MOST_BYTES
    for place, why, html, alt, name in _drawn(render, reader, rows, chosen, problems):
        left -= len(html)
        if left < 0:
            problems.append(f"{len(lines)} of {len(chosen)} pictures fit into {MOST_BYTES:,} bytes")
            break
        lines.append({
            "id": name, "why": why, "html": html, "alt": alt,
            "predicted": in_words(target, facts, outputs[place]),
            "label": label_in_words(target, truth[place], outputs),
        })  # fmt: skip
    folder.append_lines(str(NAME), lines)
    return problems[0] if problems else ""


def _drawn(
    render: Callable[[Sample], object],
    reader: DatasetReader,
    rows: np.ndarray,
    chosen: Sequence[tuple[int, str]],
    problems: list[str],
) -> Iterator[tuple[int, str, str, str, str]]:
    """Place, why it was chosen, HTML, description and id of every item that can be drawn."""
    for place, why in chosen:
        try:
            sample = read_sample(reader, int(rows[place]))
            picture = draw_sample(render, sample)
        except RepcoreError as error:
            if is_strict():
                raise
            log.warning("test row %d cannot be drawn", rows[place], exc_info=True)
            words = error_in_words(error.__cause__) if error.__cause__ is not None else error.summary
            problems.append(f"test row {int(rows[place])} cannot be drawn: {words}")
            continue
        if "<script" in picture.html:  # a viewer that one turns: without its script nothing is to be seen
            problems.append("items whose picture is a viewer are not drawn")
            continue
        yield place, why, picture.html, picture.alt, sample.id


def answer_errors(target: TargetSpec, outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error of every row (n,); NaN without prediction or label.

    Classes: 1 - probability of the true class. Labels of yes and no: mean |probability - label|. Values: mean absolute
    error, each value in standard deviations of its labels.
    """
    labels = np.asarray(truth, np.float64).reshape(len(outputs), -1)
    if target.ignore is not None:
        labels = np.where(labels == target.ignore, np.nan, labels)
    if target.kind == "class":
        known = np.isfinite(labels[:, 0])
        at = np.where(known, labels[:, 0], 0).astype(np.int64)
        return np.where(known, 1.0 - outputs[np.arange(len(outputs)), at], np.nan)
    scale: float | np.ndarray = 1.0
    if target.kind == "regression" and np.isfinite(labels).any(0).all():
        deviation = np.nanstd(labels, axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
    gaps = np.abs(outputs - labels) / scale
    counts = np.isfinite(gaps).sum(1)
    return np.divide(np.nansum(gaps, axis=1), counts, out=np.full(len(gaps), np.nan), where=counts > 0)


def chosen_places(errors: np.ndarray) -> list[tuple[int, str]]:
    """Places with the reason, each once: largest errors first, then smallest, then random ones of the rest."""
    order = np.argsort(-errors, kind="stable")
    order = order[np.isfinite(errors[order])]
    worst = order[:EACH]
    best = order[len(worst) :][::-1][:EACH]
    rest = np.sort(order[len(worst) : len(order) - len(best)])
    some = generator(0, "answer-pictures").permutation(rest)[:EACH]
    named = ((worst, "largest error"), (best, "smallest error"), (some, "chance"))
    return [(int(place), why) for places, why in named for place in places]


def in_words(target: TargetSpec, facts: Mapping[str, Any], outputs: np.ndarray) -> str:
    """A prediction (K,) as a reader of the report sees it: ``ring (0.83)``, ``a, c``, ``1.25 eV``."""
    names = output_names(target, len(outputs))
    if target.kind == "class":
        best = int(outputs.argmax())
        return f"{names[best]} ({outputs[best]:.2f})"
    if target.kind == "multilabel":
        limits = list(facts.get("thresholds", ())) or [0.5] * len(names)
        return _listed([name for name, value, limit in zip(names, outputs, limits, strict=True) if value > limit])
    return _values(target, outputs)


def label_in_words(target: TargetSpec, truth: np.ndarray, outputs: np.ndarray) -> str:
    """What is true of an item, in the same form.

    Args:
        truth: () or (K,).
        outputs: (n, K), for the number of names.
    """
    labels = np.asarray(truth, np.float64).reshape(-1)
    names = output_names(target, outputs.shape[1])
    if target.kind == "class":
        return names[int(labels[0])]
    if target.kind == "multilabel":
        return _listed([name for name, value in zip(names, labels, strict=True) if value == 1])
    return _values(target, labels)


def _listed(names: Sequence[str]) -> str:
    further = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) + further) or "none"


def _values(target: TargetSpec, values: np.ndarray) -> str:
    further = ", ..." if len(values) > MOST_NAMES else ""
    figures = ", ".join("-" if np.isnan(one) else f"{one:.4g}" for one in values[:MOST_NAMES]) + further
    return f"{figures} {target.unit}".rstrip()
