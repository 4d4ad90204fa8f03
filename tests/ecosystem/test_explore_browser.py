"""The page of ``repcore explore`` in a real browser: points, pictures, lasso, filter, search; nothing from outside."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.errors import DataError, PluginError
from repcore.evaluation.probing import read_rows
from repcore.explore.destinations import Site
from repcore.explore.neighbour_maps import method_for, neighbour_map
from repcore.explore.page import write_explorer
from repcore.explore.rows import DataRequest, Gathered, Origin, from_file, label_columns
from repcore.interfaces import Picture, Sample
from repcore.specs import TargetSpec
from tests.core.test_odd_vectors import COLUMNS, NORMAL, kept
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


@contextmanager
def watched(browser: Any, path: Path) -> Iterator[Any]:
    """A page that says nothing and asks for nothing from outside while it is open."""
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda one: said.append(one.url) if not one.url.startswith(("file:", "data:", "blob:")) else None
    )
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-painted]", state="attached")
    yield page
    assert said == []
    assert page.title() == f"A map {ODD}", "no name became markup"
    page.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page as one file."""
    done = write_explorer(tmp_path / "map.html", drawn(), f"A map {ODD}", render)
    assert (done.points, done.pictures, done.left_out) == (40, 40, 0)
    with watched(browser, tmp_path / "map.html") as page:
        page.wait_for_selector("body[data-pictures]", state="attached")
        yield page


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


def test_keys_alone_select_and_a_button_selects_what_is_shown(opened: Any) -> None:
    opened.fill("#find", "r7")
    opened.focus("#plot")
    opened.keyboard.press(" ")
    assert "1 selected" in opened.inner_text("#state")
    opened.keyboard.press(" ")
    assert opened.inner_text("#state") == ""
    opened.fill("#only", "kind=high")
    opened.focus("#these")
    opened.keyboard.press("Enter")
    assert "20 selected" in opened.inner_text("#state")


def test_a_site_is_looked_at_while_it_is_made(browser: Any, tmp_path: Path) -> None:
    rows, folder = drawn(120), tmp_path / "site"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Site, "finish", lambda self, late: waiting.append((self, late)))
        waiting: list[tuple[Site, Any]] = []
        assert write_explorer(folder, rows, f"A map {ODD}", render, site=True).pictures == 120
    with watched(browser, folder / "index.html") as page:
        assert page.inner_text("#notes") == "Being made: t-SNE, nearest rows, pictures."
        assert page.locator("#map option").all_inner_texts() == ["PCA"]
        page.fill("#find", "r60")
        assert page.locator("#picture svg").count() == 0
        ((site, late),) = waiting
        site.finish(late)
        page.wait_for_selector("#picture svg", state="attached")
        assert page.text_content("#picture text") == "60"
        colour = "getComputedStyle(document.querySelector('#picture svg')).backgroundColor"
        assert page.evaluate(colour) == "rgb(255, 255, 0)"
        assert page.locator("#map option").all_inner_texts() == ["t-SNE", "PCA"]
        assert page.evaluate("document.body.dataset.pictures") == "50", "of a hundred and twenty, one file is loaded"
        assert page.locator("#near li").count() == 10
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match=r"mine\.txt"):
        write_explorer(folder, rows, "again", None, site=True)


def test_a_map_is_there_before_the_rest_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    path = tmp_path / "map.html"
    write_explorer(path, drawn(), "A map", render, begun=lambda what: seen.append(what + path.read_text("utf-8")))
    assert seen[0].startswith("t-SNE, nearest rows, pictures")
    assert "Being made: t-SNE, nearest rows, pictures." in seen[0]
    assert "Being made" not in path.read_text("utf-8")
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(PluginError, match="UMAP") as found:
        write_explorer(path, drawn(), "A map", render, layout="umap")
    assert 'pip install "repcore[umap]"' in str(found.value)
    assert method_for("auto", 6000)[0] == "pca"
    assert 'pip install "repcore[umap]"' in method_for("auto", 6000)[1]


def test_every_column_colours_and_narrows_the_map(browser: Any, tmp_path: Path) -> None:
    file, page_file = kept(tmp_path / "v.parquet", NORMAL, **COLUMNS), tmp_path / "map.html"
    rows = from_file(registry.default(), file, DataRequest())
    write_explorer(page_file, rows, f"A map {ODD}", None)
    with watched(browser, page_file) as page:
        names = page.locator("#colour option").all_inner_texts()
        assert len(names) == len(COLUMNS) + 1
        for place in range(len(names)):
            page.select_option("#colour", index=place)
        page.fill("#find", "i3")
        assert page.locator("#cells dt").count() == len(COLUMNS)
        page.fill("#only", "dates=2020-01-03")
        assert "1 of 24 shown" in page.inner_text("#state")


def test_umap_keeps_what_is_alike_together() -> None:
    pytest.importorskip("umap", reason="the extra repcore[umap] is not installed")
    vectors = drawn(200).vectors
    one, again = (neighbour_map(vectors, "umap", 0) for _ in range(2))
    assert one is not None
    assert again is not None
    np.testing.assert_array_equal(one.points, again.points)
    kind = np.arange(200) % 2
    middle = np.stack([one.points[kind == which].mean(0) for which in (0, 1)])
    assert (np.linalg.norm(one.points[:, None] - middle, axis=2).argmin(1) == kind).mean() > 0.95
    assert neighbour_map(np.ones((30, 4), np.float32), "umap", 0) is None


def test_the_command_draws_a_data_set(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    page = tmp_path / "map.html"
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs", "-o", str(page)]) == 0
    assert "60 points, 60 with a picture" in capsys.readouterr().out
    assert "default-src 'none'" in page.read_text()
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs", "--export", str(tmp_path / "walk")]) == 0
    assert f"open {tmp_path / 'walk' / 'index.html'} in a browser" in capsys.readouterr().out
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs"]) == 2
    assert "--export FOLDER" in capsys.readouterr().err
    assert run(["explore", str(tmp_path / "run"), "pairs/blobs", "-o", str(page)]) != 0
    assert "--overwrite" in capsys.readouterr().err
