"""From outputs to columns of a table: names of classes, probabilities, values with intervals, labels beside.

    class        <name> | probability | p:<class> ... | set (with a coverage: classes joined by |, a name that holds a
                 bar, a quote or a line break in double quotes)
    multilabel   <task> (0/1) | p:<task> ... | set:<task> (with a coverage: 0, 1, 0|1 or {})
    regression   <name> ... | low:<name> high:<name> (with a coverage)
    ensembles    sd:<column> of every probability or value | disagreement (class and multilabel: largest share of
                 members that answer otherwise than the ensemble)
    data         label:<name>, where the data has the label

Cells of rows without a prediction are empty.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcore.embedding.conformal import answer_sets, class_sets, intervals
from repcore.embedding.prediction import PredictedRows
from repcore.specs import TargetSpec

EMPTY_SET = "{}"
"""Cell of a set without a class: seen in a file, and not taken for a missing value."""
OWN_COLUMNS = ("id", "status", "reason", "probability", "set", "disagreement")
ELEMENT_COLUMNS = (
    "row", "element", "node", "source", "target", "edge", "start", "end", "step", "time", "x", "y", "z", "i", "j", "k",
)  # fmt: skip
Columns = dict[str, list[Any]]


def output_names(target: TargetSpec, count: int) -> list[str]:
    """Names of the K outputs: classes, tasks, or the values of a regression."""
    if len(target.names) == count:
        names = [str(name) for name in target.names]
        return (
            names
            if target.kind == "class"
            else [f"predicted:{one}" if one in own_columns(target) else one for one in names]
        )
    if target.kind == "class":
        return [str(k) for k in range(count)]
    base = column_of(target)
    return [base] if count == 1 else [f"{base}[{k}]" for k in range(count)]


def column_of(target: TargetSpec) -> str:
    """Column of the answer: the name of the target unless it is one of the file's own."""
    return f"predicted:{target.name}" if target.name in own_columns(target) else target.name


def own_columns(target: TargetSpec) -> tuple[str, ...]:
    """Columns that a table of answers has beside those of the target."""
    return OWN_COLUMNS if target.level == "item" else (*OWN_COLUMNS, *ELEMENT_COLUMNS)


def answer_columns(
    target: TargetSpec, facts: Mapping[str, Any], rows: PredictedRows, coverage: float | None = None
) -> Columns:
    """Columns of predicted rows, in the order of the module's head.

    Args:
        coverage: also intervals or sets that hold the truth in this share of cases.

    Raises:
        DataError: a coverage was asked of a model without conformal scores. ConfigError: it is outside (0, 1).
    """
    outputs = rows.outputs.astype(np.float64)
    good = [bool(np.isfinite(row).all()) for row in outputs]
    make = {"class": _class, "multilabel": _multilabel}.get(target.kind, _values)
    columns = make(target, facts, outputs, coverage)
    if rows.members is not None:
        spread = rows.members.astype(np.float64).std(axis=1, ddof=1)
        names = output_names(target, outputs.shape[1])
        columns.update({f"sd:{name}": spread[:, k].tolist() for k, name in enumerate(names)})
        if target.kind in ("class", "multilabel"):
            columns["disagreement"] = _disagreement(target, facts, rows.members, outputs).tolist()
    return {name: [one if fine else None for one, fine in zip(v, good, strict=True)] for name, v in columns.items()}


def answer_column(target: TargetSpec, count: int) -> str:
    """A column that is empty exactly where a row has no answer."""
    first = output_names(target, count)[0]
    return f"p:{first}" if target.kind in ("class", "multilabel") else first


def text_columns(target: TargetSpec, count: int) -> set[str]:
    """Columns that hold words; all others hold numbers."""
    if target.kind == "class":
        return {column_of(target), "set", f"label:{column_of(target)}"}
    return {f"set:{name}" for name in output_names(target, count)} if target.kind == "multilabel" else set()


def _class(target: TargetSpec, facts: Mapping[str, Any], outputs: np.ndarray, coverage: float | None) -> Columns:
    names = output_names(target, outputs.shape[1])
    safe = np.nan_to_num(outputs)
    chosen = safe.argmax(axis=1)
    columns: Columns = {
        column_of(target): [names[k] for k in chosen],
        "probability": safe.max(axis=1).tolist(),
        **{f"p:{name}": outputs[:, k].tolist() for k, name in enumerate(names)},
    }
    if coverage is not None:
        held = class_sets(facts.get("conformal", ()), safe, coverage)
        quoted = [_quoted(name) for name in names]
        columns["set"] = ["|".join(quoted[k] for k in np.flatnonzero(row)) or EMPTY_SET for row in held]
    return columns


