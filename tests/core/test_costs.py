"""What a run will cost: arithmetic by hand, and warnings where the data are fewer than the recipe supposes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from repcore.training.costs import Measured, costs, doubts, storage_bytes

MEASURED = Measured(load_seconds=0.4, compute_seconds=1.0, operations=6e11, kept_bytes=2**20, parameters=10_000_000)


def run(workers: int, accumulate: int = 1) -> Any:
    settings = SimpleNamespace(data=SimpleNamespace(workers=workers), trainer=SimpleNamespace(accumulate=accumulate))
    return cast(Any, settings)


def test_steps_hours_and_memory_by_hand() -> None:
    here, one, eight = costs(MEASURED, run(workers=0), 3600, "cpu", (1, 8), teraflops=30.0)
    assert here.where == "cpu (measured)"
    assert here.hours == pytest.approx(1.4)
    assert (one.steps, eight.steps) == (3600, 450)
    assert one.step_seconds == pytest.approx(0.4 + 6e11 / 30e12)
    assert eight.step_seconds == pytest.approx(0.42 + 2 * 7 / 8 * 40e6 / 20e9)
    assert one.memory_bytes == 16 * 10_000_000 + 2**20
    assert (here.bound, one.bound) == ("computing", "loading")


def test_workers_load_while_the_device_computes() -> None:
    here, one = costs(MEASURED, run(workers=40, accumulate=2), 100, "cpu", (1,), teraflops=30.0)
    assert here.step_seconds == pytest.approx(2.0)
    assert one.step_seconds == pytest.approx(2 * 0.02)
    measured_gpu = costs(MEASURED, run(workers=40), 100, "cuda", (1,), teraflops=30.0)
    assert measured_gpu[1].step_seconds == pytest.approx(1.0), "a GPU that is here is measured"


def test_a_gpu_needs_some_time_for_the_smallest_batch() -> None:
    tiny = Measured(0.0, 0.1, 1e6, 0, 10)
    assert costs(tiny, run(0), 10, "cpu", (1,), 30.0)[1].step_seconds == pytest.approx(0.005)


def test_storage_counts_two_checkpoints_and_the_model() -> None:
    assert storage_bytes(1000) == 4 * 1000 * 7


def test_data_that_are_fewer_than_the_recipe_supposes_are_said() -> None:
    assert not doubts(100_000, 64, 10_000, by_epochs=False)
    (said,) = doubts(17, 64, 480, by_epochs=False)
    assert "each of the 17 rows 1,807 times" in said
    assert "about 308 rows" in said
    (said,) = doubts(640, 64, 100, by_epochs=True)
    assert "10.0 epochs of 640 rows are 100 steps only" in said
    assert not doubts(640_000, 64, 100_000, by_epochs=True)
