"""What a run is said to take counts what it will do: steps, validations, the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.estimate import estimate_run
from repcore.training.plan import stream_order, total_steps, validation_interval
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
