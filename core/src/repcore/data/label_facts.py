"""What a label holds, counted: values present, classes, tasks of a vector, ranges, parts of a split with one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.specs import TargetSpec

SENTINEL_GAP = 10.0  # widths of the other values between them and a repeated extreme
FAR = 100.0  # widths of the middle half
VOID_NUMBERS = (255, 65_535)  # the largest of one and of two bytes
VOID_FAR = 2  # times the next lower number


@dataclass(frozen=True, slots=True)
class ElementLabels:
    """Labels of the elements of one row, counted: how many elements there are, and how many of each class."""

    elements: int
    counts: Mapping[int, int]


def element_counts(labels: Any, target: TargetSpec) -> dict[int, int]:
    """Numbers of labelled elements by value (of numbers that are no classes: by rounded value), missing left out."""
    flat = np.asarray(labels, np.float64).reshape(-1)
    flat = flat[~np.isnan(flat)]
    if target.ignore is not None:
        flat = flat[flat != target.ignore]
    values, number = np.unique(np.round(flat), return_counts=True)
    return {int(value): int(n) for value, n in zip(values, number, strict=True)}


def element_labels(target: TargetSpec, labels: Any) -> ElementLabels | None:
    """Labels of one row's elements; None where it has none, or where they are no classes."""
    if labels is None or target.kind != "class":
        return None
    return ElementLabels(int(np.size(labels)), element_counts(labels, target))


def unsaid_void(total: Mapping[int, int], target: TargetSpec) -> str | None:
    """What to say of a number that looks like "not labelled" but counts as a class; None where there is none.

    The largest number of one or two bytes, far above all others, is what files of whole positive numbers (LAS, masks,
    ``.label``) hold for elements without an answer. Masks of 0 and 255 alone, and ids that the data names, are classes.

    Args:
        total: number of elements of each value, elements of ``target.ignore`` left out.
        target: as the data declares it, before classes are named after their numbers.
    """
    *others, highest = sorted(total) or [0]
    named = target.ids or tuple(range(len(target.names)))
    if highest not in VOID_NUMBERS or highest in named or len(others) < 2 or others[-1] * VOID_FAR > highest:
        return None
    share = total[highest] / sum(total.values())
    return (
        f"{highest} of {target.name!r} counts as a class ({share:.2g} of the labelled elements): files often hold it "
        f"for elements without a label; --ignore {highest} leaves them out"
    )


def label_facts(spec: TargetSpec, values: Sequence[Any], parts: Sequence[str] = ()) -> dict[str, Any]:
    """Facts of one label over the rows that were looked at.

    Args:
        spec: the label.
        values: one a row; None or NaN = missing; vectors for multilabel and several targets; :class:`ElementLabels`
            for labels of elements.
        parts: the declared part of each row, ``""`` = none.
    """
    facts: dict[str, Any] = {"kind": spec.kind, "level": spec.level, "unit": spec.unit}
    if spec.level != "item":
        return {**facts, **_element_facts(spec, [one for one in values if isinstance(one, ElementLabels)])}
    facts["alike"] = next((group for group in _alike(spec.names) if len(group) > 1), [])
    table = _table(values, len(spec.names) if spec.kind == "multilabel" else 1)
    known = ~np.isnan(table)
    facts["rows"] = len(table)
    facts["missing_share"] = 1.0 - float(known.any(axis=1).mean()) if len(table) else 1.0
    facts["missing_cells"] = 1.0 - float(known.mean()) if table.size else 1.0
    if spec.kind == "class":
        facts.update(_class_facts(spec, table[:, 0], parts))
    elif spec.kind == "multilabel":
        facts["tasks"] = {
            spec.name_of(task): {
                "positive": int((table[:, task] > 0).sum()),
                "negative": int((table[:, task] <= 0).sum()),
                "missing": int((~known[:, task]).sum()),
            }
            for task in range(table.shape[1])
        }
    elif known.any():
        held = table[known]
        facts.update(min=float(held.min()), mean=float(held.mean()), max=float(held.max()), width=table.shape[1])
        facts["distinct"] = len(np.unique(held))
        facts["far"] = _far(held)
        facts["apart"] = _apart(held)
    return facts


def _element_facts(spec: TargetSpec, rows: Sequence[ElementLabels]) -> dict[str, Any]:
    if not rows:
        return {}
    total: Counter[int] = Counter()
    for row in rows:
        total.update(row.counts)
    elements = sum(row.elements for row in rows)
    return {
        "rows": len(rows),
        "elements": {spec.name_of(number): count for number, count in sorted(total.items())},
        "missing_share": 1.0 - total.total() / elements if elements else 1.0,
        "void": unsaid_void(total, spec),
    }


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Names that are the same letters and digits."""
    by_plain: dict[str, list[str]] = {}
    for name in names:
        plain = "".join(sign for sign in name.casefold() if sign.isalnum())
        by_plain.setdefault(plain or name, []).append(name)
    return [group for group in by_plain.values() if not _are_signed(group)]


def _are_signed(names: Sequence[str]) -> bool:
    """Numbers with and without a sign or a point: -1 and 1, 1.5 and 15."""
    return all(name.strip("+-").replace(".", "", 1).isdigit() for name in names)


def _far(values: np.ndarray) -> list[float]:
    """Values so far outside that one of them decides a mean: beyond a hundred times the middle half's width."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    width = high - low
    return sorted(values[np.abs(values - middle) > FAR * width].tolist(), key=abs)[::-1][:3] if width > 0 else []


