"""``repcore new-plugin``: what it writes is right as it stands, and it never writes over anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import chain, combinations
from pathlib import Path

import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.errors import ConfigError, ItemError
from repcore.scaffold import generate
from repcore.scaffold.generate import PARTS, describe, files_of
from repcore.testing import check_plugin
from repcore.testing.kit import find_plugin
from tests.conftest import ROOT, MakeDistribution

FIRST, MORE = PARTS[:4], PARTS[4:]
SUBSETS = [
    *chain.from_iterable(combinations(FIRST, size) for size in range(1, len(FIRST) + 1)),
    *((one,) for one in MORE),
    *((*FIRST[:3], one) for one in MORE),
    *combinations(MORE, 2),
    PARTS,
]
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
        ("mine", None, ("view",), "did you mean: views"),
        ("mine", None, ("encoder", "rendere"), "did you mean: renderer"),
        ("mine", None, ("al",), "all"),
        ("mine", None, ("",), "names nothing"),
    ],
)
def test_what_cannot_be_made_is_said(name: str, domain: str | None, parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        describe(name, domain, parts, taken=["taken"])
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["COM1", "con.", "Train", "Taken", "9 core", "!?", "a-" * 20, "NUL.txt", "Repcore"])
def test_advised_names_are_taken(name: str) -> None:
    """``COM1`` was told to be ``com1``, which is refused as well."""
    with pytest.raises(ConfigError) as error:
        describe(name, "mine", ("encoder",), taken=["taken"])
    assert describe(str(error.value.facts["hint"]), "mine", ("encoder",), taken=["taken"]).domain == "mine"


@pytest.mark.parametrize("word", ["repcore", "help"])
def test_words_of_the_command_line_are_no_names(word: str) -> None:
    with pytest.raises(ConfigError, match="a word of the command line"):
        describe(word, "mine", ("encoder",))
    with pytest.raises(ConfigError, match="a word of the command line"):
        describe("mine", word, ("encoder",))


def test_names_and_parts() -> None:
    plugin = describe("repcore-mri-sleep", "graphs", ["objective"])
    assert (plugin.distribution, plugin.package, plugin.domain) == ("repcore-mri-sleep", "repcore_mri_sleep", "graphs")
    assert plugin.parts == ("encoder", "objective")  # an objective brings its encoder
    assert not plugin.trains
    assert describe("x", None, ["dataset", "objective"]).trains
    assert describe("x", None, ["all"]).parts == PARTS
    assert describe("x", None, ["views", "writer"]).parts == ("encoder", "objective", "dataset", "views", "writer")
    assert describe("x", None, ["task"]).parts == ("encoder", "task")
    assert describe("x", None, ["renderer"]).parts == ("dataset", "renderer")


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
    assert text_lines(files) < (500 if set(parts) <= set(FIRST) else 900)


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


def test_a_first_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generate.write(describe("first-table", None, ["dataset"]), tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    reading, settings = (import_module(f"repcore_first_table.{name}") for name in ("datasets", "configs"))
    (tmp_path / "rows.csv").write_text("a,b,kind\n1.5,2,cat\n3,4,dog\n5,6,cat\n7,8,dog\n")
    reader = reading.RowTable(settings.RowTableConfig(path=tmp_path / "rows.csv"))
    assert (reader[1].id, reader[1].inputs.tolist(), reader[1].targets) == ("row-1", [3.0, 4.0], {"kind": 1})
    assert [one.names for one in reader.targets] == [("cat", "dog")]
    assert any("'kind'" in sentence for sentence in reader.account.sentences())
    assert reading.sniff(tmp_path / "rows.csv") == pytest.approx(0.2)
    (tmp_path / "prose.csv").write_text("who,what\nAda,a first\nBo,a second\n")
    assert reading.sniff(tmp_path / "prose.csv") == 0  # a table, but nothing to learn from


def test_the_readme_uses_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = files_of(describe("every-kind", None, ["all"]))["README.md"]
    lines = [line.split()[1:] for line in readme.splitlines() if line.startswith("    repcore ")]
    used = {next(word for word in line if word != "everykind") for line in lines}
    assert used == {
        "list", "train", "inspect", "bench", "finetune", "probe", "report", "fit", "apply", "embed", "plugins"
    }  # fmt: skip
    assert "$" not in readme
    assert run(["new-plugin", "pairs", "--with", "views", "--dest", str(tmp_path)]) == 0
    assert "with encoder, objective, dataset, which the parts asked for cannot do without" in capsys.readouterr().out


@pytest.fixture
def every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A generated plugin with all parts that can be imported; its listing module."""
    folder = generate.write(describe("every-kind", None, ["all"]), tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    yield "repcore_every_kind._plugin"
    for name in [one for one in sys.modules if one.startswith("repcore_every_kind")]:
        del sys.modules[name]
    registry.default.cache_clear()


def test_every_part_passes_every_check(every_kind: str) -> None:
    _, record = find_plugin(every_kind)
    kinds = {one.kind for one in record.specs}
    assert kinds == {
        "encoder", "objective", "dataset", "preprocessor", "views", "recipe", "op", "task", "probe", "estimator",
        "writer",
    }  # fmt: skip
    assert [one.render for one in record.specs if one.kind == "dataset"] == ["repcore_every_kind.rendering:draw"]
    report = check_plugin(every_kind)
    assert report.ok, report.table()
    passed = {one.id for one in report.results if one.status == "passed"}
    assert passed >= {
        "views-distinct", "task-state-saved", "probe-learns", "picture-of-odd-samples", "estimator-state-saved",
        "writer-keeps-every-row", "writer-goes-on", "op-choices-exist",
    }  # fmt: skip


def test_parts_are_used_as_their_texts_say(
    every_kind: str, tmp_path: Path, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make_distribution("repcore-every-kind", module=every_kind.partition(".")[0], entry="every-kind")
    registry.refresh()
    monkeypatch.chdir(tmp_path)
    train = ["everykind", "train", "every-kind", "--name", "short", "trainer.steps=4", "data.workers=0"]
    assert run(train) == 0, capsys.readouterr().err
    model, data = "runs/short", "everykind/every-kind-table"
    assert run(["embed", model, data, "-o", "rows.jsonl"]) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [one["id"] for one in lines] == [f"row-{number}" for number in range(600)]
    assert {len(one["vector"]) for one in lines} == {32}
    assert run(["fit", "every-kind-spread", model, data, "-o", "spread"]) == 0, capsys.readouterr().err
    assert run(["apply", "spread", data, "-o", "spread.csv"]) == 0, capsys.readouterr().err
    table = (tmp_path / "spread.csv").read_text().splitlines()
    assert (len(table), "spread" in table[0]) == (601, True)


def test_a_domain_without_recipes_has_help(
    tmp_path: Path, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = generate.write(describe("only-probes", "judging", ["probe", "writer"]), tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    make_distribution("repcore-only-probes", module="repcore_only_probes", entry="only-probes")
    registry.refresh()
    assert "judging" in registry.default().domains()
    assert run(["judging", "--help"]) == 0
    told = capsys.readouterr().out
    assert "judging" in told
    assert "train" in told
    assert run(["judging", "train", "--help"]) == 0
    assert "RECIPE" in capsys.readouterr().out
    assert run(["judging", "train"]) == 2
    assert "Traceback" not in (told := capsys.readouterr().err)
    assert "no plugin registers a recipe in domain 'judging'" in told
    assert run(["judging"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert run(["list", "probe", "--domain", "judging"]) == 0
    assert "judging/only-probes-centroid@1" in capsys.readouterr().out
    registry.default.cache_clear()


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
