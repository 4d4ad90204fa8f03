"""One odd item or one failing function of a plugin: a named row or problem, never the end of the work."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.checkpoints.importing import check_options
from repcore.config.resolve import resolve_run
from repcore.data.batching import Drawn, TrainingCollator
from repcore.data.guard import draw_sample, prepare_sample, row_id
from repcore.data.inspection import inspect_reader
from repcore.embedding.dense import DenseRow
from repcore.embedding.dense_files import FolderWriter
from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.embedding.prediction_files import read_table
from repcore.errors import ConfigError, ItemError, PluginError
from repcore.evaluation.protocol import run_probe
from repcore.interfaces import Batch, DenseAnswer, Item, Picture, ProbeSplit, Sample
from repcore.reporting import LogReporter
from repcore.specs import CheckpointSpec, TargetSpec
from repcore.training.assembly import RunParts, assemble
from repcore.training.finetune_labels import OneTarget


@pytest.fixture
def parts(toys: None) -> RunParts:
    return assemble(resolve_run(registry.default(), "pairs/set-net"), LogReporter())


class Stumbling:
    """A preprocessor whose ``collate`` cannot take one row of the toy pairs."""

    def __init__(self, own: Any, size: int) -> None:
        self._own, self.size = own, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def collate(self, items: Sequence[Item]) -> Batch:
        if any(self._own.cost(one.meta) == self.size for one in items):
            raise IndexError("too many points for this layout")
        return self._own.collate(items)


def test_a_row_that_breaks_its_batch_is_a_row_and_its_neighbours_keep_their_vectors(parts: RunParts) -> None:
    options = InferenceOptions(batch_size=16)
    whole = embed_rows(parts.encoder, parts.preprocessor, parts.reader, options)
    costs = [parts.preprocessor.cost(parts.preprocessor.prepare(parts.reader[row])[0].meta) for row in range(60)]
    bad = [row for row, cost in enumerate(costs) if cost == costs[5]]
    odd: Any = Stumbling(parts.preprocessor, costs[5])
    found = embed_rows(parts.encoder, odd, parts.reader, options)
    assert [row for row, status in enumerate(found.status) if status == "failed"] == bad
    assert "IndexError: too many points" in found.reason[5]
    good = np.delete(np.arange(60), bad)
    np.testing.assert_allclose(found.vectors[good], whole.vectors[good], atol=1e-6)
    assert np.isnan(found.vectors[bad]).all()


def test_strict_mode_and_wrong_settings_still_end_the_work(parts: RunParts, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: Any = Stumbling(
        parts.preprocessor, parts.preprocessor.cost(parts.preprocessor.prepare(parts.reader[5])[0].meta)
    )
    with pytest.raises(ConfigError, match="no layer 9"):
        embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(layer=9))
    monkeypatch.setenv("REPCORE_STRICT", "1")
    with pytest.raises(IndexError, match="too many points"):
        embed_rows(parts.encoder, odd, parts.reader, InferenceOptions())


class Collating:
    """Joins numbers; refuses 13, and everything when told to."""

    def __init__(self, refuses_all: bool = False) -> None:
        self.refuses_all = refuses_all

    def collate(self, items: Sequence[Item]) -> Batch:
        if self.refuses_all or any(one.values == 13 for one in items):
            raise ValueError("13 is no number")
        return Batch(inputs={"x": torch.tensor([one.values for one in items])}, size=len(items))


def drawn(*values: int) -> list[Drawn]:
    return [Drawn({"": Item(value)}, f"row-{value}", {}, row=value) for value in values]


def test_a_training_batch_goes_on_without_the_item_that_breaks_it() -> None:
    loaded = TrainingCollator(Collating(), (), "toy")(drawn(1, 13, 2))  # type: ignore[arg-type]
    assert loaded.batch.inputs["x"].tolist() == [1, 2, 2]
    assert loaded.batch.sample_id == ["row-1", "row-2", "row-2"]
    assert [(one.row, one.status) for one in loaded.rejected] == [(13, "failed")]
    assert "13 is no number" in loaded.rejected[0].reason
    with pytest.raises(PluginError, match="joining items to a batch failed: ValueError"):
        TrainingCollator(Collating(refuses_all=True), (), "toy")(drawn(1, 2))  # type: ignore[arg-type]


class Rows:
    """Three rows, of which the second cannot be read, named or described."""

    targets: Sequence[TargetSpec] = (TargetSpec("y", "regression"),)
    splits: Mapping[str, Sequence[int]] = {}
    fingerprint = "rows"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> Sample:
        if row == 1:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd byte")
        return Sample(f"r{row}", row, {"y": float(row)})

    def id_of(self, row: int) -> str:
        raise KeyError(row)

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        raise ZeroDivisionError("no duration")


class Costly:
    def prepare(self, sample: Sample) -> list[Item]:
        return [Item(sample.inputs)]

    def cost(self, meta: Mapping[str, Any]) -> int:
        raise KeyError("frames")


def test_inspection_goes_on_when_facts_names_and_costs_fail() -> None:
    found = inspect_reader(Rows(), None, LogReporter())  # type: ignore[arg-type]
    assert found.status == {"ok": 2, "failed": 1}
    assert any("facts are missing of 2 rows, first r0: describing: ZeroDivisionError" in one for one in found.warnings)
    assert "row 1 (1): reading: UnicodeDecodeError" in found.examples["failed"][0]
    assert row_id(Rows(), 2) == "2"  # type: ignore[arg-type]
    with pytest.raises(ItemError, match="preparing: KeyError: 'frames'"):
        prepare_sample(Costly(), Sample("a", 1))  # type: ignore[arg-type]


def test_fine_tuning_reads_rows_through_the_guard() -> None:
    with pytest.raises(ItemError, match="failed: reading: UnicodeDecodeError"):
        OneTarget(Rows(), Rows.targets[0])[1]  # type: ignore[arg-type]


def test_renderers_are_named() -> None:
    def broken(sample: Sample) -> Picture:
        raise ValueError("no ink")

    with pytest.raises(ItemError, match=r"drawing: ValueError: no ink \(in .*broken\)"):
        draw_sample(broken, Sample("a", 1))
    with pytest.raises(ItemError, match="returned str, not a Picture"):
        draw_sample(lambda sample: "svg", Sample("a", 1))


class HalfBroken:
    """A probe that cannot take wide features."""

    def score(
        self, features: np.ndarray, labels: Any, target: Any, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        if features.shape[1] > 3:
            raise np.linalg.LinAlgError("singular matrix")
        return {"rmse": float(features[split.test].mean())}

    def constants(self) -> Mapping[str, Any]:
        return {}


def test_a_probe_that_fails_on_one_feature_set_leaves_the_others_their_numbers() -> None:
    generator = np.random.default_rng(0)
    table = run_probe(
        {"trained": generator.normal(size=(20, 2)), "random-init": [generator.normal(size=(20, 2))],
         "raw": generator.normal(size=(20, 5))},
        generator.normal(size=20),
        TargetSpec("y", "regression"),
        ProbeSplit(train=np.arange(15), test=np.arange(15, 20)),
        {"half@1": HalfBroken()},
        (0,),
    )  # fmt: skip
    assert np.isfinite(table.value("trained", "half@1").mean)
    failed = table.value("raw", "half@1")
    assert np.isnan(failed.mean)
    assert "scoring failed: LinAlgError: singular matrix" in failed.notes[0]
    assert "HalfBroken" in failed.notes[0]
    assert [one.against for one in table.comparisons] == ["random-init"]
    assert '"mean": null' in table.to_json()


def test_a_writer_that_stumbles_over_one_answer_goes_on_and_a_full_disk_ends_it(tmp_path: Path) -> None:
    def write(path: Path, answer: DenseAnswer) -> None:
        if answer.sample.id == "b":
            raise TypeError("affine of the wrong shape")
        if answer.sample.id == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text("x")

    entry = SimpleNamespace(load=lambda: write, full_name="toy/grid", spec=SimpleNamespace(suffixes=(".txt",)))
    writer = FolderWriter(tmp_path / "out", {}, entry)

    def row(name: str) -> DenseRow:
        answer = DenseAnswer(Sample(name, None), "voxel", np.zeros((2, 1), np.float32), None, (), {})
        return DenseRow(name, "ok", "", answer, {})

    for name in ("a", "b", "c"):
        writer.write(row(name), {})
    with pytest.raises(OSError, match="No space left"):
        writer.write(row("full"), {})
    writer.finish()
    index = read_table(tmp_path / "out" / "index.csv")
    assert index["status"] == ["ok", "not_written", "ok"]
    assert "TypeError: affine of the wrong shape (in toy/grid)" in index["reason"][1]


def test_options_of_an_import_are_checked_before_anything_is_converted() -> None:
    spec = CheckpointSpec(name="layout", target="a:b", sniff="a:c", options={"mode": ("fast", "slow"), "crop_edge": ()})
    layout: Any = SimpleNamespace(spec=spec, full_name="toy/layout")
    check_options(layout, {"mode": "slow", "crop_edge": "64"})
    with pytest.raises(ConfigError, match=r"'moed' is no option of layout toy/layout(.|\n)*did you mean: mode"):
        check_options(layout, {"moed": "slow"})
    with pytest.raises(ConfigError, match=r"'slwo' is no value of mode(.|\n)*did you mean: slow"):
        check_options(layout, {"mode": "slwo"})


def test_every_published_layout_declares_the_options_of_its_converter() -> None:
    for entry in registry.default().entries("checkpoint"):
        check_options(entry, {name: (words[0] if words else "1") for name, words in entry.spec.options.items()})
        with pytest.raises(ConfigError, match="'moed' is no option"):
            check_options(entry, {"moed": "slow"})


def test_pages_of_a_library_are_one_line_of_a_row() -> None:
    error = ItemError("corrupt", "a cannot be read:\n\n  **** page\n\tend\n")
    assert error.reason == "a cannot be read: **** page end"
    assert str(error) == "corrupt: a cannot be read: **** page end"
