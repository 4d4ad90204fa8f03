"""Messages name options to those who type commands, and arguments beside them to those who call from Python."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

from repcore.cli.main import run
from repcore.errors import ARGUMENTS, WRAPPED, CheckpointError, ConfigError, ItemError, RepcoreError, told_to_a_shell
from repcore.files import read_object

ROOT = Path(__file__).parents[2]
COMMANDS = ("cli", "commands", "scaffold", "testing")  # rooms whose messages nobody sees who calls from Python
COMMANDS_ONLY = frozenset(
    (
        "address", "append", "by", "by-position", "debug", "engine", "export", "format", "gpus-per-actor", "grid",
        "method", "metric", "model", "overwrite", "page", "part", "positive", "sensor-at-origin", "share", "voxel",
        "where",
    )
)  # fmt: skip
"""Options of what only commands do: write files of results, search, compare, and how a command itself behaves."""
OF_OTHERS = re.compile(
    r"var\(--|\b(pip|git lfs|ray start|torchrun|repcore plugins)\b[^;()]*--|:root|border|stroke|--[a-z]+: "
)
"""Options of other programs, and colours of pages."""


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
        ("no times", "--read time=COLUMN, or --read time=none", 'read={"time": COLUMN}, read={"time": "none"}'),
        ("a label", "--read label_kind=class|regression", 'read={"label_kind": "class" or "regression"}'),
        ("a decimal", "--read first_node=1, --read directed=true", 'read={"first_node": 1}, read={"directed": True}'),
        ("two readers", "--reader audio/folder", "reader='audio/folder'"),
        ("a layout", "--option edge_ratio=0.65", "edge_ratio=0.65"),
        ("slow (--item-timeout)", "", "options=InferenceOptions(item_timeout=...)"),
        ("--dim 9 of embeddings of width 4", "", "options=InferenceOptions(dim=9)"),
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


def test_an_option_in_any_line_of_a_message_is_told() -> None:
    error = ConfigError("two readers", other_readers="x reads 5 rows: --reader audio/x", hint="")
    assert "in Python:" in str(error)
    assert "reader='audio/x'" in str(error)


def options_in_messages() -> dict[str, str]:
    """Options that texts outside of commands name, and where."""
    found: dict[str, str] = {}
    for path in [*(ROOT / "core/src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]:
        if set(COMMANDS) & set(path.parts):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in said:
                continue
            for one in re.finditer(r"--([a-z][a-z-]*)", node.value):
                if not OF_OTHERS.search(node.value):
                    found[one[1]] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def test_every_option_that_a_message_names_has_an_argument_or_is_of_commands_only() -> None:
    found = options_in_messages()
    assert {"read", "reader", "split", "format"} <= set(found)
    known = {*ARGUMENTS, *WRAPPED, "read", "option"}
    assert {one: place for one, place in found.items() if one not in known | COMMANDS_ONLY} == {}
    assert set(known - {"option", "classes"}) & COMMANDS_ONLY == set()
    assert set(found) >= COMMANDS_ONLY, "an option that no message names any more"


def test_a_command_says_nothing_about_python(capsys: pytest.CaptureFixture[str], toys: None) -> None:
    assert run(["pairs", "train", "set-net", "--device", "abacus"]) == 2
    said = capsys.readouterr().err
    assert "abacus" in said
    assert "in Python" not in said


ESCAPES = "x\x1b]0;pwn\x07\x9b2J\u202e\udcff\r"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(f"no {ESCAPES}", **{"field": ESCAPES, ESCAPES: 1, "hint": f"two\nlines {ESCAPES}"}),
        ItemError("corrupt", ESCAPES),
        pickle.loads(pickle.dumps(ConfigError(ESCAPES, known=ESCAPES))),
    ],
)
def test_no_text_of_an_error_commands_a_terminal(error: RepcoreError) -> None:
    for text in (str(error), error.render(), error.in_one_line(), *error.args, getattr(error, "reason", "")):
        assert not set("\x1b\x07\x9b\u202e\udcff\r") & set(text)
    assert "x\\x1b]0;pwn\\x07\\x9b2J\\u202e\\xff" in str(error)


def test_errors_say_nothing_about_the_insides_of_libraries(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"dim": {"9" * 5000}}}')
    with pytest.raises(CheckpointError, match="value has 5000 digits") as told:
        read_object(tmp_path / "a.json")
    assert "sys." not in str(told.value)
    words = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    error = ItemError("too_large", f"preparing: {words}")
    assert error.reason == "preparing: DefaultCPUAllocator: can't allocate memory"
