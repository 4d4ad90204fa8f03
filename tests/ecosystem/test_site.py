"""The documentation site: every page is in it, it needs no network, and its search finds things."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import site
from tests.conftest import ROOT

MOST_SECONDS = 120


def pages_of(nav: Any) -> Iterator[str]:
    """Paths in a navigation."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for inner in nav.values():
            yield from pages_of(inner)
    else:
        for inner in nav:
            yield from pages_of(inner)


def test_the_navigation_holds_every_page(tmp_path: Path) -> None:
    site.sources(tmp_path / "pages")
    listed = set(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    pages = tmp_path / "pages"
    there = {str(path.relative_to(pages)) for end in ("md", "ipynb") for path in (pages / "docs").rglob(f"*.{end}")}
    assert not {page for page in listed if not (tmp_path / "pages" / page).is_file()}
    assert not there - listed
    start = (tmp_path / "pages" / "index.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)", start)
    assert len(links) > 8
    assert all((tmp_path / "pages" / link).is_file() for link in links)


def test_the_reference_names_everything_public() -> None:
    import repcore

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)}
    elsewhere = {"RepcoreError", "__version__", "hookimpl"}  # of authors of plugins: docs/reference/hooks.md
    assert set(repcore.__all__) - elsewhere <= shown


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(240)
def test_search_finds_freeze_the_encoder_from_disk(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = site.build(tmp_path / "site")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # processor time
    assert 1 < spent < MOST_SECONDS
    assert "does not exist" not in said
    assert "could not be found" not in said, said
    outside: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: request.url.startswith("http") and outside.append(request.url))
    page.goto((tmp_path / "site" / "index.html").as_uri())
    page.locator("input.md-search__input").wait_for(state="attached")
    page.wait_for_timeout(500)  # the theme listens to keys once its scripts have run
    page.keyboard.press("/")
    page.locator("input.md-search__input").wait_for()
    page.keyboard.type("freeze the encoder")
    found = page.locator("a.md-search-result__link").first
    found.wait_for()
    assert "how-to.html" in str(found.get_attribute("href"))
    page.locator("a.md-search-result__link", has_text="Freeze the encoder").first.click()
    page.wait_for_url("**/how-to.html**")
    assert "finetune.frozen_epochs" in page.content()
    page.goto((tmp_path / "site" / "docs" / "api.html").as_uri())
    assert page.locator("text=push_to_hub").count() > 0
    page.goto((tmp_path / "site" / "docs" / "examples.html").as_uri())
    assert "molecules/selformer" in page.inner_text("article")
    page.close()
    assert not outside
