"""One sample divided into groups of its elements: rows for every split, and scores that never mix the groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.data.chosen_labels import LabelledOnly
from repcore.data.divided import DividedReader, divided, whole_samples
from repcore.data.split_plans import SplitInputs, plan_splits
from repcore.embedding.prediction_files import read_table
from repcore.errors import ConfigError, DataError, PluginError
from repcore.evaluation.probing import read_rows
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

SIDE = TargetSpec("side", "class", "point", ignore=9)
SECTOR = TargetSpec("sector", "class", "point")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Scans:
    """Three scans of eight points; the second cannot be read."""

    fingerprint, splits, targets = "scans", {"train": [0, 1], "test": [2]}, (SIDE, SECTOR)

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 3

    def id_of(self, row: int) -> str:
        return f"scan-{row}"

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        if index == 1:
            raise ValueError("damaged")
        labels = {"side": np.asarray([1, 2, 9, 1, 2, 2, 1, 1]), "sector": np.asarray([5, 5, 5, 7, 7, -1, -1, 7])}
        return Sample(f"scan-{index}", np.zeros((8, 3)), labels)


def parts(reader: Scans) -> DividedReader:
    return DividedReader(reader, SIDE, lambda sample: sample.targets["sector"], "sector")


def test_rows_have_the_labels_of_their_own_group_only() -> None:
    reader = Scans()
    rows = parts(reader)
    assert [rows.id_of(row) for row in range(5)] == [
        "scan-0#sector=5", "scan-0#sector=7", "scan-1", "scan-2#sector=5", "scan-2#sector=7",
    ]  # fmt: skip
    nan = np.nan
    np.testing.assert_array_equal(rows[0].targets["side"], [1, 2, 9, nan, nan, nan, nan, nan])
    np.testing.assert_array_equal(rows[4].targets["side"], [nan, nan, nan, 1, 2, nan, nan, 1])  # -1 is in no group
    assert [rows[row].group for row in (0, 1, 3, 4)] == ["5", "7", "5", "7"]
    assert dict(rows.splits) == {"train": [0, 1, 2], "test": [3, 4]}
    assert rows.fingerprint != reader.fingerprint
    before = reader.reads
    _ = rows[3], rows[4], rows[3]
    assert reader.reads == before  # groups of one sample in turn read it once
    with pytest.raises(ValueError, match="damaged"):
        _ = rows[2]
    found = read_rows(rows)
    assert found.dense["side"] == [{1: 1, 2: 1}, {1: 2, 2: 1}, {}, {1: 1, 2: 1}, {1: 2, 2: 1}]
    assert found.content[0] != found.content[1]  # not copies of each other
    assert found.content[0] == found.content[3]


def test_whole_samples_stand_behind_rows_once() -> None:
    rows = parts(Scans())
    whole = whole_samples(LabelledOnly(rows, SIDE), [4, 0, 3])
    assert whole.reader is rows.whole
    assert whole.behind == {2: [4, 3], 0: [0]}
    assert whole.id_of(3, "scan-2") == "scan-2#sector=5"
    np.testing.assert_array_equal(np.isnan(whole.labels(3, np.arange(8))), [False] * 3 + [True] * 5)
    plain = whole_samples(LabelledOnly(Scans(), SIDE), [2, 0])
    assert plain.behind == {2: [2], 0: [0]}
    assert plain.labels(2, np.arange(8)).tolist() == list(range(8))


def test_what_divides_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no element of any row lies in a group by 'x'"):
        DividedReader(Scans(), SIDE, lambda sample: np.full(8, -1), "x")
    with pytest.raises(PluginError, match="3 groups for 8 elements of scan-0"):
        DividedReader(Scans(), SIDE, lambda sample: np.zeros(3), "x")


def test_named_groups_are_held_out() -> None:
    inputs = SplitInputs(ids=("a", "b", "c", "d"), groups=("3", "3", None, "7"))
    split = plan_splits("held-out:3,d", inputs, [0]).folds[0][0]
    assert (split.train.tolist(), split.test.tolist()) == ([2], [0, 1, 3])
    with pytest.raises(DataError, match=r"no group or id '8'[\s\S]*3, 7"):
        plan_splits("held-out:8", inputs, [0])
    with pytest.raises(DataError, match="leaves no row for training"):
        plan_splits("held-out:3,7,c", inputs, [0])
    with pytest.raises(DataError, match="nothing is named"):
        plan_splits("held-out:", inputs, [0])


def test_within_samples_through_the_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toy's points, divided by another of their labels: rows are (cloud, group), and twins stand beside."""
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=4"]) == 0
    data = ["--data", "pairs/blobs", "--label", "side", "--group", "third"]
    capsys.readouterr()
    assert run(["probe", "runs/r", *data, "--level", "point", "--split", "held-out:1", "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    assert told["rows_used"] == 180
    assert run(["pairs", "finetune", "runs/r", *data, "--name", "f", "--no-twin", "trainer.epochs=2",
                "--split", "held-out:1"]) == 0  # fmt: skip
    found = read_table(tmp_path / "runs" / "f" / "predictions" / "test.parquet")
    assert sorted(found["id"]) == sorted(f"blob-{row}#third=1" for row in range(60))
    record = json.loads((tmp_path / "runs" / "f" / "finetune.json").read_text())
    assert record["rows"]["train"] + record["rows"]["validation"] == 120
    assert run(["probe", "runs/r", *data[:-1], "thrid", "--level", "point"]) != 0
    assert "third" in capsys.readouterr().err


def test_words_that_divide_are_checked() -> None:
    known = registry.default()
    with pytest.raises(ConfigError, match="is a label of whole samples"):
        divided(known, "", None, Scans(), TargetSpec("y", "class"), "sector")  # type: ignore[arg-type]
