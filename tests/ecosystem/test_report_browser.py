"""The report in a real browser: it draws, reacts, shows pictures, and asks the network for nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repcore.interfaces import Picture, Sample
from repcore.report.build import build_report
from tests.toys.toy_pairs import code
from tests.toys.toy_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("toys")]

PATIENCE_MS = 60_000  # two shared cores may be busy
POINTS = "#map-plot path.point"


class Opened:
    """A page with everything that went wrong or out while it was open."""

    def __init__(self, browser: Any, report: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda one: self.problems.append(one.text) if one.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("body[data-pictures]", state="attached")
        self.page.wait_for_selector(POINTS, state="attached")

    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def colours(self) -> list[str]:
        found: list[str] = self.page.eval_on_selector_all(POINTS, "all => all.map(one => getComputedStyle(one).fill)")
        return found

    def hover(self, number: int) -> None:
        self.page.locator("#map-plot").scroll_into_view_if_needed()
        box = self.page.locator(POINTS).nth(number).bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", "dataset.items=120")
    return build_report(tmp_path / "run")


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    opened = Opened(browser, report)
    yield opened
    assert opened.problems == []
    assert opened.outside() == []
    opened.context.close()


def data_of(report: Path) -> dict[str, Any]:
    text = re.search(r'id="report-data">(.*?)</script>', report.read_text(encoding="utf-8"), re.S)
    assert text
    loaded: dict[str, Any] = json.loads(text[1])
    return loaded


def test_every_figure_is_drawn(opened: Opened, report: Path) -> None:
    figures = data_of(report)["figures"]
    assert len(figures) >= 9
    for name, figure in figures.items():
        place = opened.page.locator(f'[data-figure="{name}"]')
        box = place.locator("svg.main-svg").first.bounding_box()
        assert box["width"] > 150
        assert box["height"] > 100
        drawn = place.locator(".trace").count()
        assert drawn == len(figure["data"]), name
    assert opened.page.locator('[data-figure="curve-loss"] .js-line').first.bounding_box()["width"] > 50


def test_map_has_a_point_for_each_item_and_follows_the_menus(opened: Opened, report: Path) -> None:
    data = data_of(report)["map"]
    assert opened.page.locator(POINTS).count() == len(data["ids"]) == 24
    by_class = opened.colours()
    opened.page.select_option("#map-colour", label="item size (tokens, nodes, ...)")
    opened.page.wait_for_selector("#map-plot .colorbar", state="attached")
    by_size = opened.colours()
    assert len(by_size) == len(by_class)
    assert set(by_size) != set(by_class)
    before = opened.page.locator(POINTS).first.get_attribute("transform")
    opened.page.select_option("#map-layout", label="PCA")
    opened.page.wait_for_function(
        "([selector, old]) => document.querySelector(selector).getAttribute('transform') !== old", arg=[POINTS, before]
    )
    assert opened.page.locator(POINTS).count() == len(data["ids"])
    assert "PCA is linear" in opened.page.inner_text("#map-note")


def test_pointing_at_an_item_shows_its_picture_and_labels(opened: Opened, report: Path) -> None:
    assert opened.page.get_attribute("body", "data-pictures") == "24"
    opened.hover(3)
    opened.page.wait_for_selector("#map-picture svg")
    box = opened.page.locator("#map-picture svg").bounding_box()
    assert box["width"] > 20
    assert box["height"] > 20
    shown = opened.page.inner_text("#map-id")
    assert shown in data_of(report)["map"]["ids"]
    assert "kind" in opened.page.inner_text("#map-labels")


def test_texts_of_the_data_stay_texts_when_drawn(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = code.Blobs.__getitem__
    attack = "<img src=x onerror=alert(1)><a href='javascript:alert(2)'>here</a>"
    monkeypatch.setattr(code.Blobs, "__getitem__", lambda self, row: renamed(original(self, row), f"{attack} {row}"))
    make_run(tmp_path / "run")
    opened = Opened(browser, build_report(tmp_path / "run"))
    dialogs: list[str] = []
    opened.page.on("dialog", lambda one: (dialogs.append(one.message), one.dismiss()))
    opened.hover(1)
    opened.page.wait_for_selector("#map-picture svg")
    opened.page.wait_for_selector("#map-plot .hovertext")
    assert opened.page.inner_text("#map-id").startswith(attack)
    assert attack in opened.page.locator("#map-plot .hovertext").first.text_content()
    assert opened.page.locator("img, #map-plot a[href^=javascript]").count() == 0
    assert (dialogs, opened.problems) == ([], [])
    opened.context.close()


def test_interactive_pieces_of_a_renderer_run(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "draw", interactive)
    make_run(tmp_path / "run")
    opened = Opened(browser, build_report(tmp_path / "run"))
    assert opened.page.locator("#neighbours .item .picture svg.main-svg").count() >= 6
    opened.hover(2)
    opened.page.wait_for_selector("#map-picture svg.main-svg", state="attached")
    assert opened.problems == []
    opened.context.close()


def renamed(sample: Sample, name: str) -> Sample:
    return Sample(name, sample.inputs, sample.targets, sample.group, sample.meta)


def interactive(sample: Sample) -> Picture:
    """A piece that draws itself with the page's plotly, as a renderer of points in space would."""
    points = json.dumps(sample.inputs.T.tolist())
    script = (
        "for (const place of document.querySelectorAll('.picture > div:empty'))"
        f" Plotly.newPlot(place, [{{x: {points}[0], y: {points}[1], mode: 'markers'}}]);"
    )
    return Picture(f"<div style='height:120px'></div><script>{script}</script>", "points")


