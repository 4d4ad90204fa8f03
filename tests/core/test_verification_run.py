"""Verification as a whole: what is due, what ran, what passed, on a small folder of a made-up system."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from repcore.errors import DataError
from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore.verification.run import RAW_GRADIENT, verify

STAGES: list[dict[str, Any]] = [
    {"name": "squares", "outputs": ["square.*"], "compare": {"kind": "absolute", "tolerance": 1e-6}},
    {
        "name": "sum",
        "outputs": ["sum"],
        "compare": {"kind": "allclose", "rtol": 0.5, "atol": 0.0, "when_fed": {"from": ["square.*"], "rtol": 1e-6}},
    },
    {"name": "draws", "outputs": ["draws"], "compare": {"kind": "informational", "reason": "random"}},
    {"name": "inputs", "file": "inputs.safetensors", "fields": ["doubled"], "compare": {"kind": "exact"}},
    {"name": "names", "file": "names.json", "fields": ["*"], "compare": {"kind": "exact_json"}},
]


def write_folder(folder: Path, stages: list[dict[str, Any]] = STAGES, **outputs: torch.Tensor) -> Path:
    folder.mkdir()
    x = torch.tensor([1.0, 2.0])
    stored = {"square.0": x[:1] ** 2, "square.1": x[1:] ** 2, "sum": torch.tensor([5.0]), "draws": torch.rand(3)}
    save_file({**stored, **outputs}, folder / "outputs.safetensors")
    save_file({"x": x, "doubled": x * 2}, folder / "inputs.safetensors")
    (folder / "names.json").write_text('{"first": 1}')
    manifest = {"format": 1, "system": "toy/squares", "reference": {}, "config": {"count": 2}, "stages": stages}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    x = golden.inputs["x"]
    squares = {f"square.{i}": x[i : i + 1] ** 2 for i in range(golden.config["count"])}
    yield StageResult("squares", squares)
    parts = [golden.outputs[name] for name in squares] if "sum" in fed else [v * 1.2 for v in squares.values()]
    yield StageResult("sum", {"sum": sum(float(v) for v in parts)})  # off by a fifth unless fed
    yield StageResult("inputs", {"doubled": x + x})
    yield StageResult("names", {"first": 1})


def without(name: str) -> Callable[[Golden, frozenset[str]], Iterator[StageResult]]:
    return lambda golden, fed: (result for result in replay(golden, fed) if result.stage != name)


def test_a_right_replay_passes_and_is_counted(tmp_path: Path) -> None:
    verdict = verify(replay, write_folder(tmp_path / "g"), system="toy/squares")
    assert verdict.ok, verdict.text()
    assert (verdict.due, verdict.run, verdict.passed) == (5, 5, 5)  # sum counts twice, draws not at all
    assert [stage.status for stage in verdict.stages] == [
        "passed", "passed", "passed", "informational", "passed", "passed",
    ]  # fmt: skip
    assert "PASS  toy/squares: 5 of 5 stages due passed" in verdict.text()
    assert "sum (fed)" in verdict.text()
    assert json.loads(json.dumps(verdict.to_json()))["stages"][0]["rows"][0]["name"] == "square.0"


def test_the_fed_comparison_is_tighter(tmp_path: Path) -> None:
    def never_fed(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
        return replay(golden, frozenset())

    verdict = verify(never_fed, write_folder(tmp_path / "g"))
    assert [stage.title for stage in verdict.stages if stage.status == "failed"] == ["sum (fed)"]


@pytest.mark.parametrize("name", ["squares", "sum", "inputs", "names"])
def test_a_stage_that_does_not_run_is_a_failure(tmp_path: Path, name: str) -> None:
    verdict = verify(without(name), write_folder(tmp_path / "g"))
    assert not verdict.ok
    assert verdict.run < verdict.due
    assert f"{name}: the replay did not produce it" in verdict.text()


def test_an_altered_value_fails(tmp_path: Path) -> None:
    verdict = verify(replay, write_folder(tmp_path / "g", **{"square.1": torch.tensor([4.0001])}))
    assert not verdict.ok
    assert "square.1: 1 of 1 differ" in verdict.text()


def test_a_tensor_not_produced_or_not_stored_fails(tmp_path: Path) -> None:
    more = verify(replay, write_folder(tmp_path / "more", **{"square.2": torch.ones(1)}))
    assert "square.2: not produced" in more.text()
    fewer = write_folder(tmp_path / "fewer")
    stored = {name: Golden.open(fewer).outputs[name] for name in ("square.0", "sum", "draws")}
    save_file(stored, fewer / "outputs.safetensors")
    assert "square.1: produced, but not stored" in verify(replay, fewer).text()


def test_outputs_belong_to_exactly_one_stage(tmp_path: Path) -> None:
    orphan = verify(replay, write_folder(tmp_path / "orphan", stray=torch.ones(1)))
    assert not orphan.ok
    assert "'stray' belongs to no stage" in orphan.text()
    twice = [*STAGES, {"name": "again", "outputs": ["sum"], "compare": {"kind": "exact"}}]
    assert "'sum' belongs to sum and again" in verify(replay, write_folder(tmp_path / "twice", twice)).text()
    empty = [*STAGES, {"name": "ghost", "outputs": ["ghost.*"], "compare": {"kind": "exact"}}]
    assert "no stored output fits 'ghost.*'" in verify(replay, write_folder(tmp_path / "ghost", empty)).text()


def test_an_error_in_the_replay_is_reported_and_fails(tmp_path: Path) -> None:
    def breaks(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
        yield from list(replay(golden, fed))[:2]
        raise ValueError("no such head")

    verdict = verify(breaks, write_folder(tmp_path / "g"))
    assert not verdict.ok
    assert "ValueError: no such head (test_verification_run.py:" in verdict.error
    assert verdict.stages[0].status == "passed"


def test_results_may_come_in_parts_but_not_twice(tmp_path: Path) -> None:
    def split(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
        for result in replay(golden, fed):
            for name, value in result.produced.items():
                yield StageResult(result.stage, {name: value})

    folder = write_folder(tmp_path / "g")
    assert verify(split, folder).ok

    def twice(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
        yield from replay(golden, fed)
        yield from replay(golden, fed)

    assert "came twice" in verify(twice, folder).error


def test_an_invented_stage_fails(tmp_path: Path) -> None:
    def invents(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
        yield from replay(golden, fed)
        yield StageResult("bonus", {})

    assert "'bonus'" in verify(invents, write_folder(tmp_path / "g")).error


def test_raw_gradients_come_beside_their_tensor(tmp_path: Path) -> None:
    rule = {"kind": "absolute", "tolerance": 1e-3, "skip_where_raw_gradient_below": 1e-7}
    stages = [{"name": "step", "outputs": ["square.*", "sum", "draws"], "compare": rule}]
    folder = write_folder(tmp_path / "g", stages)

    def steps(gradient: float) -> Callable[[Golden, frozenset[str]], Iterator[StageResult]]:
        def run(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
            produced: dict[str, Any] = {name: golden.outputs[name] for name in golden.expected("step")}
            produced["sum"] = produced["sum"] + 1.0
            yield StageResult("step", {**produced, RAW_GRADIENT + "sum": torch.full((1,), gradient)})

        return run

    assert verify(steps(1e-9), folder).ok
    assert not verify(steps(1e-3), folder).ok


def test_a_missing_data_set_outside_is_said_and_does_not_fail(tmp_path: Path) -> None:
    from repcore.verification.documents import Unavailable

    def lacks(path: Path) -> Callable[[Golden, frozenset[str]], Iterator[StageResult]]:
        def run(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
            yield from without("names")(golden, fed)
            yield StageResult("names", {"first": Unavailable(path)})

        return run

    folder = write_folder(tmp_path / "g")
    verdict = verify(lacks(tmp_path / "elsewhere.csv"), folder)
    assert verdict.ok
    assert (verdict.due, verdict.stages[-1].status) == (4, "unavailable")
    assert "no data set at" in verdict.text()
    assert not verify(lacks(folder / "inside.csv"), folder).ok


def test_malformed_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a golden folder"):
        verify(replay, tmp_path)
    folder = write_folder(tmp_path / "g")
    with pytest.raises(DataError, match=r"holds golden data of toy/squares[\s\S]*other/system"):
        verify(replay, folder, system="other/system")
    unknown = [{**STAGES[0], "compare": {"kind": "roughly"}}]
    with pytest.raises(DataError, match="roughly"):
        verify(replay, write_folder(tmp_path / "unknown", unknown))
    both = [{**STAGES[0], "file": "names.json", "fields": ["*"]}]
    with pytest.raises(DataError, match="either outputs or a file"):
        Golden.open(write_folder(tmp_path / "both", both))
    (folder / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="format 2"):
        Golden.open(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        Golden.open(folder)


def test_a_damaged_tensor_file_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "g")
    (folder / "outputs.safetensors").write_bytes(b"123")
    with pytest.raises(DataError, match="not a readable safetensors file"):
        verify(replay, folder)
