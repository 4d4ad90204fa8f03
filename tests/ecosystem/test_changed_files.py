"""A fingerprint follows the files: readers that hash a part of theirs are told what it leaves out."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore.testing.check import CheckFailedError
from repcore.testing.data_checks import fingerprint_follows_content
from repcore.testing.subjects import DatasetSubject

ROWS = [("a1", "CC", "0"), ("a2", "CO", "1"), ("a3", "CN", "0"), ("a4", "CCO", "1"), ("a5", "CCC", "0")]


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    path: Path


class Table:
    """Names, texts and labels of a table."""

    told: Callable[[list[list[str]]], Any] = staticmethod(lambda rows: rows)

    def __init__(self, config: TableConfig) -> None:
        with config.path.open(newline="") as file:
            self.rows = list(csv.reader(file))[1:]
        self.targets = (TargetSpec("active", "class", names=("no", "yes")),)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.told(self.rows)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        name, text, label = self.rows[index]
        return Sample(name, text, {"active": float(label)})


@pytest.fixture
def subject(tmp_path: Path) -> DatasetSubject:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(",".join(row) for row in [("id", "text", "active"), *ROWS]) + "\n")
    load = lambda what="target": (lambda: TableConfig(path=path)) if what == "example" else Table  # noqa: E731
    return DatasetSubject(SimpleNamespace(spec=SimpleNamespace(example="x"), load=load), None)  # type: ignore[arg-type]


def test_a_fingerprint_of_everything_passes(subject: DatasetSubject) -> None:
    """It was looked at: every change that the check makes gives other rows and another fingerprint."""
    first = subject.open()
    changed = dict(subject.variants())
    assert [words.removesuffix(" in the largest file") for words in changed] == [
        "another digit",
        "a line less",
        *(f"another cell in column {column}" for column in (1, 2, 3)),
    ]
    assert all(one.rows != first.rows for one in changed.values())
    assert len({first.fingerprint, *(one.fingerprint for one in changed.values())}) == len(changed) + 1
    fingerprint_follows_content(subject)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (lambda rows: [row[0] for row in rows], "another digit"),
        (lambda rows: [(row[0], row[2]) for row in rows], "another cell in column 2"),
        (lambda rows: [row[:2] for row in rows], "another digit"),
        (lambda rows: [row[1:] for row in rows], "another cell in column 1"),
        (lambda rows: rows[:4], "another digit|a line less"),
        (lambda rows: [rows[0], rows[-1]], "another cell"),
        (len, "another digit"),
    ],
)
def test_what_a_fingerprint_leaves_out_is_named(
    told: Callable[[list[list[str]]], Any], words: str, subject: DatasetSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Table, "told", staticmethod(told))
    with pytest.raises(CheckFailedError, match=words):
        fingerprint_follows_content(subject)
