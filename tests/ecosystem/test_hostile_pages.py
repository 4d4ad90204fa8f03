"""A real report and a real explore page of data in which every text is an attack: nothing runs, nothing is markup, and
no terminal sees a control character."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.evaluation.probing import read_rows
from repcore.explore.page import write_explorer
from repcore.explore.rows import Gathered, Origin, label_columns
from repcore.interfaces import Picture, Sample
from repcore.report.build import build_report
from repcore.specs import TargetSpec
from repcore.untrusted import printable
from tests.toys.toy_pairs import code
from tests.toys.toy_run import make_run, write, write_lines

OWNED = "document.title='owned'"
ATTACKS = (
    f"</script><script>{OWNED}</script>",
    f"<img src=x onerror=\"{OWNED}\">",
    f"javascript:{OWNED}",
    f"data:text/html,<script>{OWNED}</script>",
    f"\"' autofocus onfocus={OWNED} x='",
    f"<!--<script>{OWNED}//--><svg/onload={OWNED}>",
    f"{{{{ 7*7 }}}}{{% raw %}}<style>*{{display:none}}</style>{OWNED}",
    "\u202etxt.exe\u202c \u2066isolated\u2069 \u200fmark",
    "zero \x00 escape \x1b[2J\x1b]0;owned\x07 bell \x9b31m",
    "lines \u2028 and \u2029 and \ufeff",
    "long " + "w" * 2**20,
)  # fmt: skip
CONTROLS = "".join(ATTACKS[7:10])
ALLOWED = {"button", "input", "select", "option", "canvas", "svg", "path", "text"}
RUNNING = ("javascript:", "vbscript:", "data:text")
ADDRESSES = ("href", "src", "action", "formaction", "xlink:href", "srcdoc")


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of every script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self._inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append((found, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)


def check_nothing_runs(text: str) -> None:
    """Scripts are the page's own (its nonce) or data; no handler, no address that runs, no element out of a text."""
    page = Page(text)
    nonces = {found["nonce"] for found, _ in page.scripts if "nonce" in found}
    assert len(nonces) == 1
    for found, script in page.scripts:
        if found.get("type") == "text/plain":  # packed pictures
            assert set(found) == {"type", "id"}
        elif found.get("type") == "application/json":
            json.loads(script)
        else:
            assert found.get("nonce") in nonces
            assert OWNED not in script
    for tag, found in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert not [name for name in found if name.startswith("on")], (tag, found)
        for name in ADDRESSES:
            assert not found.get(name, "").strip().lower().startswith(RUNNING), (tag, found[name][:80])
    assert not [found for tag, found in page.elements if tag == "img" and found.get("src") == "x"]
    assert "\x00" not in text


def attack(number: int) -> str:
    return f"{ATTACKS[number % len(ATTACKS)]} {number}"


