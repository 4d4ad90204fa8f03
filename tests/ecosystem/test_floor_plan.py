"""The plan of the house, computed from the sources: no import circles, floors as documented, the same rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts import house_figures, import_graph, reference
from tests.conftest import ROOT

PLUGINS = [one for one in import_graph.packages() if one != import_graph.CORE]
CONTENTS_LINES = 120  # of a table of contents
ROOMS = {
    "checkpoints", "commands", "configs", "datasets", "encoders", "estimators", "examples", "formats", "layers",
    "methods", "objectives", "ops", "preprocessors", "probes", "recipes", "registration", "rendering", "tasks",
    "verification", "views", "writers",
}  # fmt: skip
OWN_ROOMS = {
    "repcore_audio": {"hear.py"},  # the name that the HEAR benchmark imports  # what only one domain knows
    "repcore_graphs": {"importance.py", "tensors.py", "transforms.py"},
    "repcore_medical3d": {"correspondence"},
    "repcore_molecules": {"smiles", "tokenisation"},
    "repcore_pointcloud": {"alignment", "regions", "teachers"},
}
LIGHT = {"_plugin", "registration", "configs", "recipes"}  # read by listing and by showing settings
LIGHT_MAY_IMPORT = {
    "repcore.config", "repcore.errors", "repcore.hooks", "repcore.registration", "repcore.specs",
    "repcore.evaluation.tasks.dense_configs",  # settings, too: those of a domain's own task add to them
}  # fmt: skip


@pytest.mark.parametrize("folder", import_graph.packages(), ids=lambda one: one.name)
def test_no_circle(folder: Path) -> None:
    """Imports inside functions and those for type checkers count."""
    way = import_graph.circle(import_graph.module_graph(folder))
    assert not way, " -> ".join(way)


def test_imports_of_core_run_downwards() -> None:
    way = import_graph.circle(import_graph.room_graph(import_graph.CORE))
    assert not way, " -> ".join(way)
    placed = {room: number for number, rooms in enumerate(floors()) for room in rooms}
    for room, used in import_graph.room_graph(import_graph.CORE).items():
        assert all(placed[one] < placed[room] for one in used), room
    assert (placed["credentials"], placed["untrusted"], placed["errors"]) == (0, 1, 2)
    assert placed["cli"] == max(placed[one] for one in placed if one != "__main__")


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda one: one.name)
def test_imports_between_the_rooms_of_a_plugin_run_downwards(folder: Path) -> None:
    way = import_graph.circle(import_graph.room_graph(folder))
    assert not way, " -> ".join(way)


def floors() -> list[list[str]]:
    return import_graph.floors(import_graph.room_graph(import_graph.CORE))


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda one: one.name)
def test_a_plugin_knows_core_and_itself_only(folder: Path) -> None:
    others = {one.name for one in PLUGINS} - {folder.name}
    for path in folder.rglob("*.py"):
        name = import_graph.module_name(path, folder)
        used = {one.partition(".")[0] for one in import_graph.imported(path, name)}
        assert not used & others, path.relative_to(ROOT)


def test_core_imports_no_plugin() -> None:
    for path in import_graph.CORE.rglob("*.py"):
        used = set(import_graph.imported(path, import_graph.module_name(path, import_graph.CORE)))
        assert not any(one.startswith("repcore_") for one in used), path.relative_to(ROOT)


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda one: one.name)
def test_the_same_rooms_in_every_plugin(folder: Path) -> None:
    found = {path.name for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    expected = ROOMS | OWN_ROOMS.get(folder.name, set()) | {"__init__.py", "_plugin.py"}
    assert not found - expected, f"no room of the plan: {sorted(found - expected)}"
    drawn = [path for path in folder.rglob("render*.py") if "rendering" not in path.relative_to(folder).parts]
    assert not drawn, "what draws lies in rendering/"
    assert not [path for path in folder.rglob("data") if path.is_dir()], "readers lie in datasets/, files in formats/"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda one: one.name)
def test_the_table_of_contents_stays_one(folder: Path) -> None:
    """Short, and what listing imports is data: nothing but core's specs and settings."""
    assert len((folder / "_plugin.py").read_text(encoding="utf-8").splitlines()) <= CONTENTS_LINES
    for path in folder.rglob("*.py"):
        name = import_graph.module_name(path, folder)
        if import_graph.room_of(name) in LIGHT:
            used = {one for one in import_graph.imported(path, name) if one.startswith("repcore.")}
            heavy = {one for one in used if not any(f"{one}.".startswith(f"{may}.") for may in LIGHT_MAY_IMPORT)}
            assert not heavy, f"{path.relative_to(ROOT)} imports {sorted(heavy)}"


def test_floors_are_documented_as_computed() -> None:
    page, make = next((one, make) for one, make in reference.pages().items() if one.name == "architecture.md")
    assert (ROOT / page).read_text(encoding="utf-8") == make(), "run: python scripts/reference.py"
    assert import_graph.floors_table() in make()


# ------------------------------------------------------------------------------------- the reader itself

PLAN = {
    "__init__.py": "",
    "ground.py": "",
    "upper/__init__.py": "",
    "upper/one.py": "from sample import ground\nfrom sample.upper.two import thing\n",
    "upper/two.py": "def late():\n    from sample.attic import more\n",
    "attic.py": '"""Old things. More."""\nimport sample.ground\n',
}


def written(folder: Path, **changed: str) -> Path:
    for name, text in {**PLAN, **{key.replace("__", "/") + ".py": text for key, text in changed.items()}}.items():
        path = folder / "sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "sample"


def test_every_kind_of_import_is_seen(tmp_path: Path) -> None:
    folder = written(tmp_path)
    graph = import_graph.module_graph(folder)
    assert graph["sample.upper.one"] == {"sample.ground", "sample.upper.two"}
    assert graph["sample.upper.two"] == {"sample.attic"}
    assert import_graph.floors(import_graph.room_graph(folder)) == [["ground"], ["attic"], ["upper"]]
    assert "| 1 | `attic.py` | Old things |" in import_graph.floors_table(folder)
    relative = import_graph.module_graph(
        written(tmp_path, upper__one="from .two import thing\nfrom .. import ground\n")
    )
    assert relative["sample.upper.one"] == {"sample.ground", "sample.upper.two"}


@pytest.mark.parametrize(
    "text",
    [
        "from sample.upper import one\n",
        "def late():\n    import sample.upper.one\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sample.upper.one import thing\n",
    ],
)
def test_a_circle_is_seen(text: str, tmp_path: Path) -> None:
    ast.parse(text)
    folder = written(tmp_path, attic=text)
    way = import_graph.circle(import_graph.module_graph(folder))
    assert {"sample.attic", "sample.upper.one", "sample.upper.two"} <= set(way)
    assert import_graph.circle(import_graph.room_graph(folder))


def test_figures_of_the_house(capsys: pytest.CaptureFixture[str]) -> None:
    text = "# note\n\ndef outer():\n    '''Words.'''\n    def inner():\n        return 1\n    return inner\n"
    assert sorted(house_figures.function_lengths(text)) == [2, 3]  # the inner one is not counted twice
    assert house_figures.code_lines(text) == 5
    assert [house_figures.percentile(range(1, 101), share) for share in (0.5, 0.95, 1.0)] == [50, 95, 100]
    assert house_figures.main() == 0
    told = capsys.readouterr().out
    assert "import circles: 0" in told
    functions = next(line for line in told.splitlines() if line.startswith("| package functions"))
    median, most = (int(cell) for cell in functions.split("|")[3:5])
    assert (median <= 12, most <= 40) == (True, True), functions
