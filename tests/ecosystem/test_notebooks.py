"""The notebooks in docs/notebooks: their sources run, and what is stored of them is what they say today."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from repcore import registry
from tests.conftest import ROOT

SOURCES = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
NAMES = [path.stem for path in SOURCES]


def code_cells(source: Path) -> list[str]:
    """Python of the cells of a source."""
    jupytext = pytest.importorskip("jupytext", reason="pip install jupytext")
    return [str(cell.source) for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns what a notebook would show below it."""
    *body, last = ast.parse(cell).body
    is_shown = isinstance(last, ast.Expr)
    exec(compile(ast.Module(body if is_shown else [*body, last], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_stored_notebook_is_its_source_with_outputs(source: Path) -> None:
    stored = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [one for one in stored if one["cell_type"] == "code"]
    assert ["".join(one["source"]) for one in cells] == code_cells(source), "make notebooks"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 3
    assert {one["output_type"] for one in outputs} == {"execute_result"}
    pages = ["".join(one["data"].get("text/html", "")) for one in outputs]
    assert sum(page.count('role="img"') for page in pages) >= 4, "rows are drawn"
    assert "<script" not in "".join(pages).lower()


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_notebook_runs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if source.stem not in registry.default().domains():
        pytest.skip(f"the plugin {source.stem} is not installed")
    monkeypatch.chdir(tmp_path)
    stored = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"][-1]["outputs"][-1]
    names: dict[str, Any] = {"__name__": "__main__"}
    last = [shown(cell, names) for cell in code_cells(source)][-1]
    assert repr(last) == "".join(stored["data"]["text/plain"])
