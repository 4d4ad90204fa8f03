"""The page of ``repcore explore`` in a real browser: points, pictures, lasso, filter, search; nothing from outside."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.evaluation.probing import read_rows
from repcore.explore.page import write_explorer
from repcore.explore.rows import Gathered, Origin, label_columns
from repcore.interfaces import Picture, Sample
from repcore.specs import TargetSpec
from tests.toys.toy_run import make_run

pytestmark = pytest.mark.browser
PATIENCE_MS = 60_000
ODD = "</script><script>document.title='owned'</script> \"'\u2028,"


class Drawn:
    """Rows of two kinds; the one named ``ODD`` has a name that is markup."""

    targets = (TargetSpec("kind", "class", names=("<b>low</b>", "high")),)
    splits = {"train": [0, 1], "test": [2]}  # noqa: RUF012
    fingerprint = "drawn"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample(ODD if index == 5 else f"r{index}", index, {"kind": index % 2})


def drawn(count: int = 40) -> Gathered:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(count, 8)).astype(np.float32)
    vectors[:, 0] += 12.0 * (np.arange(count) % 2)
    vectors[7] = vectors[9] + 1e-4  # a planted near copy
    labelled = read_rows(Drawn(count))  # type: ignore[arg-type]
    origin = Origin(encoder="pairs/set-net")
    return Gathered(
        labelled.ids, vectors, [""] * count, label_columns(labelled), origin, labelled, np.arange(count)
    )  # fmt: skip


def render(sample: Sample) -> Picture:
    return Picture(f'<svg viewBox="0 0 9 9" style="background: #ff0"><text>{sample.inputs}</text></svg>', "a number")


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page, with all that was said or asked for while it was open."""
    done = write_explorer(tmp_path / "map.html", drawn(), f"A map {ODD}", render)
    assert (done.points, done.pictures, done.left_out) == (40, 40, 0)
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda one: said.append(one.url) if not one.url.startswith(("file:", "data:", "blob:")) else None
    )
    page.goto((tmp_path / "map.html").as_uri())
    page.wait_for_selector("body[data-pictures][data-painted]", state="attached")
    yield page
    assert said == []
    assert page.title() == f"A map {ODD}", "no name became markup"
    page.close()


def test_a_point_shows_its_item_and_names_are_inert(opened: Any) -> None:
    opened.fill("#find", "r7")
    assert opened.inner_text("#name") == "r7"
    assert opened.text_content("#picture text") == "7"
    assert (
        opened.evaluate("getComputedStyle(document.querySelector('#picture svg')).backgroundColor")
        == "rgb(255, 255, 0)"
    )
    assert opened.inner_text("#near li").startswith("r9 (1.000"), "the planted near copy"
    opened.click("#near li button")
    assert opened.inner_text("#name") == "r9"
    opened.fill("#find", "</script>")
    assert opened.evaluate("document.getElementById('name').textContent") == ODD
    assert "<b>low</b>" in opened.inner_text("#legend")
    ink = "getComputedStyle(document.querySelector('{}')).color"
    assert opened.evaluate(ink.format("#legend button")) == opened.evaluate(ink.format("h1")), "names can be read"
    opened.focus("#plot")
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.getElementById('name').textContent") != ODD


def test_a_lasso_writes_ids_and_a_filter_narrows_it(opened: Any, tmp_path: Path) -> None:
    opened.fill("#only", "kind=high")
    assert "20 of 40 shown" in opened.inner_text("#state")
    opened.click("#lasso")
    box = opened.locator("#plot").bounding_box()
    corners = [(2, 2), (box["width"] - 2, 2), (box["width"] - 2, box["height"] - 2), (2, box["height"] - 2), (2, 2)]
    opened.mouse.move(box["x"] + 2, box["y"] + 2)
    opened.mouse.down()
    for x, y in corners[1:]:
        opened.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    opened.mouse.up()
    assert "20 selected" in opened.inner_text("#state")
    with opened.expect_download() as saved:
        opened.click("#save")
    saved.value.save_as(tmp_path / "ids.csv")
    with (tmp_path / "ids.csv").open(newline="", encoding="utf-8") as file:
        found = [one["id"] for one in csv.DictReader(file)]
    assert found == [ODD if row == 5 else f"r{row}" for row in range(1, 40, 2)]
    opened.fill("#only", "knid=high")
    assert "no such column: kind, split" in opened.inner_text("#state")


def test_the_command_draws_a_data_set(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    page = tmp_path / "map.html"
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs", "-o", str(page)]) == 0
    assert "60 points, 60 with a picture" in capsys.readouterr().out
    assert "default-src 'none'" in page.read_text()
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs", "-o", str(page)]) != 0
    assert "--overwrite" in capsys.readouterr().err