def hostile_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose rows, settings, records and pictures somebody else has written."""
    original = code.Blobs.__getitem__

    def item(self: code.Blobs, row: int) -> Sample:
        sample = original(self, row)
        return Sample(attack(row), sample.inputs, sample.targets, sample.group, sample.meta)

    monkeypatch.setattr(code.Blobs, "__getitem__", item)
    made = folder / "run <b>\u202e"
    make_run(made)
    everything = "".join(ATTACKS[:-1])
    config = json.loads((made / "config.json").read_text())
    config["preset"], config["dataset"]["path"], config[attack(0)] = everything, ATTACKS[2], {attack(1): everything}
    write(made / "config.json", config)
    write(made / "origin.json", {"trainer.steps": everything, attack(2): ATTACKS[0]})
    environment = json.loads((made / "environment.json").read_text())
    environment |= {"command": list(ATTACKS), "versions": {attack(3): everything}, "plugins": {ATTACKS[0]: ATTACKS[1]}}
    environment |= {"teachers": [{"name": everything, "sha256": ATTACKS[1]}], "ops": {ATTACKS[0]: everything}}
    write(made / "environment.json", environment)
    write_lines(made / "rejected.jsonl", [{"row": 7, "status": one, "reason": one} for one in ATTACKS])
    lines = [{"step": step, "split": "train", "loss": 1.0, "lr": 1e-3, **{one[:60]: 2.0 for one in ATTACKS[:-1]}}
             for step in range(1, 4)]  # fmt: skip
    write_lines(made / "metrics.jsonl", lines)
    (made / "pictures.jsonl").write_text(
        "".join(json.dumps({"row": one, "title": one, "html": f"<p>{one}</p><a href='{ATTACKS[2]}'>x</a>"}) + "\n"
                for one in ATTACKS)
    )  # fmt: skip
    entry = {"features": everything, "probe": ATTACKS[0], "metric": "accuracy", "mean": 1}
    write(made / "probes" / "x.json", {"data": ATTACKS[2], "table": {"entries": [entry]}})
    return made


class Rows:
    """Rows whose ids, classes and texts are attacks."""

    targets = (TargetSpec("kind", "class", names=ATTACKS), TargetSpec(ATTACKS[0], "class", names=ATTACKS[:2]))
    splits = {"train": list(range(24)), ATTACKS[1]: [24, 25]}  # noqa: RUF012
    fingerprint = ATTACKS[0]

    def __len__(self) -> int:
        return 26

    def __getitem__(self, index: int) -> Sample:
        return Sample(attack(index), index, {"kind": index % len(ATTACKS), ATTACKS[0]: index % 2})


def hostile_map(path: Path) -> Path:
    labelled = read_rows(Rows())  # type: ignore[arg-type]
    vectors = np.random.default_rng(0).normal(size=(26, 8)).astype(np.float32)
    origin = Origin(encoder=ATTACKS[0])
    rows = Gathered(labelled.ids, vectors, [""] * 26, label_columns(labelled), origin, labelled, np.arange(26))

    def render(sample: Sample) -> Picture:
        if sample.inputs == 3:
            raise ValueError("".join(ATTACKS))
        words = html.escape("".join(ATTACKS[:10]).replace("\x00", ""))  # as installed renderers write texts
        return Picture(f"<svg viewBox='0 0 9 9'><text>{words}</text></svg>", attack(sample.inputs))

    assert write_explorer(path, rows, "".join(ATTACKS), render).points == 26
    return path


@pytest.mark.usefixtures("toys")
def test_a_report_of_attacks_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = build_report(hostile_run(tmp_path, monkeypatch)).read_text(encoding="utf-8")
    check_nothing_runs(page)
    assert "&lt;/script&gt;&lt;script&gt;document.title=" in page, "the texts are there, as texts"


def test_an_explore_page_of_attacks_runs_nothing(tmp_path: Path) -> None:
    page = hostile_map(tmp_path / "map.html").read_text(encoding="utf-8")
    check_nothing_runs(page)
    assert "\\u003c/script\\u003e\\u003cscript\\u003e" in page


@pytest.mark.usefixtures("toys")
def test_no_control_character_reaches_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hostile_run(tmp_path, monkeypatch)
    for words in (
        ["report", str(folder)],
        ["explore", str(folder), "pairs/blobs", "-o", str(tmp_path / "m\u202e\x1b[2J.html")],
        ["show", CONTROLS.replace("\x00", "")],
    ):
        run(words)
        said = "".join(capsys.readouterr())
        assert said
        assert printable(said) == said, words[0]
        assert max(map(len, said.splitlines())) <= 5000, words[0]


@pytest.fixture(params=["explore", "report"])
def opened(
    request: pytest.FixtureRequest, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None
) -> Iterator[tuple[str, Any, list[str]]]:
    if request.param == "report":
        path, ready = build_report(hostile_run(tmp_path, monkeypatch)), "body[data-pictures]"
    else:
        path, ready = hostile_map(tmp_path / "map.html"), "body[data-pictures][data-painted]"
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("dialog", lambda one: (said.append(f"dialog {one.message}"), one.dismiss()))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda one: said.append(one.text[:300]) if one.type in ("error", "warning") else None)
    page.on(
        "request",
        lambda one: said.append(one.url[:300]) if not one.url.startswith(("file:", "data:image", "blob:")) else None,
    )
    page.goto(path.as_uri())
    page.wait_for_selector(ready, state="attached")
    yield request.param, page, said
    page.close()


@pytest.mark.browser
def test_a_browser_runs_nothing_of_it(opened: tuple[str, Any, list[str]]) -> None:
    kind, page, said = opened
    for number in (0, 1, 2, 7, 8) if kind == "explore" else ():
        page.fill("#find", attack(number)[:200])
    handlers = "all => all.filter(one => one.getAttributeNames().some(name => name.startsWith('on'))).length"
    assert page.eval_on_selector_all("body *", handlers) == 0
    assert page.locator("a[href^=javascript], iframe, object, embed, img[src=x]").count() == 0
    assert page.evaluate("document.title") != "owned"
    assert page.evaluate("getComputedStyle(document.body).display") != "none"
    assert said == []