def _quoted(name: str) -> str:
    if name != EMPTY_SET and not {"|", '"', "\n", "\r"} & set(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def names_in_set(cell: str) -> list[str]:
    """Classes of a cell of the column ``set``."""
    return [] if cell in ("", EMPTY_SET) else next(csv.reader([cell], delimiter="|"), [])


def _disagreement(target: TargetSpec, facts: Mapping[str, Any], members: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Share of members (n,) whose answer differs from the ensemble's, the largest over tasks."""
    if target.kind == "class":
        votes = members.argmax(axis=2) != np.nan_to_num(outputs).argmax(axis=1)[:, None]  # (n, M)
        return np.asarray(votes.mean(axis=1))
    limits = np.asarray(list(facts.get("thresholds", ())) or [0.5] * outputs.shape[1])
    other = (members > limits) != (outputs > limits)[:, None]  # (n, M, K)
    return np.asarray(other.mean(axis=1).max(axis=1))


def _multilabel(target: TargetSpec, facts: Mapping[str, Any], outputs: np.ndarray, coverage: float | None) -> Columns:
    names = output_names(target, outputs.shape[1])
    limits = list(facts.get("thresholds", ())) or [0.5] * len(names)
    columns: Columns = {name: (outputs[:, k] > limits[k]).astype(int).tolist() for k, name in enumerate(names)}
    columns.update({f"p:{name}": outputs[:, k].tolist() for k, name in enumerate(names)})
    if coverage is not None:
        held = answer_sets(facts.get("conformal", ()), np.nan_to_num(outputs), coverage)
        columns.update({f"set:{name}": [_words(row) for row in held[:, k]] for k, name in enumerate(names)})
    return columns


def _words(held: np.ndarray) -> str:
    return "|".join(word for word, one in zip("01", held, strict=True) if one) or EMPTY_SET


def _values(target: TargetSpec, facts: Mapping[str, Any], outputs: np.ndarray, coverage: float | None) -> Columns:
    names = output_names(target, outputs.shape[1])
    columns: Columns = {name: outputs[:, k].tolist() for k, name in enumerate(names)}
    if coverage is not None:
        low, high = intervals(facts.get("conformal", ()), outputs, coverage)
        for k, name in enumerate(names):
            columns[f"low:{name}"], columns[f"high:{name}"] = low[:, k].tolist(), high[:, k].tolist()
    return columns


def label_columns(target: TargetSpec, data: TargetSpec, rows: Sequence[Mapping[str, Any]], count: int) -> Columns:
    """The data's own labels of the predicted target, in the words of the model; None where missing.

    Args:
        target: of the model. data: the target of the same name in the data, whose class numbers may differ.
        rows: labels of each row by name.
        count: K.
    """
    values = [_flat(row.get(data.name), 1 if target.kind == "class" else count) for row in rows]
    if target.kind == "class":
        own = output_names(target, count)
        names = [str(name) for name in data.names] or own
        return {f"label:{column_of(target)}": [None if np.isnan(v[0]) else _word(names, int(v[0])) for v in values]}
    places = _order(target, data, count)
    values = [_known_answers(v, places) for v in values] if target.kind == "multilabel" else values
    names = output_names(target, count)
    return {f"label:{name}": [_cell(v, place) for v in values] for name, place in zip(names, places, strict=True)}


def _known_answers(values: np.ndarray, places: Sequence[int | None]) -> np.ndarray:
    """Labels of a row; missing where all that it has are unknown to the model, which is not the same as having none."""
    known = [place for place in places if place is not None]
    further = np.delete(values, known)
    has_only_others = bool((further > 0).any()) and not bool((values[known] > 0).any())
    return np.full_like(values, np.nan) if has_only_others else values


def _cell(values: np.ndarray, place: int | None) -> float | None:
    return None if place is None or np.isnan(values[place]) else float(values[place])


def _word(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _order(target: TargetSpec, data: TargetSpec, count: int) -> list[int | None]:
    """Place of each task of the model in the data's labels."""
    if target.names and data.names and target.names != data.names:
        place: dict[str, int] = {name: k for k, name in enumerate(data.names)}
        return [place.get(name) for name in target.names]
    return list(range(count))


def _flat(value: Any, count: int) -> np.ndarray:
    if value is None:
        return np.full(count, np.nan)
    flat = np.asarray(value, np.float64).reshape(-1)
    return flat if len(flat) >= count else np.concatenate([flat, np.full(count - len(flat), np.nan)])
