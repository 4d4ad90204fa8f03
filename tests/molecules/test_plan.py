"""``repcore plan`` measures trial steps and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repcore.cli.main import run
from tests.molecules.conftest import TINY, WriteTable


def test_a_plan_of_a_recipe(
    write_table: WriteTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_table("m.csv", {"smiles": ["C" * (1 + number) + "O" for number in range(30)]})
    command = ["plan", "molecules/selformer", "--data", str(data), *TINY, "trainer.steps=200", "--gpus", "4"]
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["where"] for one in found["costs"]] == ["cpu (measured)", "4 GPUs (estimated)"]
    assert [one["steps"] for one in found["costs"]] == [200, 50]
    assert found["measured"]["operations"] > 6 * found["items_per_step"] * 16 * 16
    assert found["measured"]["kept_bytes"] > 4 * found["items_per_step"] * 16
    assert "times; the recipe supposes more data" in found["warnings"][0]
    assert not (tmp_path / "runs").exists()
    assert run(["plan", "molecules/selforner"]) == 2
    assert "selformer" in capsys.readouterr().err
