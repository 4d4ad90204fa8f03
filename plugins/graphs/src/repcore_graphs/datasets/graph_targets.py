"""Labels of graphs and nodes from arrays of numbers, judged over all of them: class, yes/no tasks, or values.

The kind of a single column is core's decision (:func:`repcore.data.labels.read_label`); here is what several columns
mean together. Symbols: G graphs, T tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.labels import LabelColumn, read_label
from repcore.specs import TargetSpec

LabelKind = Literal["auto", "class", "regression"]
MOST_TOLD = 6  # labels that are told one by one
MOST_CLASSES = 1000  # more distinct whole numbers than this are a quantity
CHANGE = "label_kind=class|regression"


@dataclass(frozen=True)
class GraphTargets:
    """Targets of the graphs of a data set.

    Args:
        specs: in the order in which they are listed.
        values: name -> (G,) class numbers or values, or (G, T); NaN = missing.
    """

    specs: tuple[TargetSpec, ...] = ()
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    def of(self, row: int) -> dict[str, Any]:
        """``Sample.targets`` of one graph."""
        found: dict[str, Any] = {}
        for name, values in self.values.items():
            found[name] = values[row] if values.ndim == 2 else float(values[row])
        return found


def read_targets(
    name: str,
    values: np.ndarray,
    account: Accounting,
    *,
    kind: LabelKind = "auto",
    codes: bool = False,
    tasks: Sequence[str] = (),
) -> GraphTargets:
    """Targets from a table of numbers.

    Args:
        name: of the target.
        values: float (G, T) with NaN = missing.
        account: is told what was decided, and why.
        kind: what the user calls them.
        codes: the file stores whole numbers where the format means classes, so few repeated numbers are classes.
        tasks: names of the T columns; numbers when empty.
    """
    if values.shape[1] == 1:
        one = label_of(name, values[:, 0], kind=kind, codes=codes)
        one.tell(account)
        return GraphTargets() if one.target is None else GraphTargets((one.target,), {name: one.values})
    words = tuple(tasks) or tuple(str(place) for place in range(values.shape[1]))
    known = values[~np.isnan(values)]
    if kind != "regression" and known.size and np.isin(known, (0.0, 1.0)).all():
        account.guess(f"label {name!r}", f"{len(words)} yes/no tasks", "every value is 0, 1 or missing", CHANGE)
        return GraphTargets((TargetSpec(name, "multilabel", names=words),), {name: values})
    return _tasks(name, values, words, account, kind, codes)


def _tasks(
    name: str, values: np.ndarray, words: Sequence[str], account: Accounting, kind: LabelKind, codes: bool
) -> GraphTargets:
    """A target of its own for each column, and all of them together where all are values."""
    columns = [label_of(f"{name}-{word}", values[:, place], kind=kind, codes=codes) for place, word in enumerate(words)]
    if len(columns) <= MOST_TOLD:
        for one in columns:
            one.tell(account)
    else:
        kinds = Counter("no label" if one.target is None else one.target.kind for one in columns)
        chosen = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        account.guess(f"labels {columns[0].name!r} to {columns[-1].name!r}", chosen, "by the values of each", CHANGE)
    found = [(one.target, one.values) for one in columns if one.target is not None]
    if len(found) == len(words) and all(target.kind == "regression" for target, _ in found):
        found.insert(0, (TargetSpec(name, "regression", names=tuple(words)), values))
    return GraphTargets(tuple(target for target, _ in found), {target.name: column for target, column in found})


def label_of(name: str, values: np.ndarray, *, kind: LabelKind, codes: bool) -> LabelColumn:
    """One column of numbers (N,) as a label; see :func:`read_targets`."""
    known = np.unique(values[~np.isnan(values)])
    few = 2 <= known.size <= MOST_CLASSES and known.size <= max(2, np.count_nonzero(~np.isnan(values)) / 2)
    asked: LabelKind = "class" if kind == "auto" and codes and few and (known == known.round()).all() else kind
    one = read_label(name, values.tolist(), kind=asked, change=CHANGE)
    if asked != kind:
        one.reason = f"{known.size} different whole numbers"
    return one
