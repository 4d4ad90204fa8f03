"""What a run is said to take counts what it will do: steps, validations, the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.errors import ItemError
from repcore.files import read_lines
from repcore.report.collect import collect
from repcore.report.held_out import held_out
from repcore.report.map import Layout, layouts
from repcore.reporting import LogReporter
from repcore.training import estimate
from repcore.training.assembly import RunParts, assemble
from repcore.training.estimate import estimate_run
from repcore.training.plan import (
    FEW_DIAGNOSED,
    diagnosed_rows,
    stream_order,
    total_steps,
    validation_interval,
    validations,
)
from repcore.training.run import start_run


def assembled(*overrides: str) -> RunParts:
    return assemble(resolve_run(registry.default(), "pairs/set-net", overrides=overrides), LogReporter())


@pytest.mark.parametrize(
    ("steps", "rows", "every"),
    [
        (30, 100, 3),  # few rows: ten times, however short
        (30, 1000, 30),  # 30 x 64 items learned: one look at 1,000 rows costs a third of that
        (100, 1000, 25),
        (300, 1000, 30),
        (3, 100, 1),
    ],
)
def test_validations_take_at_most_half_of_training(toys: None, steps: int, rows: int, every: int) -> None:
    resolved = resolve_run(
        registry.default(), "pairs/set-net", overrides=("data.batch_size=64", "trainer.validate_every=null")
    )
    assert validation_interval(resolved, steps, rows) == every


def test_the_interval_that_is_asked_for_is_kept(toys: None) -> None:
    resolved = resolve_run(registry.default(), "pairs/set-net", overrides=("trainer.validate_every=7",))
    assert validation_interval(resolved, 30, 100_000) == 7


def test_a_forecast_counts_the_validations_that_are_made(toys: None, tmp_path: Path) -> None:
    parts = assembled("trainer.steps=7", "trainer.validate_every=null")
    order = stream_order(parts)
    found = estimate_run(parts, "cpu", total_steps(parts.resolved, order), order)
    assert found is not None
    result = start_run(registry.default(), parts, LogReporter(), root=tmp_path, name="r", device="cpu")
    lines = [one for one in read_lines(result.folder / "metrics.jsonl") if one["split"] == "validation"]
    assert found.validations == len(lines) > 1
    assert min(found.training_seconds, found.validation_seconds, found.report_seconds) > 0
    assert found.total_seconds == found.training_seconds + found.validation_seconds + found.report_seconds


def test_a_run_without_held_out_rows_forecasts_no_validation(toys: None) -> None:
    parts = assembled("trainer.steps=7", "data.validation_share=0")
    order = stream_order(parts)
    found = estimate_run(parts, "cpu", total_steps(parts.resolved, order), order)
    assert found is not None
    assert (found.validations, found.validation_seconds) == (0, 0.0)
    assert found.report_seconds > 0


def test_diagnosis_looks_at_no_more_rows_than_training_pays_for(toys: None) -> None:
    resolved = resolve_run(
        registry.default(), "pairs/set-net", overrides=("data.batch_size=64", "trainer.validate_every=null")
    )
    held = np.arange(5000, 6000)
    few = diagnosed_rows(resolved, 30, held)  # two validations: a fifth of 1,920 rows learned, at a third of their cost
    assert len(few) == int(0.2 * 30 * 64 * 3 / validations(resolved, 30, 1000)) < 1000
    assert np.isin(few, held).all()
    assert (np.diff(few) > 0).all()
    assert few.tolist() == diagnosed_rows(resolved, 30, held).tolist()  # the same rows after a resume
    assert len(diagnosed_rows(resolved, 1, held)) == FEW_DIAGNOSED
    assert diagnosed_rows(resolved, 1, held[:50]).tolist() == held[:50].tolist()
    assert len(diagnosed_rows(resolved, 1000, held)) == 1000


def test_a_forecast_follows_the_machine(toys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = assembled("trainer.steps=7")
    order = stream_order(parts)

    def page(pace: float) -> float:
        monkeypatch.setattr(estimate, "_pace", lambda: pace)
        found = estimate_run(parts, "cpu", 7, order)
        assert found is not None
        return found.report_seconds

    assert page(101.0) - page(1.0) > 90 * estimate.PAGE_SECONDS


def test_the_report_of_a_run_takes_its_data_as_they_are_open(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = start_run(
        registry.default(), assembled("trainer.steps=2"), LogReporter(), root=tmp_path, name="r", device="cpu"
    )
    record, known = collect(result.folder), registry.default()
    opened = held_out(record, known)
    monkeypatch.setattr("repcore.report.held_out.open_part", lambda part: pytest.fail("opened once more"))
    found = held_out(record, known, result.data)
    assert len(found) == len(opened) > 0
    assert (found.ids, found.groups, found.kind) == (opened.ids, opened.groups, opened.kind)
    assert np.array_equal(found.vectors, opened.vectors)
    assert np.array_equal(found.sizes, opened.sizes)
    assert found.raw.keys() == opened.raw.keys()
    for name, values in found.raw.items():
        assert np.array_equal(values, opened.raw[name], equal_nan=True)


def test_opening_data_for_a_run_does_not_load_lightning() -> None:
    code = "import sys, repcore.training.estimate, repcore.report.build; sys.exit('lightning.pytorch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_maps_are_drawn_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spied(unit: np.ndarray, reduced: np.ndarray, seed: int) -> Layout:
        seen.extend(one["num_threads"] for one in threadpool_info())
        return Layout("t-SNE", reduced[:, :2], ("1", "2"), "")

    monkeypatch.setattr("repcore.report.map._neighbour_embedding", spied)
    with threadpool_limits(2):
        layouts(np.random.default_rng(0).normal(size=(20, 4)), 0)
    assert seen
    assert set(seen) == {1}


def test_a_renderer_that_fails_costs_a_forecast_its_pictures_only(toys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = assembled("trainer.steps=7")
    order = stream_order(parts)

    def fails(render: object, sample: object) -> None:
        raise ItemError("no_picture", "it cannot be drawn")

    monkeypatch.setattr(estimate, "draw_sample", fails)
    found = estimate_run(parts, "cpu", 7, order)
    assert found is not None
    assert found.validation_seconds > 0


def test_a_run_of_one_step_has_a_forecast(toys: None) -> None:
    parts = assembled("trainer.steps=1")
    found = estimate_run(parts, "cpu", 1, stream_order(parts))
    assert found is not None
    assert found.step_seconds > 0


def test_a_command_does_not_search_for_cycles_as_it_ends() -> None:
    code = """
import atexit, gc, sys
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 1000))  # registered first, called last
sys.argv = ["repcore", "--version"]
from repcore.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "frozen True"
