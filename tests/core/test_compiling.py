"""``trainer.compile=true`` works, or is refused before the run with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repcore.cli.main import run
from repcore.files import read_lines
from tests.toys.toy_pairs import code

TRAIN = ["pairs", "train", "set-net", "--device", "cpu", "trainer.steps=3", "trainer.log_every=1"]
COMPILED = ["trainer.compile=true", "trainer.compile_backend=eager"]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_lines(folder / "metrics.jsonl") if line["split"] == "train"]


def test_a_compiled_run_is_the_same_run(toys: None, tmp_path: Path) -> None:
    for name, words in (("plain", []), ("compiled", COMPILED)):
        assert run([*TRAIN, *words, "--out", str(tmp_path), "--name", name]) == 0
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert len(losses(tmp_path / "compiled")) == 3


def test_what_cannot_be_compiled_is_refused_in_words(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))

    def broken(self: Any, *given: Any, **named: Any) -> None:
        raise TypeError("torch cannot trace this")

    monkeypatch.setattr(kind, "compile", broken)
    assert run([*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "r"]) == 2
    told = capsys.readouterr().err
    assert "trainer.compile=true, but torch cannot compile" in told
    assert "torch cannot trace this" in told
    assert not (tmp_path / "r" / "metrics.jsonl").exists()
