"""Scores of a table of predictions against the labels that stand beside them in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcore.embedding.answers import EMPTY_SET, column_of, names_in_set, output_names
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.specs import TargetSpec


def score_table(
    target: TargetSpec, columns: Mapping[str, Sequence[Any]], count: int, coverage: float | None = None
) -> Scores | None:
    """Metrics over the rows that have a prediction and a label; None where there is none.

    Args:
        target: of the model.
        columns: as :class:`repcore.embedding.prediction_files.TableWriter` wrote them.
        count: K outputs.
        coverage: that intervals or sets were made for: what they hold of the labels is a score, too.
    """
    names = output_names(target, count)
    wanted = [f"p:{name}" if target.kind in ("class", "multilabel") else name for name in names]
    labels = [f"label:{column_of(target)}"] if target.kind == "class" else [f"label:{name}" for name in names]
    if any(name not in columns for name in (*wanted, *labels)):
        return None
    outputs = np.stack([_numbers(columns[name]) for name in wanted], axis=1)
    unknown: set[str] = set()
    if target.kind == "class":
        place = {name: float(k) for k, name in enumerate(names)}
        words = [None if one in (None, "") else str(one) for one in columns[labels[0]]]
        unknown = {one for one in words if one is not None and one not in place}
        truth = np.asarray([[np.nan if one is None else place.get(one, np.nan)] for one in words])
    else:
        truth = np.stack([_numbers(columns[name]) for name in labels], axis=1)
    usable = np.isfinite(outputs).all(1) & ~np.isnan(truth).all(1)
    if not usable.any():
        return None
    scores = score_predictions(target, truth[usable], outputs[usable])
    scores.rows = np.flatnonzero(usable)
    if coverage is not None:
        scores.update(held_labels(target, columns, truth, names, scores.rows))
    if unknown:
        shown = ", ".join(sorted(unknown)[:5])
        scores.notes = (*scores.notes, f"classes that the model does not know are left out: {shown}")
    return scores


def why_unscored(target: TargetSpec, columns: Mapping[str, Sequence[Any]], count: int) -> str:
    """Why the labels in a table of predictions score nothing; empty where there are none."""
    names = output_names(target, count)
    labels = [f"label:{column_of(target)}"] if target.kind == "class" else [f"label:{name}" for name in names]
    found = list(dict.fromkeys(str(one) for name in labels for one in columns.get(name, ()) if one not in (None, "")))
    if not found:
        return f"no row has a {target.kind} label {target.name!r}" if set(labels) & set(columns) else ""
    if target.kind == "class" and not set(found) & set(names):
        shown, own = ", ".join(map(repr, found[:5])), ", ".join(map(repr, names[:5]))
        return f"{target.name!r} in the data holds {shown}, none of which is a class of the model ({own})"
    return "no row with a label has a prediction"


def held_labels(
    target: TargetSpec,
    columns: Mapping[str, Sequence[Any]],
    truth: np.ndarray,
    names: Sequence[str],
    rows: np.ndarray,
) -> dict[str, float]:
    """``coverage``, the share of labels that lie in their interval or set, and how large these are.

    ``set-size`` is the mean number of classes or answers in a set, ``interval-width`` the mean in units of the labels.

    Args:
        truth: (n, K) labels, NaN = missing; class numbers (n, 1).
        rows: that have a prediction and a label.
    """
    known = truth[rows]
    if target.kind == "class":
        sets = [set(names_in_set(columns["set"][row] or "")) for row in rows]
        held = [names[int(number)] in one for number, one in zip(known[:, 0], sets, strict=True)]
        return {"coverage": float(np.mean(held)), "set-size": float(np.mean([len(one) for one in sets]))}
    if target.kind == "multilabel":
        cells = [[(columns[f"set:{name}"][row] or "").split("|") for name in names] for row in rows]
        inside = [(str(int(y)) in cell, len(set(cell) - {"", EMPTY_SET})) for row, own in zip(known, cells, strict=True)
                  for y, cell in zip(row, own, strict=True) if not np.isnan(y)]  # fmt: skip
        return {"coverage": float(np.mean([one for one, _ in inside])),
                "set-size": float(np.mean([size for _, size in inside]))}  # fmt: skip
    low, high = (np.stack([_numbers(columns[f"{end}:{name}"])[rows] for name in names], 1) for end in ("low", "high"))
    there = ~np.isnan(known)
    return {"coverage": float(((low <= known) & (known <= high))[there].mean()),
            "interval-width": float((high - low)[there].mean())}  # fmt: skip


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.asarray([np.nan if one in (None, "") else float(one) for one in values], np.float64)
