"""The commands in docs/molecules.md run as they stand, with a smaller network."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from repcore.cli.main import run
from tests.conftest import ROOT
from tests.molecules.conftest import TINY

PAGE = ROOT / "docs" / "molecules.md"
COMMAND = re.compile(r"^    \$ repcore (.+)$", re.MULTILINE)


@pytest.mark.slow
def test_the_five_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(one) for one in COMMAND.findall(PAGE.read_text(encoding="utf-8"))]
    assert [one[0] if one[0] != "molecules" else one[1] for one in commands] == [
        "train", "embed", "probe", "tokenize", "doctor",
    ]  # fmt: skip
    for words in commands:
        more = [*TINY, "trainer.steps=60", "optimiser.lr=1e-2"] if "train" in words else []
        more += ["--molecules", "40"] if "doctor" in words else []
        # a minute of training would be needed for the doctor to be content
        assert run([*words, *more]) in ((0, 1) if "doctor" in words else (0,)), words
    shown = capsys.readouterr().out
    assert "4,999 rows in, 4,999 rows out" in shown
    assert "ring 1 is not closed" in shown
    assert "symbol-counts" in shown
