"""Rows shared out to processes: the same bits by any number of them, chosen by what the work is worth."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import repcore
from repcore import registry
from repcore.cli.main import run
from repcore.config.resolve import resolve_run
from repcore.data import shared_work
from repcore.data.shared_work import processors, shared_out
from repcore.data.spent import ENCODER, PREPARING, READING, Meter
from repcore.embedding import batch_memory, blocks, inference
from repcore.embedding.batch_memory import cost_budget
from repcore.embedding.blocks import Look, block_rows, blocks_of, decided, look_at, trial_rows
from repcore.embedding.inference import InferenceOptions, embed_prepared, embed_rows, embedding
from repcore.interfaces import EmbeddingRows
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from tests.core.test_predict import finetuned
from tests.toys.toy_run import make_run

ROWS = ["pairs/blobs", "--read", "items=300", "--read", "broken=[3,200]", "--device", "cpu"]


@pytest.fixture
def parts(toys: None) -> RunParts:
    overrides = ["dataset.broken=[3, 200]", "dataset.items=300"]
    return assemble(resolve_run(registry.default(), "pairs/set-net", overrides=overrides), LogReporter())


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "processors", lambda: 2)
    monkeypatch.setattr(blocks, "WORTH_SECONDS", 0.0)


def embed(parts: RunParts, **options: Any) -> EmbeddingRows:
    return embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(**options))


def test_processes_change_no_bit_and_no_row(parts: RunParts) -> None:
    alone = embed(parts)
    for workers in (1, 3):
        found = embed(parts, workers=workers)
        assert found.vectors.tobytes() == alone.vectors.tobytes()
        assert (list(found.ids), list(found.status), list(found.reason)) == (
            list(alone.ids), list(alone.status), list(alone.reason),
        )  # fmt: skip
    assert [row for row, status in enumerate(alone.status) if status != "ok"] == [3, 200]


def test_who_goes_on_after_another_gives_the_same_bits(parts: RunParts) -> None:
    whole = list(inference.run_windows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions()))
    done = len(whole[0].ids) + len(whole[1].ids)
    rest = embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(), rows=np.arange(done, 300))
    assert len(whole) > 3
    assert rest.vectors.tobytes() == np.concatenate([one.vectors for one in whole[2:]]).tobytes()


def test_work_that_is_worth_it_is_shared_out(
    parts: RunParts, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, meter = embed(parts), Meter()
    assert embed(parts, workers=None).vectors.tobytes() == alone.vectors.tobytes()
    assert meter.helpers() == 2
    assert meter.seconds()[READING] > 0
    assert meter.seconds()[ENCODER] > 0
    for name, value in (("WORTH_SECONDS", 1e6), ("forks", lambda: False), ("processors", lambda: 1),
                        ("available_memory", lambda: 1.0)):  # fmt: skip
        with monkeypatch.context() as changed:
            changed.setattr(blocks, name, value)
            meter = Meter()
            embed(parts, workers=None)
            assert meter.helpers() == 0, name


def test_another_device_stays_with_one_process(
    parts: RunParts, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = embed(parts)
    for module in (blocks, inference):
        monkeypatch.setattr(module, "shares_all", lambda options: False)
    run_by: list[int] = []
    monkeypatch.setattr(
        inference, "embed_prepared", lambda *given: (run_by.append(os.getpid()), embed_prepared(*given))[1]
    )
    meter = Meter()
    found = embed(parts, workers=None)
    np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-6)
    assert meter.helpers() == 1
    assert set(run_by) == {os.getpid()}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_commands_say_what_took_how_long(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "m")
    assert run(["embed", "m/model", *ROWS, "-o", "v.parquet", "--workers", workers]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("300 rows by this command in ")
    assert ("with 2 more processes" in said) == (workers == "2")
    shares = [int(said.partition(f"{stage} ")[2].partition("%")[0]) for stage in ("reading", "preparing", "encoder")]
    assert min(shares) >= 0
    assert sum(shares) <= 101  # rounded
    assert max(shares) > 0
    assert run(["embed", "m/model", *ROWS, "-o", "w.parquet", "--workers", workers, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["processes"] == 1 + int(workers)
    assert record["processor_seconds"]["preparing"] > 0


def test_parts_and_predictions_are_shared_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    monkeypatch.chdir(tmp_path)
    finetuned(tmp_path)
    for command in ("embed", "predict"):
        for workers in ("0", "2"):
            Path(f"{command}{workers}").mkdir()
            for output in (f"{command}{workers}", f"{command}{workers}.parquet"):
                words = [command, "runs/f", *ROWS, "-o", output, "--workers", workers]
                assert run(words) == 0
        one, two = (pq.read_table(f"{command}{workers}.parquet") for workers in "02")
        assert one.num_rows == 300
        assert repr(one.to_pydict()) == repr(two.to_pydict())  # NaN equals nothing
        files = [sorted(path.name for path in Path(f"{command}{workers}").glob("part-*")) for workers in "02"]
        assert files[0] == files[1]
        assert len(files[0]) > 2
        for name in files[0]:
            one, two = (pq.read_table(f"{command}{workers}/{name}") for workers in "02")
            assert repr(one.to_pydict()) == repr(two.to_pydict()), name


def test_features_for_probes_are_the_same_bits(toys: None, tmp_path: Path) -> None:
    from repcore.evaluation.probing import compute_features

    make_run(tmp_path / "m")
    model = repcore.load(tmp_path / "m" / "model")
    reader = model.reader("pairs/blobs", options={"items": 100, "broken": [3]})
    alone, shared = (
        compute_features(model, reader, [0], InferenceOptions(workers=workers), LogReporter()) for workers in (0, 2)
    )
    assert alone.failed == shared.failed
    assert list(alone.failed) == [3]
    assert alone.matrices.keys() == shared.matrices.keys()
    for name, values in alone.matrices.items():
        assert np.asarray(values).tobytes() == np.asarray(shared.matrices[name]).tobytes(), name


def test_blocks_follow_from_the_data() -> None:
    def look(*costs: int, rows: int = 1) -> Look:
        row: Any = type("Row", (), {"items": [0]})()
        return Look(dict.fromkeys(range(rows), row), 0.0, list(costs), 0.0)

    even, odd, scans = look(5, 5, rows=2), look(5, 7, rows=2), look(*[1] * 90)
    assert block_rows(500, even, 64) == 63  # an eighth of few data
    assert block_rows(1000, even, 64) == 64  # what fills a batch
    assert block_rows(20_000, odd, 64) == 313  # a 64th
    assert block_rows(5_000, odd, 64) == 256  # four batches, for like with like
    assert block_rows(10**9, odd, 64) == 2048
    assert block_rows(30, scans, 64) == 1  # one scan is more than a batch
    assert block_rows(3, even, 64) == 8
    assert block_rows(1000, even, 64, budget=50) == 16  # a batch holds ten, a 64th are more


def test_blocks_are_cut_where_those_of_all_rows_are() -> None:
    assert [list(one) for one in blocks_of(np.arange(3, 12), 4)] == [[3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [list(one) for one in blocks_of(np.array([9, 2, 7]), 2)] == [[9, 2], [7]]
    assert blocks_of(np.arange(0), 4) == []


def test_a_batch_is_as_large_as_memory_has_room_for(parts: RunParts, monkeypatch: pytest.MonkeyPatch) -> None:
    function = embedding(parts.encoder.eval(), parts.preprocessor, ("mean",), "pairs")
    options = InferenceOptions()
    whole = embed(parts).vectors

    def budget() -> int:
        chosen = decided(function, parts.preprocessor, parts.reader, options, 300)[0]
        assert chosen.cost_budget is not None
        return chosen.cost_budget

    plenty = budget()
    monkeypatch.setattr(batch_memory, "total_memory", lambda: 2.0**20)
    little = budget()
    most = max(look_at(parts.reader, parts.preprocessor).costs)
    assert little < 64 * most < plenty
    np.testing.assert_allclose(embed(parts).vectors, whole, atol=1e-6)
    assert decided(function, parts.preprocessor, parts.reader, replace(options, cost_budget=7), 300)[0].cost_budget == 7


def test_weights_are_no_cost_of_a_batch(parts: RunParts) -> None:
    trial = trial_rows(look_at(parts.reader, parts.preprocessor))
    table = nn.Embedding(200_000, 8)  # more than all else together

    def budget(wide: nn.Embedding) -> int:
        def function(rows: list[Any]) -> None:
            with torch.inference_mode():
                wide(torch.arange(64)).sum()

        return cost_budget(function, trial, parts.preprocessor, "cpu")

    assert budget(table) == budget(nn.Embedding(64, 8))


def test_processors_are_those_that_a_container_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(shared_work, "CGROUP_QUOTA", quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    quota.write_text("400000 100000\n")
    assert processors() == 4
    quota.write_text("50000 100000\n")
    assert processors() == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    quota.write_text("max 100000\n")
    assert processors() == 12
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # OMP_NUM_THREADS
    assert processors() == 3


def test_units_come_back_in_order_from_several_processes() -> None:
    def work(unit: int) -> tuple[int, int, int]:
        return unit, os.getpid(), torch.get_num_threads()

    found = list(shared_out(work, range(9), 3))
    assert [one[0] for one in found] == list(range(9))
    assert len({one[1] for one in found} - {os.getpid()}) == 3
    assert {one[2] for one in found} == {1}


def test_rows_with_a_time_limit_are_not_looked_at_before(parts: RunParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "look_at", None)
    meter = Meter()
    found = embed(parts, workers=None, item_timeout=60.0)
    assert [row for row, status in enumerate(found.status) if status != "ok"] == [3, 200]
    assert meter.helpers() == 1
    assert meter.seconds()[PREPARING] > 0
