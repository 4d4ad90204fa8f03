"""The page about exports says what was measured, neither more nor less."""

from __future__ import annotations

import re

from repcore.embedding.export_program import TOLERANCE
from tests.conftest import ROOT


def rows_of(path: str) -> dict[str, list[str]]:
    """Cells of a page's table by encoder."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \w+/", line)]
    return {row[0]: row[1:] for row in cells}


def test_the_page_tells_what_was_measured() -> None:
    page, measured = rows_of("docs/exports.md"), rows_of("benchmarks/results/exports.md")
    assert page.keys() == measured.keys()
    for name, results in measured.items():
        for said, found in zip(page[name][:4], results, strict=True):
            if found == "not measured":
                assert said == found, name
                continue
            if found.startswith("no"):
                assert said == "no", name
                continue
            error = re.search(r"error (\S+),", found)
            assert error is not None
            assert said == ("one at a time, " if "one item" in found else "yes, ") + error[1], name
            assert float(error[1]) <= TOLERANCE
