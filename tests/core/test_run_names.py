"""What names a run, and what a resumed run does with files of figures that somebody has damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore.cli.main import run
from repcore.errors import ConfigError, RunError
from repcore.files import read_lines
from repcore.training.run_folder import RunFolder, run_name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((one, "it is a path") for one in ("a/b", "../x", "a\\b", "..", ".", "a\nb", "\x1b[31m")),
        *((one, "device of Windows") for one in ("con", "NUL", "com1.old", "lpt9")),
        ("x" * 201, "it has 201 bytes"),
        ("é" * 101, "it has 202 bytes"),
        ("latest", "the newest run"),
    ],
)
def test_a_name_that_is_no_folder_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        run_name("pairs/set-net", name)
    assert repr(name) in str(told.value)


def test_a_name_of_a_folder_is_kept() -> None:
    for name in ("first", "a b", "é", "v1.2", "console", "x" * 200):
        assert run_name("pairs/set-net", name) == name
    assert run_name("pairs/set-net", None).startswith("pairs-set-net-")


@pytest.mark.parametrize("command", [["train", "set-net"], ["finetune", "lost", "--data", "lost", "--label", "y"]])
def test_a_name_is_refused_before_anything_is_opened(
    command: list[str], toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pairs", *command, "--name", "a/b", "--out", str(tmp_path / "runs")]) == 2
    assert "--name 'a/b' cannot name a run" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("line", [b"\x00\xff garbage", b'{"step": "x"}', b'{"step": true}', b"[]", b"{"])
def test_a_damaged_line_of_figures_is_said_and_nothing_is_thrown_away(line: bytes, tmp_path: Path) -> None:
    figures = tmp_path / "metrics.jsonl"
    content = b'{"step": 1}\n' + line + b'\n{"step": 2}\n{"step": 3}\n'
    figures.write_bytes(content)
    with pytest.raises(RunError, match=r"line 2 of .*metrics\.jsonl is damaged"):
        RunFolder(tmp_path).drop_lines_after(2)
    assert figures.read_bytes() == content


def test_a_last_line_that_a_kill_has_cut_is_left_out(tmp_path: Path) -> None:
    figures = tmp_path / "metrics.jsonl"
    figures.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    RunFolder(tmp_path).drop_lines_after(2)
    assert figures.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    figures.write_bytes(b'{"step": 1}\n\xff\n')
    assert list(read_lines(figures)) == [{"step": 1}]
