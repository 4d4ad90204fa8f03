"""Every page that is written passes axe-core in a real browser: names and roles, keyboard, contrast, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repcore.cli.main import run
from tests.toys.toy_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("toys")]
PATIENCE_MS = 60_000
DARK_PAGES = ("report.html", "map.html", "findings.html")  # one of each style sheet
WITHOUT_CURVES = {"exclude": [[".main-svg"]]}  # thousands of plotly's own nodes; their words stand beside them
RULES = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}  # the rest is the same in both
PAGES = ("report.html", "overlay.html", "map.html", "hits.html", "findings.html", "compare.html")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def written(folder: Path) -> Path:
    """All pages of one toy run, made once."""
    if (folder / "compare.html").is_file():
        return folder
    one, other, data = str(folder / "one"), str(folder / "other"), "pairs/blobs"
    make_run(folder / "one")
    make_run(folder / "other", "trainer.seed=4")
    for command in (
        ["report", "one", "--out", str(folder)],
        ["report", "one", "other", "--out", str(folder), "-o", str(folder / "overlay.html")],
        ["explore", one, data, "-o", str(folder / "map.html")],
        ["index", one, data, "-o", str(folder / "blobs.index")],
        ["search", str(folder / "blobs.index"), "blob-4", "-o", str(folder / "hits.html")],
        ["audit", one, data, "--label", "kind", "-o", str(folder / "f.csv"), "--page", str(folder / "findings.html")],
        ["compare", one, other, data, "--label", "kind", "--seeds", "1", "-o", str(folder / "compare.html")],
    ):
        assert run(command) == 0, command
    (folder / "one" / "report.html").rename(folder / "report.html")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, pages: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    folder = written(pages)
    context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme=scheme)
    found: list[str] = []
    for name in PAGES if scheme == "light" else DARK_PAGES:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto((folder / name).as_uri())
        if name == "map.html":
            page.wait_for_selector("body[data-pictures][data-painted]", state="attached")
            page.select_option("#colour", label="kind")
            page.fill("#find", "blob-7")
        elif name in ("report.html", "overlay.html"):
            page.wait_for_selector("[data-figure] svg.main-svg")
        behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (behind == "rgb(255, 255, 255)") == (scheme == "light"), name
        for one in axe.Axe().run(page, WITHOUT_CURVES, RULES[scheme]).response["violations"]:
            places = "; ".join(str(node["html"])[:160] for node in one["nodes"][:3])
            found.append(f"{name}: {one['id']} ({one['impact']}), {len(one['nodes'])} x {places}")
        page.close()
    context.close()
    assert not found, "\n".join(found)
