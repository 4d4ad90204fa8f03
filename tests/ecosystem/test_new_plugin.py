"""``repcore new-plugin``: what it writes is right as it stands, and it never writes over anything."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from itertools import chain, combinations
from pathlib import Path

import pytest

from repcore.cli.main import run
from repcore.errors import ConfigError, ItemError
from repcore.scaffold import generate
from repcore.scaffold.generate import PARTS, describe, files_of
from tests.conftest import ROOT

SUBSETS = list(chain.from_iterable(combinations(PARTS, size) for size in range(1, len(PARTS) + 1)))
LONGEST = "-".join(["spectra"] * 3)  # 23 characters: no line may grow too long


def test_three_next_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new-plugin", "mri-sleep", "--dest", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = tmp_path / "repcore-mri-sleep"
    assert [line.strip() for line in lines[-3:]] == [
        f'pip install -e "{folder}"',
        "repcore mrisleep train mri-sleep",
        "repcore plugins check mri-sleep",
    ]
    assert (folder / "src" / "repcore_mri_sleep" / "_plugin.py").is_file()
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "repcore-mine").mkdir()
    (tmp_path / "repcore-mine" / "notes.txt").write_text("years of work")
    assert run(["new-plugin", "mine", "--dest", str(tmp_path)]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert [one.name for one in (tmp_path / "repcore-mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "domain", "parts", "words"),
    [
        ("Mri_Sleep", None, ("encoder",), "mri-sleep"),
        ("9lives", None, ("encoder",), "cannot be called"),
        ("a" * 40, None, ("encoder",), "at most 24"),
        ("core", None, ("encoder",), "installed already"),
        ("taken", None, ("encoder",), "taken-more"),
        ("mine", "Graph_s", ("encoder",), "plain lower-case word"),
        ("mine", "train-it", ("encoder",), "plain lower-case word"),
        ("mine", "probe", ("encoder",), "command of repcore"),
        ("mine", "train", ("encoder",), "command of repcore"),
        ("mine", "nul", ("encoder",), "device of Windows"),
        ("con", None, ("encoder",), "device of Windows"),
        ("finetune", None, ("encoder",), "command of repcore"),
        ("prepare", "mine", ("encoder",), "prepare-data"),
        ("com1", "mine", ("encoder",), "device of Windows"),
        ("mine", None, ("encodr",), "encoder"),
        ("mine", None, ("",), "names nothing"),
    ],
)
def test_what_cannot_be_made_is_said(name: str, domain: str | None, parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        describe(name, domain, parts, taken=["taken"])
    assert words in str(error.value)


def test_names_and_parts() -> None:
    plugin = describe("repcore-mri-sleep", "graphs", ["objective"])
    assert (plugin.distribution, plugin.package, plugin.domain) == ("repcore-mri-sleep", "repcore_mri_sleep", "graphs")
    assert plugin.parts == ("encoder", "objective")  # an objective brings its encoder
    assert not plugin.trains
    assert describe("x", None, ["dataset", "objective"]).trains


@pytest.mark.parametrize(
    ("version", "bounds"),
    [("0.1.4", "repcore>=0.1,<0.3"), ("2.9.0rc1", "repcore>=2.9,<2.11"), ("0+unknown", "repcore")],
)
def test_bounds_on_core(version: str, bounds: str) -> None:
    assert generate.core_requirement(version) == bounds


@pytest.mark.parametrize("parts", SUBSETS, ids="-".join)
def test_every_combination_is_python(parts: tuple[str, ...]) -> None:
    files = files_of(describe(LONGEST, None, parts))
    for name, text in files.items():
        assert "$" not in text or name == "LICENSE", name
        if name.endswith(".py"):
            compile(text, name, "exec")
    plugin = next(text for name, text in files.items() if name.endswith("_plugin.py"))
    assert "import torch" not in plugin
    assert text_lines(files) < 500


def test_cells_of_a_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generate.write(describe("written-rows", None, PARTS), tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    reading, settings = (import_module(f"repcore_written_rows.{name}") for name in ("datasets", "configs"))
    (tmp_path / "rows.csv").write_text("first,kind,second\n1,x,2\n3,y,none\n5,x,\n")
    reader = reading.RowTable(settings.RowTableConfig(path=tmp_path / "rows.csv", label="Kind"))
    assert [one.names for one in reader.targets] == [("x", "y")]
    sample = reader[0]
    assert (sample.inputs.tolist(), sample.targets) == ([1.0, 2.0], {"kind": 0})
    for row, cell in ((1, "'none'"), (2, "is no number")):
        with pytest.raises(ItemError, match=cell):
            reader[row]


def text_lines(files: object) -> int:
    """Lines of code of the whole plugin: small enough to be read before it is changed."""
    assert isinstance(files, dict)
    return sum(len(text.splitlines()) for name, text in files.items() if name.startswith("src/"))


@pytest.mark.slow
def test_style_of_every_combination(tmp_path: Path) -> None:
    for number, parts in enumerate(SUBSETS):
        for name in (f"n{number}", f"{LONGEST[:-2]}{number:02d}"):
            generate.write(describe(name, None, parts), tmp_path)
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_types_of_a_whole_plugin(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    folder = generate.write(describe("typed", None, PARTS), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), "src"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
