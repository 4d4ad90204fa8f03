"""The script for a machine with a GPU runs to its end on a processor, and the table of peers says what it measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


def run(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> dict[str, list[dict[str, object]]]:
    monkeypatch.setattr("sys.argv", ["gpu.py", "--device", "cpu", "--small", "--out", str(out), *words])
    gpu.main()
    found: dict[str, list[dict[str, object]]] = json.loads(out.read_text("utf-8"))
    return found


def test_every_op_a_floor_for_four_of_them_and_steps(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = run(gpu, monkeypatch, tmp_path / "gpu.json")
    compared = {one["op"] for one in found["ops"]}
    unmeasured = {one.full_name for one in gpu.registry.default().entries("op")} - compared
    assert all(found["unusable"][one] for one in unmeasured)  # type: ignore[call-overload]
    assert [one["what"] for one in found["floors"]] == ["scan", "nearest", "farthest", "convolution"]
    assert all(one["ms"] > 0 and one["floor_ms"] > 0 for one in found["floors"])  # type: ignore[operator]
    assert [one["items"] for one in found["steps"]] == [4, 4, 4]
    assert found["left_out"] == []


def test_a_form_that_differs_is_an_error(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = gpu.ops.OpComparison("selective-scan", "planted", "a case", 1.0, False, 1.0, 1.0)
    monkeypatch.setattr(gpu.ops, "compare", lambda name, **more: [wrong])
    monkeypatch.setattr(gpu, "recipes", lambda options: [])
    with pytest.raises(SystemExit, match="selective-scan, planted, a case"):
        run(gpu, monkeypatch, tmp_path / "gpu.json")


def test_what_there_is_no_time_for_is_named(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(gpu, monkeypatch, tmp_path / "gpu.json", "--limit", "-1")
    assert found["ops"] == found["floors"] == found["steps"] == []
    assert {"op selective-scan", "convolution", "step of molecules/selformer"} <= set(found["left_out"])  # type: ignore[arg-type]


def test_a_row_of_the_table_names_peer_spread_and_whether_its_aim_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    peers = importlib.import_module("peers")
    row = peers.timed("a step", "package 1.2", "a table", {"ours": [1.0, 1.0], "peer": [1.5, 1.7]}, ">= 2")
    row |= {"part": "scan", "load": 0.5, "date": "2026-01-02"}
    record = {"rows": [row, {**row, "part": "convolution", "aim": "<= 2"}], "machine": {"cores": 2, "processor": "X"}}
    last, first = peers.table(record).splitlines()[:-3:-1]
    assert last == "| a step | package 1.2 | a table | 1.60 (1.50 to 1.70, 2 rounds) | >= 2 | no | 0.5, 2026-01-02 |"
    assert "| <= 2 | yes |" in first
