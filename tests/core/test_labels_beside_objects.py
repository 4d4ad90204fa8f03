"""Labels beside objects are read with the settings that tables in files have, and a refused run leaves nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import repcore
from repcore.data.given import given_reader
from repcore.data.guard import read_sample
from repcore.errors import ConfigError, DataError, RepcoreError
from repcore.interfaces import DatasetReader
from tests.toys.toy_run import make_run

ROWS = 18
SETS = [np.random.default_rng(row).normal(size=(6, 2)).astype(np.float32) for row in range(ROWS)]
CODES = [3, 7, 9] * 6


def opened(data: Any, labels: tuple[str, ...] = (), **read: Any) -> DatasetReader:
    return given_reader(data, lambda *_: pytest.fail("opened"), None, read, labels=labels)


@pytest.fixture
def model(tmp_path: Path, toys: None, monkeypatch: pytest.MonkeyPatch) -> repcore.Model:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", "preprocessor.centre=false")
    return repcore.load(tmp_path / "run")


@pytest.mark.parametrize("name", ["frame", "dict", "pairs", "dicts"])
def test_whole_numbers_are_the_kind_that_is_asked_for(name: str) -> None:
    data: Any = {
        "frame": lambda: pd.DataFrame({"points": SETS, "label": CODES}),
        "dict": lambda: {"points": SETS, "label": CODES},
        "pairs": lambda: list(zip(SETS, CODES, strict=True)),
        "dicts": lambda: [{"inputs": one, "label": code} for one, code in zip(SETS, CODES, strict=True)],
    }[name]()
    assert [one.kind for one in opened(data).targets] == ["regression"]
    reader = opened(data, label_kind="class")
    assert [(one.kind, one.names) for one in reader.targets] == [("class", ("3", "7", "9"))]
    assert [read_sample(reader, row).targets["label"] for row in range(3)] == [0, 1, 2]


def test_settings_are_about_the_labels_that_are_named() -> None:
    frame = pd.DataFrame({"points": SETS, "k": CODES, "size": np.linspace(0, 1, ROWS), "seen": ["a|b", "b", "c"] * 6})
    kinds = {one.name: one.kind for one in opened(frame, ("k",), label_kind="class").targets}
    assert kinds == {"k": "class", "size": "regression", "seen": "multilabel"}
    (seen,) = (one for one in opened(frame, ("seen",), label_separator="b").targets if one.name == "seen")
    assert "a|" in seen.names
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"label_kind": "klass"}, "label_kind='klass'"),
        ({"label_separator": 5}, "label_separator=5"),
        ({"columns": "k"}, "read={'columns': 'k'} is for a table of texts and numbers"),
    ]
    for read, words in wrong:
        with pytest.raises((ConfigError, DataError), match=words):
            opened(frame, **read)


def test_why_a_column_is_no_label_is_said(model: repcore.Model) -> None:
    frame = pd.DataFrame({"points": SETS, "k": ["a", "nan"] * 9})
    with pytest.raises(DataError, match="column 'k' is no label: every filled cell is 'a'"):
        repcore.finetune(model, frame, label="k", device="cpu")


def test_a_refused_run_leaves_nothing_and_says_how_it_is_asked_for(model: repcore.Model) -> None:
    frame = pd.DataFrame({"points": SETS, "k": CODES})
    asked: dict[str, Any] = {"label": "k", "task": "classification", "steps": 1, "device": "cpu", "twin": False}
    with pytest.raises(ConfigError, match="regression label, and task classification learns class") as told:
        repcore.finetune(model, frame, **asked)
    assert 'read={"label_kind": "class"}' in str(told.value)
    with pytest.raises(RepcoreError, match="outputs"):  # known only when the task is built
        repcore.finetune(model, frame, **asked, read={"label_kind": "class"}, task__outputs=1)
    assert not Path("runs").exists()
    run = repcore.finetune(model, frame, **asked, read={"label_kind": "class"})
    assert set(run.predict(SETS).to_pandas()["k"]) <= {"3", "7", "9"}


def test_what_labels_were_taken_for_is_told(model: repcore.Model, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "repcore")
    frame = pd.DataFrame({"points": SETS, "k": [str(2**53 + 1 + 2 * (row % 12)) for row in range(ROWS)]})
    repcore.finetune(model, frame, label="k", steps=1, device="cpu", twin=False, report=False)
    assert f"{2**53 + 1} are rounded" in caplog.text
