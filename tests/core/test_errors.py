"""Messages name options to those who type commands, and arguments beside them to those who call from Python."""

from __future__ import annotations

import pytest

from repcore.cli.main import run
from repcore.errors import ConfigError, told_to_a_shell


@pytest.mark.parametrize(
    ("summary", "hint", "arguments"),
    [
        ("no label", "--label COLUMN, or another --reader", "label=COLUMN, reader"),
        ("wrong probe", "--protocol ridge@1", "protocols=['ridge@1']"),
        ("which ids?", "--id-column NAME, the same one as with embed; or --by-position", "id_column=NAME"),
        ("empty", "too few rows; --split random, or folds", "split='random'"),
        ("--labels x is no number", "--labels 3 or 10%", "labels, labels=3"),
        ("a setting", "optimiser.lr=1", None),
        ("no package", 'pip install "repcore[onnx]" --format torch-export', None),
        ("a command", "repcore molecules finetune MODEL --label NAME", None),
        ("not from Python", "--overwrite, or another name", None),
    ],
)
def test_options_are_told_as_arguments(summary: str, hint: str, arguments: str | None) -> None:
    error = ConfigError(summary, hint=hint)
    lines = str(error).splitlines()
    assert [line.split(": ", 1)[1].strip() for line in lines if "in Python:" in line] == (
        [] if arguments is None else [arguments]
    )
    assert hint in str(error)
    with told_to_a_shell():
        assert "in Python" not in str(error)
    assert "in Python" not in error.facts


def test_a_command_says_nothing_about_python(capsys: pytest.CaptureFixture[str], toys: None) -> None:
    assert run(["pairs", "train", "set-net", "--device", "abacus"]) == 2
    said = capsys.readouterr().err
    assert "abacus" in said
    assert "in Python" not in said
