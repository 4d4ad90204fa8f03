"""What a path holds and what is wrong with it, found before a run is spent on it.

Rows go the way that training takes: the same reader, the same preprocessor, the same refusals. Without a preprocessor
only what the reader gives is judged, and that is said.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting, account_of, rows_without_part
from repcore.data.copies import MOST_COMPARED, Copies, content_hash
from repcore.data.guard import item_guard, prepare_sample, read_sample, row_id
from repcore.data.item_processes import apart
from repcore.data.label_facts import element_labels, label_facts, label_warnings
from repcore.data.names import alike
from repcore.data.scales import other_unit
from repcore.data.seeds import generator
from repcore.errors import ItemError
from repcore.interfaces import DatasetReader, Item, Preprocessor, Sample
from repcore.reporting import Reporter

SAMPLED_ROWS = 5000
SECONDS = 30.0  # after which a sample is large enough
IN_ORDER = 500  # rows that are looked at in order, whatever the time
EXAMPLES = 5
LEAST_ROWS = 2  # to train on
MOST_VALUES = 6  # values of a fact that are written out


@dataclass(slots=True)
class Inspection:
    """Findings about a data set.

    Args:
        rows / read / usable: rows in all, how many of them were looked at, and how many of these can be used.
        status: prepared rows by status (``ok``, ``truncated``, ...).
        examples: status -> first rows with it and why.
        duplicates: looked-at rows whose input another row has, too.
        near_copies: rows whose prepared item another row has, though their inputs differ.
        across_splits: copies that stand in more than one declared split.
        contradicting: copies whose labels differ.
        copies: kind of copy -> first pairs of ids.
        cost: smallest, median and largest cost of an item; None without a preprocessor.
        facts: what readers and preprocessors tell of rows (lengths, rates, shapes, counts): numbers as smallest, median
            and largest, other values counted.
        targets: label name -> facts (missing share, range, class counts, positives of each task).
        groups: number of groups; 0 = none. ``groups_across``: those that stand in more than one declared split.
            ``groups_alike``: those whose names are nearly the same, in words.
        other_units: sentences on rows that are most likely written in another unit.
        undescribed: why facts of rows are missing -> how many rows.
        parts: declared split -> rows. no_part: how many rows are in none of them, in words.
        account: files, tables, guesses, cells that were not understood.
        unprepared: why no recipe's preprocessor could be fitted on the rows, though one should.
        warnings: sentences worth reading before training.
    """

    rows: int
    read: int = 0
    usable: int = 0
    status: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    duplicates: int = 0
    near_copies: int = 0
    across_splits: int = 0
    contradicting: int = 0
    copies: dict[str, list[str]] = field(default_factory=dict)
    cost: tuple[float, float, float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: int = 0
    groups_across: list[str] = field(default_factory=list)
    groups_alike: str = ""
    other_units: list[str] = field(default_factory=list)
    undescribed: dict[str, str] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    no_part: str = ""
    account: Accounting = field(default_factory=Accounting)
    unprepared: str = ""
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**record, "status": dict(self.status), "account": self.account.to_json()}

    @property
    def is_trainable(self) -> bool:
        """Enough different rows to train on, as far as was looked; one is enough where a training part is declared,
        none where every row is declared for testing."""
        if set(self.parts) == {"test"} and self.parts["test"] >= self.rows:
            return False
        return self.read < self.rows or self.distinct >= (1 if "train" in self.parts else LEAST_ROWS)

    @property
    def distinct(self) -> int:
        """Usable rows that are no copies of others."""
        return max(self.usable - self.duplicates - self.near_copies, min(self.usable, 1))

    @property
    def is_clean(self) -> bool:
        """Nothing to warn about: nothing ignored, unreadable or not understood either."""
        return not self.warnings


def inspect_reader(
    reader: DatasetReader,
    preprocessor: Preprocessor | None,
    reporter: Reporter,
    *,
    rows: int | None = SAMPLED_ROWS,
    seconds: float | None = None,
    item_timeout: float | None = None,
    unprepared: str = "",
) -> Inspection:
    """Read (and, with a preprocessor, prepare) rows, and say what was found.

    Args:
        rows: most rows, drawn evenly; None = all.
        seconds: stop looking at further rows after this time; None = never.
        item_timeout: seconds after which one row is given up, read in a process of its own; None = never.
        unprepared: why there is no preprocessor though one was wanted.
    """
    found = Inspection(rows=len(reader), account=account_of(reader), unprepared=unprepared)
    chosen = rows_to_look_at(len(reader), len(reader) if rows is None else rows)
    if seconds is not None and len(chosen) > IN_ORDER:  # whatever is looked at in time is a sample of the whole
        chosen = generator(0, "inspect-order").permutation(chosen)
    look = _Look(reader, found)
    started = time.monotonic()
    for number, seen in enumerate(_seen_rows(reader, preprocessor, chosen, item_timeout)):
        look.note(seen)
        found.read += 1
        reporter.progress("inspecting", number + 1, len(chosen))
        if seconds is not None and time.monotonic() - started > seconds and number + 1 < len(chosen):
            reporter.progress("inspecting", len(chosen), len(chosen))
            break
    look.finish()
    found.warnings = list(_warnings(found))
    return found


def rows_to_look_at(count: int, most: int) -> np.ndarray:
    """All rows, or ``most`` of them drawn evenly, in order; the same ones every time."""
    every = np.arange(count)
    return every if count <= most else np.sort(generator(0, "inspect").choice(every, most, replace=False))


@dataclass(slots=True)
class Seen:
    """What is kept of a row that was looked at: small, so that it can come from another process.

    Args:
        costs: of its items.
        inputs / items: hashes of what was read, and of what it became; None where there is nothing.
        told: facts of the reader, the preprocessor and the items; ``undescribed`` says why some are missing.
        is_usable: whether it was read and prepared.
    """

    row: int
    id: str
    status: str = "ok"
    reason: str = ""
    costs: Sequence[int] = ()
    inputs: bytes | None = None
    items: bytes | None = None
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    undescribed: Sequence[str] = ()
    is_usable: bool = False


def look_at(reader: DatasetReader, preprocessor: Preprocessor | None, row: int) -> Seen:
    """Read and prepare one row the way training does."""
    seen = Seen(row, "")
    sample: Sample | None = None
    items: list[Item] | None = None
    try:
        sample = read_sample(reader, row)
        if preprocessor is not None:
            items = prepare_sample(preprocessor, sample)
            seen.costs = [preprocessor.cost(item.meta) for item in items]
            noted = next((item for item in items if item.status != "ok"), None)
            if noted is not None:
                seen.status, seen.reason = noted.status, noted.reason
        seen.is_usable = True
    except ItemError as error:
        seen.status, seen.reason = error.status, error.reason
    seen.id = sample.id if sample is not None else row_id(reader, row)
    if sample is not None:
        _describe(seen, sample, items, (reader, preprocessor))
    return seen


def _describe(seen: Seen, sample: Sample, items: Sequence[Item] | None, codes: Sequence[Any]) -> None:
    told: dict[str, Any] = {name: one for name, one in sample.meta.items() if not isinstance(one, Path)}
    missing: list[str] = []
    for code in codes:
        describe = getattr(code, "describe", None)
        if describe is None:
            continue
        try:
            with item_guard(code, "describing"):
                told.update(describe(sample))
        except ItemError as error:  # facts are for people: a row is no worse without them
            missing.append(error.reason)
    for item in items or ():
        told.update({f"item {name}": value for name, value in item.meta.items() if _is_plain(value)})
    seen.items = None if items is None else content_hash([item.values for item in items])
    seen.targets, seen.group, seen.told, seen.undescribed = dict(sample.targets), sample.group, told, missing
    seen.inputs = content_hash(sample.inputs)


def _seen_rows(
    reader: DatasetReader, preprocessor: Preprocessor | None, rows: np.ndarray, timeout: float | None
) -> Iterator[Seen]:
    work = partial(look_at, reader, preprocessor)
    if timeout is None:
        yield from map(work, map(int, rows))
        return

    def given_up(row: int, error: ItemError) -> Seen:
        return Seen(row, row_id(reader, row), error.status, error.reason)

    yield from apart(work, map(int, rows), timeout, given_up)


class _Look:
    """What is gathered from row to row."""

    def __init__(self, reader: DatasetReader, found: Inspection) -> None:
        self.reader, self.found = reader, found
        self.part_of = {int(row): name for name, part in reader.splits.items() for row in part}
        found.parts = {name: len(part) for name, part in reader.splits.items()}
        found.no_part = rows_without_part(reader)
        self.copies = Copies()
        self.labels: dict[str, list[Any]] = {spec.name: [] for spec in reader.targets}
        self.parts: list[str] = []
        self.groups: dict[str, set[str]] = {}
        self.costs: list[int] = []
        self.facts: dict[str, list[Any]] = {}
        self.undescribed: dict[str, list[str]] = {}
        self.lengths: dict[str, dict[str, float]] = {name: {} for name in getattr(reader, "lengths", ())}

    def note(self, seen: Seen) -> None:
        """Take one row in."""
        self.costs.extend(seen.costs)
        self.found.status[seen.status] += 1
        self.found.usable += seen.is_usable
        for reason in seen.undescribed:
            self.undescribed.setdefault(reason, []).append(seen.id)
        if seen.status != "ok" and len(self.found.examples.setdefault(seen.status, [])) < EXAMPLES:
            self.found.examples[seen.status].append(f"row {seen.row} ({seen.id}): {seen.reason}")
        if seen.inputs is None:
            return
        part = self.part_of.get(seen.row, "")
        if seen.is_usable:  # blank or broken rows are nobody's copies
            compared = {name: value for name, value in seen.targets.items() if np.size(value) <= MOST_COMPARED}
            self.copies.see((seen.id, part, compared), seen.inputs, seen.items)
        self.parts.append(part)
        for spec in self.reader.targets:
            value = seen.targets.get(spec.name)
            if spec.level != "item":  # labels of elements are counted as they pass: whole scans are not held
                value = element_labels(spec, value)
            self.labels[spec.name].append(value)
        if seen.group is not None:
            self.groups.setdefault(seen.group, set()).add(part)
        for name, value in seen.told.items():
            self.facts.setdefault(name, []).append(value)
            if name in self.lengths:
                self.lengths[name][seen.id] = float(value)

    def finish(self) -> None:
        """Sum up."""
        found, copies = self.found, self.copies
        found.duplicates, found.near_copies = copies.same, copies.near
        found.across_splits, found.contradicting, found.copies = copies.across, copies.contradicting, copies.examples
        found.undescribed = {reason: f"{len(ids)} rows, first {ids[0]}" for reason, ids in self.undescribed.items()}
        found.groups = len(self.groups)
        found.groups_across = sorted(name for name, parts in self.groups.items() if len(parts - {""}) > 1)
        found.groups_alike = alike(self.groups)
        said = [other_unit(name, list(sizes), list(sizes.values())) for name, sizes in self.lengths.items()]
        found.other_units = [sentence for sentence in said if sentence]
        costs = self.costs
        found.cost = (min(costs), float(np.median(costs)), max(costs)) if costs else None
        found.facts = {name: _summed(values) for name, values in self.facts.items()}
        found.targets = {
            spec.name: label_facts(spec, self.labels[spec.name], self.parts) for spec in self.reader.targets
        }
        if found.read < found.rows:  # a sample may miss what is rare
            found.targets = {name: {**facts, "not_in_train": []} for name, facts in found.targets.items()}


def _is_plain(value: Any) -> bool:  # a fact of an item
    """A number, a text, or a few of them: a matrix tells a person nothing."""
    if isinstance(value, list | tuple):
        return all(isinstance(one, int | float | str) for one in value)
    return isinstance(value, int | float | str | np.number)


def _summed(values: list[Any]) -> Any:  # facts are numbers, texts, shapes
    """Numbers as smallest, median, largest; other values with their counts, the most frequent first."""
    numbers = [value for value in values if isinstance(value, int | float | np.number) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        held = np.asarray(numbers, np.float64)
        held = held[np.isfinite(held)]
        return (
            {"min": float(held.min()), "median": float(np.median(held)), "max": float(held.max())} if held.size else {}
        )
    counted = Counter(_plain(value) for value in values)
    shown = dict(counted.most_common(MOST_VALUES))
    return {**shown, **({"different": len(counted)} if len(counted) > MOST_VALUES else {})}


def _plain(value: Any) -> str:
    if hasattr(value, "__array__"):
        value = np.asarray(value).reshape(-1)[:8].tolist()
    if isinstance(value, list | tuple):
        return " x ".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)[:80]


def _warnings(found: Inspection) -> Iterator[str]:
    bad = found.read - found.status["ok"]
    if bad:
        kinds = ", ".join(f"{count} {name}" for name, count in found.status.most_common() if name != "ok")
        yield f"{bad} of {found.read} rows are not clean: {kinds}"
    if set(found.parts) == {"test"} and not found.is_trainable and found.usable:
        yield "all rows are declared as the test part: enough to embed, nothing to train on but with data.split=random"
    elif not found.is_trainable and found.usable > 1:
        yield f"all {found.usable} usable rows are copies of one: too few to train on"
    elif not found.is_trainable:
        yield "1 usable row: enough to embed, too few to train on" if found.usable else "no usable row"
    elif found.unprepared:
        yield f"rows were read but not prepared: {found.unprepared}"
    yield from _lost(found.account)
    for reason, rows in found.undescribed.items():
        yield f"facts are missing of {rows}: {reason}"
    pairs = {kind: f" (first: {'; '.join(shown)})" for kind, shown in found.copies.items()}
    if found.duplicates:
        yield f"{found.duplicates} rows repeat the input of another row{pairs.get('same', '')}"
    if found.near_copies:
        yield (
            f"{found.near_copies} rows become the same item as another row though they are written differently"
            f"{pairs.get('near', '')}"
        )
    if found.contradicting:
        yield f"{found.contradicting} copies carry other labels than their original{pairs.get('contradicting', '')}"
    if found.across_splits:
        yield (
            f"{found.across_splits} inputs stand in more than one declared split: scores would be too good"
            f"{pairs.get('across', '')}"
        )
    elif found.duplicates + found.near_copies > 0.01 * max(found.read, 1):
        yield "a random split would put copies on both sides; give them a group, or use --split group"
    if found.groups_across:
        names = ", ".join(found.groups_across[:3])
        yield f"{len(found.groups_across)} groups stand in more than one declared split: {names}"
    yield from found.other_units
    if found.groups_alike:
        yield f"groups {found.groups_alike}: they are different groups, and a split may part them"
    for name, facts in found.targets.items():
        yield from label_warnings(name, facts)


def _lost(account: Accounting) -> Iterator[str]:
    counts = account.counts
    if counts["unreadable"]:
        yield f"{counts['unreadable']:,} of {account.total:,} files are unreadable"
    if counts["ignored"]:
        yield f"{counts['ignored']:,} of {account.total:,} files are ignored"
    for table in account.tables:
        if table.malformed:
            yield f"{table.name}: {table.malformed:,} of {table.rows:,} rows are malformed"
    yield from account.odd_cells
    lost: dict[tuple[str, str], list[str]] = {}
    for guess in account.guesses:
        if guess.is_loss:
            lost.setdefault((guess.chosen, guess.reason), []).append(guess.about)
    for (chosen, reason), names in lost.items():
        more = f" and {len(names) - MOST_VALUES:,} more" if len(names) > MOST_VALUES else ""
        yield f"{', '.join(names[:MOST_VALUES])}{more}: {chosen} ({reason})"
