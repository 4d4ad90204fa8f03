"""What a path holds and what is wrong with it, found before a run is spent on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from repcore.data.seeds import generator
from repcore.errors import ItemError
from repcore.interfaces import DatasetReader, Preprocessor, Sample
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

SAMPLED_ROWS = 5000
EXAMPLES = 5


@dataclass(slots=True)
class Inspection:
    """Findings about a data set.

    Args:
        rows / read: rows in all, and how many of them were looked at.
        status: prepared rows by status (``ok``, ``truncated``, ...).
        examples: status -> first rows with it and why.
        duplicates: looked-at rows whose input another row has, too.
        across_splits: inputs that stand in more than one declared split.
        cost: smallest, median and largest cost of an item; None without a preprocessor.
        targets: label name -> facts (missing share, range or class counts).
        groups: number of groups; 0 = none.
        warnings: sentences worth reading before training.
    """

    rows: int
    read: int = 0
    status: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    duplicates: int = 0
    across_splits: int = 0
    cost: tuple[float, float, float] | None = None
    targets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: int = 0
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**record, "status": dict(self.status)}

    @property
    def is_clean(self) -> bool:
        """Nothing to warn about."""
        return not self.warnings


def inspect_reader(
    reader: DatasetReader, preprocessor: Preprocessor | None, reporter: Reporter, *, rows: int = SAMPLED_ROWS
) -> Inspection:
    """Read (and, with a preprocessor, prepare) up to ``rows`` rows drawn evenly, and say what was found."""
    found = Inspection(rows=len(reader))
    chosen = rows_to_look_at(len(reader), rows)
    split_of = {int(row): name for name, part in reader.splits.items() for row in part}
    seen: dict[bytes, tuple[int, str]] = {}
    labels: dict[str, list[Any]] = {spec.name: [] for spec in reader.targets}
    groups: set[str] = set()
    costs: list[int] = []
    for number, row in enumerate(chosen):
        sample = _look(reader, preprocessor, int(row), found, costs)
        if sample is not None:
            _note_duplicate(seen, sample, int(row), split_of.get(int(row), ""), found)
            for name in labels:
                labels[name].append(sample.targets.get(name))
            if sample.group is not None:
                groups.add(sample.group)
        reporter.progress("inspecting", number + 1, len(chosen))
    found.read, found.groups = len(chosen), len(groups)
    found.cost = (min(costs), float(np.median(costs)), max(costs)) if costs else None
    found.targets = {spec.name: _target_facts(spec, labels[spec.name]) for spec in reader.targets}
    found.warnings = list(_warnings(found))
    return found


def rows_to_look_at(count: int, most: int) -> np.ndarray:
    """All rows, or ``most`` of them drawn evenly, in order; the same ones every time."""
    every = np.arange(count)
    return every if count <= most else np.sort(generator(0, "inspect").choice(every, most, replace=False))


def _look(
    reader: DatasetReader, preprocessor: Preprocessor | None, row: int, found: Inspection, costs: list[int]
) -> Sample | None:
    sample: Sample | None = None
    status, reason = "ok", ""
    try:
        sample = reader[row]
        if preprocessor is not None:
            items = preprocessor.prepare(sample)
            costs.extend(preprocessor.cost(item.meta) for item in items)
            noted = next((item for item in items if item.status != "ok"), None)
            if noted is not None:
                status, reason = noted.status, noted.reason
    except ItemError as error:
        status, reason = error.status, error.reason
    found.status[status] += 1
    if status != "ok" and len(found.examples.setdefault(status, [])) < EXAMPLES:
        found.examples[status].append(f"row {row}: {reason}")
    return sample


def _note_duplicate(
    seen: dict[bytes, tuple[int, str]], sample: Sample, row: int, split: str, found: Inspection
) -> None:
    key = _content_hash(sample.inputs)
    if key in seen:
        found.duplicates += 1
        if split and seen[key][1] and split != seen[key][1]:
            found.across_splits += 1
    else:
        seen[key] = (row, split)


def _content_hash(value: Any) -> bytes:  # inputs are the domain's own kind
    digest = sha256()
    _feed(digest, value)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(str(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            _feed(digest, part)
    elif hasattr(value, "__array__"):
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


def _target_facts(spec: TargetSpec, values: list[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": spec.kind, "level": spec.level, "unit": spec.unit}
    if spec.level != "item":
        return facts
    numbers = [float(np.asarray(v).reshape(-1)[0]) for v in values if v is not None and np.size(v) == 1]
    known = [value for value in numbers if not math.isnan(value)]
    facts["missing_share"] = 1.0 - len(known) / len(values) if values else 1.0
    if spec.kind == "class":
        counted = Counter(int(value) for value in known)
        names = {number: spec.names[number] if number < len(spec.names) else str(number) for number in counted}
        facts["classes"] = {names[number]: count for number, count in sorted(counted.items())}
    elif known:
        facts.update(min=min(known), mean=float(np.mean(known)), max=max(known))
    return facts


def _warnings(found: Inspection) -> list[str]:
    words = []
    bad = found.read - found.status["ok"]
    if bad:
        kinds = ", ".join(f"{count} {name}" for name, count in found.status.most_common() if name != "ok")
        words.append(f"{bad} of {found.read} rows are not clean: {kinds}")
    if found.duplicates:
        words.append(f"{found.duplicates} rows repeat the input of another row")
    if found.across_splits:
        words.append(f"{found.across_splits} inputs stand in more than one declared split: scores would be too good")
    for name, facts in found.targets.items():
        if facts.get("missing_share", 0.0) > 0.0:
            words.append(f"label {name}: {facts['missing_share']:.1%} missing (masked, never taken as a value)")
        counts = facts.get("classes", {})
        if counts and max(counts.values()) > 0.9 * sum(counts.values()):
            words.append(f"label {name}: one class has {max(counts.values()) / sum(counts.values()):.0%} of the rows")
    return words
