"""Run the sources in docs/notebooks and write each as a notebook with what it gave: ``make notebooks``.

The sources are what people edit: Python in cells (``# %%``), as editors and jupytext know them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
SECONDS_A_CELL = 300
OF_A_MACHINE = ("execution", "language_info", "kernelspec", "jupytext")  # metadata that differ from machine to machine


def made(source: Path) -> str:
    """The text of the notebook that a source becomes, executed in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random otherwise: a notebook made again would differ everywhere
    os.environ["PYTHONWARNINGS"] = "ignore"  # of libraries, in the kernel
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": empty}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
    for name in OF_A_MACHINE:
        notebook.metadata.pop(name, None)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return re.sub(r"0x[0-9a-f]{8,}", "0x...", nbformat.writes(notebook)) + "\n"


def main() -> None:
    """Write the notebooks named on the command line, or all."""
    for source in [FOLDER / f"{name}.py" for name in sys.argv[1:]] or sorted(FOLDER.glob("*.py")):
        started = time.perf_counter()
        source.with_suffix(".ipynb").write_text(made(source), encoding="utf-8")
        print(f"notebooks: {source.stem} ({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
