"""Figures of the house: length of files and functions, import circles, test lines to code lines.

python scripts/house_figures.py
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from import_graph import ROOT, circle, module_graph, packages, room_graph

Lengths = Sequence[int]


def code_lines(text: str) -> int:
    """Lines that are neither empty nor comments."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def function_lengths(text: str) -> Iterator[int]:
    """Lines of every function and method, its docstring included, functions within it not counted twice."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [one for one in ast.walk(node) if one is not node and isinstance(one, type(node))]
            within = sum((one.end_lineno or 0) - one.lineno + 1 for one in inner)
            yield (node.end_lineno or 0) - node.lineno + 1 - within


def percentile(lengths: Lengths, share: float) -> int:
    """The smallest length that so large a share does not exceed (nearest rank)."""
    ordered = sorted(lengths)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def summary(lengths: Lengths) -> str:
    """Count, median, 95th percentile and largest, as cells of a table."""
    return f"{len(lengths)} | {percentile(lengths, 0.5)} | {percentile(lengths, 0.95)} | {max(lengths)}"


def main() -> int:
    """Print the figures; 1 if there is a circle."""
    sources = [path.read_text(encoding="utf-8") for folder in packages() for path in sorted(folder.rglob("*.py"))]
    tests = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]
    print("| lines of | number | median | 95th percentile | largest |\n|---|---|---|---|---|")
    for what, texts in (("package", sources), ("test", tests)):
        print(f"| {what} files | {summary([len(text.splitlines()) for text in texts if text.strip()])} |")
        print(f"| {what} functions | {summary([one for text in texts for one in function_lengths(text)])} |")
    graphs = (graph(folder) for folder in packages() for graph in (module_graph, room_graph))  # rooms are floors, too
    found = [way for graph in graphs if (way := circle(graph))]
    code, tested = (sum(map(code_lines, texts)) for texts in (sources, tests))
    print(f"\nimport circles: {len(found)}\ntest lines to code lines: {tested:,} / {code:,} = {tested / code:.2f}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
