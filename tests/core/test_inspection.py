"""What inspect finds: copies, contradictions, leaks, vector labels, facts, rows on which plugin code fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data.accounting import Accounting
from repcore.data.inspection import Inspection, inspect_reader
from repcore.data.label_facts import element_labels, label_facts, label_in_words, label_warnings
from repcore.interfaces import Item, Sample
from repcore.reporting import LogReporter
from repcore.specs import TargetSpec


class Words:
    """Rows (id, text, labels, group) in memory."""

    def __init__(self, rows: Sequence[tuple[str, str, dict[str, Any], str | None]], **parts: Sequence[int]) -> None:
        self.rows, self.splits, self.fingerprint = rows, parts, "x"
        self.targets: Sequence[TargetSpec] = (
            TargetSpec("y", "class", names=("no", "yes")),
            TargetSpec("tasks", "multilabel", names=("a", "b")),
        )
        self.account = Accounting()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        name, text, targets, group = self.rows[index]
        if text == "broken":
            raise KeyError("inside the plugin")
        return Sample(name, text, targets, group, {"letters": len(text)})

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        return {"shape": (len(sample.inputs), 2)}


class Lower:
    def prepare(self, sample: Sample) -> list[Item]:
        if sample.inputs == "odd":
            raise RecursionError("too deep")
        return [Item(np.frombuffer(sample.inputs.lower().encode(), np.uint8))]

    def cost(self, meta: Mapping[str, Any]) -> int:
        return 1


def _inspect(reader: Words, preprocessor: Any = None) -> Inspection:
    return inspect_reader(reader, preprocessor, LogReporter())  # type: ignore[arg-type]


def test_copies_contradictions_and_leaks_are_named() -> None:
    reader = Words(
        [
            ("r0", "cat", {"y": 0}, None),
            ("r1", "cat", {"y": 1}, None),
            ("r2", "CAT", {"y": 0}, None),
            ("r3", "dog", {"y": 1}, None),
        ],
        train=[0, 3],
        test=[1, 2],
    )
    found = _inspect(reader, Lower())
    assert (found.duplicates, found.near_copies, found.across_splits, found.contradicting) == (1, 1, 2, 1)
    assert found.copies["same"] == ["r1 = r0"]
    assert found.copies["near"] == ["r2 = r0"]
    assert found.copies["across"][0] == "r1 = r0 (test, train)"
    assert not found.is_clean


def test_vector_labels_are_counted() -> None:
    nan = float("nan")
    rows = [("r0", "a", {"tasks": [1.0, 0.0]}, None), ("r1", "b", {"tasks": [0.0, nan]}, None), ("r2", "c", {}, None)]
    facts = _inspect(Words(rows)).targets["tasks"]
    assert facts["tasks"] == {
        "a": {"positive": 1, "negative": 1, "missing": 1},
        "b": {"positive": 0, "negative": 1, "missing": 2},
    }
    assert facts["missing_share"] == pytest.approx(1 / 3)


def test_labels_of_elements_are_counted_not_held() -> None:
    """Points of two scenes: 255 counts as a class without a word from the data, -1 is left out; one scene has none."""
    reader = Words(
        [
            ("a", "one", {"part": np.array([0, 0, 7, 255, -1, 7])}, None),
            ("b", "two", {"part": np.repeat([7, 255], 20_000)}, None),
            ("c", "three", {}, None),
            ("d", "four", {"part": np.full(4, -1)}, None),
        ]
    )
    reader.targets = (TargetSpec("part", "class", "point", ignore=-1),)
    found = _inspect(reader)
    facts = found.targets["part"]
    assert facts["elements"] == {"0": 2, "7": 20_002, "255": 20_001}
    assert facts["rows"] == 3
    assert facts["missing_share"] == pytest.approx(5 / 40_010)
    assert label_in_words(facts) == "0: 2, 7: 20,002, 255: 20,001"
    assert any(one.startswith("255 of 'part' counts as a class (0.5 of the labelled") for one in found.warnings)
    assert not any("missing" in one for one in found.warnings)
    reader.targets = (TargetSpec("part", "class", "point", ignore=255),)
    assert not any("counts as a class" in one for one in _inspect(reader).warnings)
    reader.rows = reader.rows[3:]
    reader.targets = (TargetSpec("part", "class", "point", ignore=-1),)
    assert "label part: no element of 1 rows is labelled" in _inspect(reader).warnings
    row = element_labels(reader.targets[0], np.array([1, 1, -1]))
    assert list(label_warnings("part", label_facts(reader.targets[0], [row]))) == [
        "label part: every labelled element is '1': nothing can be learned from it"
    ]


def test_plugin_code_that_fails_is_a_row() -> None:
    found = _inspect(Words([("r0", "broken", {}, None), ("r1", "odd", {}, None), ("r2", "fine", {}, None)]), Lower())
    assert found.status == {"failed": 2, "ok": 1}
    assert "KeyError" in found.examples["failed"][0]
    assert "Lower" in found.examples["failed"][1]


def test_strict_mode_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_STRICT", "1")
    with pytest.raises(KeyError, match="inside the plugin"):
        _inspect(Words([("r0", "broken", {}, None)]))


def test_facts_are_summed_up() -> None:
    found = _inspect(Words([("r0", "aa", {}, None), ("r1", "bbbb", {}, None), ("r2", "cc", {}, None)]))
    assert found.facts["letters"] == {"min": 2.0, "median": 2.0, "max": 4.0}
    assert found.facts["shape"] == {"2 x 2": 2, "4 x 2": 1}


def test_groups_across_parts_and_parts_with_one_class() -> None:
    rows = [("r0", "a", {"y": 0}, "p1"), ("r1", "b", {"y": 1}, "p2"), ("r2", "c", {"y": 1}, "p1")]
    found = _inspect(Words(rows, train=[0, 1], test=[2]))
    assert found.groups_across == ["p1"]
    assert any("test part holds only 'yes'" in text for text in found.warnings)


def test_what_was_lost_is_never_clean(tmp_path: Path) -> None:
    rows = [("r0", "a", {"y": 0, "tasks": [0, 1]}, None), ("r1", "b", {"y": 1, "tasks": [1, 0]}, None)]
    assert _inspect(Words(rows)).is_clean
    for spoil in ("ignore", "unreadable"):
        reader = Words(rows)
        getattr(reader.account, spoil)(tmp_path / "x", "for a reason")
        assert not _inspect(reader).is_clean
    reader = Words(rows)
    reader.account.odd_cells.append("column 'y': 3 of 9 filled cells look like censored")
    assert not _inspect(reader).is_clean
    reader = Words(rows)
    reader.account.guess("column 'z'", "no label", "every cell is empty", is_loss=True)
    assert not _inspect(reader).is_clean


def test_a_value_far_outside_is_named() -> None:
    facts = label_facts(TargetSpec("y", "regression"), [*np.linspace(-1, 3, 50), 1e12])
    assert facts["far"] == [1e12]
    assert any("1e+12" in text for text in label_warnings("y", facts))
    assert label_facts(TargetSpec("y", "regression"), [*np.linspace(-1, 3, 50), 12.0])["far"] == []


def test_groups_and_sizes_that_are_written_otherwise_are_warnings() -> None:
    groups = ["p01", "p1", "p2", "p2"]
    reader = Words([(f"r{row}", "x" * size, {}, groups[row]) for row, size in enumerate([3, 4, 5, 4000])])
    reader.lengths = ("letters",)  # type: ignore[attr-defined]
    warnings = inspect_reader(reader, None, LogReporter()).warnings
    assert any("groups 'p01' and 'p1' differ in leading zeros" in one for one in warnings)
    assert any("1 of 4 rows have another letters (r3 4000) than the others (3 to 5)" in one for one in warnings)


def test_a_word_for_missing_among_numbers_is_asked_about() -> None:
    spec = TargetSpec("y", "regression")
    values = [0.5 + row for row in range(20)]
    for odd, times in ((-999.0, 2), (9999.0, 3), (-1e30, 2)):
        facts = label_facts(spec, [*values, *[odd] * times])
        assert facts["apart"] == (odd, times)
        assert any(f"{odd:g} stands in {times} rows" in one for one in label_warnings("y", facts))
    assert label_facts(spec, [*values, *values, 30.0])["apart"] is None
    assert label_facts(spec, [*values, 0.0, 0.0])["apart"] is None


def test_rows_that_no_recipe_prepares_and_copies_of_one_are_never_clean() -> None:
    rows = [(f"r{row}", "abc"[row % 3], {"y": row % 2}, None) for row in range(3)]
    found = inspect_reader(Words(rows), None, LogReporter(), unprepared="x cannot prepare it")  # type: ignore[arg-type]
    assert (found.is_clean, found.is_trainable) == (False, True)
    assert "rows were read but not prepared: x cannot prepare it" in found.warnings
    same = _inspect(Words([(f"r{row}", "a", {}, None) for row in range(3)]), Lower())
    assert (same.distinct, same.is_trainable) == (1, False)
    assert "all 3 usable rows are copies of one: too few to train on" in same.warnings