def _apart(values: np.ndarray) -> tuple[float, int] | None:
    """A smallest or largest value that comes again, far from all others, and how often: -999 for what is missing."""
    found, counts = np.unique(values, return_counts=True)
    if len(found) < 4:
        return None
    for place, nearest, low, high in ((0, 1, found[1], found[-1]), (-1, -2, found[0], found[-2])):
        value, gap = float(found[place]), float(abs(found[place] - found[nearest]))
        is_nines = set(f"{abs(value):g}") == {"9"} and abs(value) > 9
        if counts[place] > 1 and gap > (1.0 if is_nines else SENTINEL_GAP) * (high - low):
            return value, int(counts[place])
    return None


def _table(values: Sequence[Any], least: int) -> np.ndarray:
    """Values as float64 (N, K), NaN where missing or shorter than the others."""
    vectors = [np.zeros(0) if value is None else np.asarray(value, np.float64).reshape(-1) for value in values]
    width = max([least, *(len(vector) for vector in vectors)])
    table = np.full((len(vectors), width), np.nan)
    for row, vector in enumerate(vectors):
        table[row, : len(vector)] = vector
    return table


def _class_facts(spec: TargetSpec, values: np.ndarray, parts: Sequence[str]) -> dict[str, Any]:
    known = [int(value) for value in values if not np.isnan(value)]
    counted = Counter(known)
    classes = {spec.name_of(number): count for number, count in sorted(counted.items())}
    facts: dict[str, Any] = {
        "classes": classes,
        "absent": [
            name
            for number, name in zip(spec.ids or range(len(spec.names)), spec.names, strict=True)
            if number not in counted
        ],
    }
    alone = {}
    for part in sorted({part for part in parts if part}):
        found = {int(value) for value, one in zip(values, parts, strict=True) if one == part and not np.isnan(value)}
        if len(found) == 1 and len(counted) > 1:
            alone[part] = spec.name_of(next(iter(found)))
    facts["parts_with_one_class"] = alone
    trained = {int(value) for value, one in zip(values, parts, strict=False) if one == "train" and not np.isnan(value)}
    facts["not_in_train"] = (
        [spec.name_of(number) for number in sorted(counted) if number not in trained] if trained else []
    )
    return facts


def label_in_words(facts: Mapping[str, Any]) -> str:
    """Values of a label in a few words, for a table."""
    classes = facts.get("classes", facts.get("elements"))
    if classes is not None:
        shown = [f"{name}: {count:,}" for name, count in list(classes.items())[:8]]
        return ", ".join(shown) + (f", ... ({len(classes)} classes)" if len(classes) > 8 else "")
    if "tasks" in facts:
        shown = [f"{name}: {task['positive']:,}" for name, task in list(facts["tasks"].items())[:6]]
        more = f", ... ({len(facts['tasks'])} tasks)" if len(facts["tasks"]) > 6 else ""
        return f"positives {', '.join(shown)}{more}"
    if "min" in facts:
        width = f", {facts['width']} values a row" if facts.get("width", 1) > 1 else ""
        return f"{facts['min']:.4g} to {facts['max']:.4g}, mean {facts['mean']:.4g}{width}"
    return ""


def label_warnings(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """What is worth knowing of a label before training on it."""
    if "elements" in facts and not facts["elements"]:
        yield f"label {name}: no element of {facts['rows']:,} rows is labelled"
    elif "elements" not in facts and facts.get("missing_share", 0.0) > 0.0:
        yield f"label {name}: {facts['missing_share']:.1%} missing (masked, never taken as a value)"
    elif facts.get("missing_cells", 0.0) > 0.0:
        yield f"label {name}: {facts['missing_cells']:.1%} of its values missing (masked, never taken as a value)"
    if facts.get("alike"):
        yield f"label {name}: classes {' and '.join(map(repr, facts['alike']))} differ in case, blanks or signs only"
    if facts.get("void"):
        yield str(facts["void"])
    if len(facts.get("elements", ())) == 1:
        only = next(iter(facts["elements"]))
        yield f"label {name}: every labelled element is {only!r}: nothing can be learned from it"
    counts = facts.get("classes", {})
    if len(counts) == 1:
        yield f"label {name}: every row that has it is {next(iter(counts))!r}: nothing can be learned from it"
    elif counts and max(counts.values()) > 0.9 * sum(counts.values()):
        yield f"label {name}: one class has {max(counts.values()) / sum(counts.values()):.0%} of the rows"
    if facts.get("not_in_train"):
        names = facts["not_in_train"]
        yield f"label {name}: {len(names)} of its classes stand in no row of the train part, first {names[0]!r}"
    for part, only in facts.get("parts_with_one_class", {}).items():
        yield f"label {name}: the {part} part holds only {only!r}: it cannot be scored there"
    empty = [task for task, count in facts.get("tasks", {}).items() if not (count["positive"] and count["negative"])]
    if empty:
        yield f"label {name}: {len(empty)} of {len(facts['tasks'])} tasks have one class only, first {empty[0]!r}"
    if facts.get("far"):
        yield f"label {name}: values far outside the others, such as {facts['far'][0]:g}"
    if facts.get("apart"):
        value, count = facts["apart"]
        yield f"label {name}: {value:g} stands in {count:,} rows, far from all other values: does it mean missing?"
    if facts.get("min") is not None and facts.get("distinct") == 1:
        yield f"label {name}: every value is {facts['min']:g}"