def test_an_item_is_found_by_id_and_stays(opened: Opened, report: Path) -> None:
    wanted = data_of(report)["map"]["ids"][5]
    opened.page.fill("#map-find", wanted)
    opened.page.press("#map-find", "Enter")
    opened.page.wait_for_selector("#map-plot .annotation")
    assert opened.page.inner_text("#map-id") == wanted
    assert wanted in opened.page.locator("#map-plot .annotation").text_content()


def test_neighbours_are_drawn(opened: Opened) -> None:
    drawings = opened.page.locator("#neighbours .item .picture svg")
    assert drawings.count() == 6 * (1 + 5)
    assert all(drawings.nth(number).bounding_box()["width"] > 20 for number in range(0, 36, 7))


def test_loss_axis_becomes_logarithmic(opened: Opened) -> None:
    opened.page.check("#log-loss")
    opened.page.wait_for_function("document.querySelector('[data-figure=\"curve-loss\"]').layout.yaxis.type === 'log'")
    assert opened.page.evaluate("document.querySelector('[data-figure=\"curve-lr\"]').layout.yaxis.type") != "log"


def test_nothing_offers_to_send_data_away(opened: Opened) -> None:
    names = opened.page.eval_on_selector_all(".modebar-btn", "all => all.map(one => one.dataset.title || '')")
    assert names
    assert not [name for name in names if re.search("cloud|share|studio|send", name, re.I)]


@pytest.mark.parametrize("width", [500, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_every_screen(browser: Any, report: Path, width: int, scheme: str) -> None:
    opened = Opened(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    behind, text = opened.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (luminance(behind) < luminance(text)) == (scheme == "dark")
    for selector in ("body", ".caption", ".banner", "nav a", ".card .detail", "thead th"):
        assert contrast(opened, selector) >= 4.5, selector  # WCAG 2 level AA for text
    assert opened.problems == []
    opened.context.close()


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(opened: Opened, selector: str) -> float:
    """Contrast of text against the nearest background that is not transparent."""
    text, behind = opened.page.locator(selector).first.evaluate(
        """one => {
            let place = one, behind = getComputedStyle(place).backgroundColor;
            while (/, 0\\)$/.test(behind) && place.parentElement) {
                place = place.parentElement;
                behind = getComputedStyle(place).backgroundColor;
            }
            return [getComputedStyle(one).color, behind];
        }"""
    )
    high, low = sorted((luminance(text), luminance(behind)), reverse=True)
    return (high + 0.05) / (low + 0.05)
