"""The report of a run: what it says, that it is complete and self-contained, and that missing parts never break it."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore import registry
from repcore.errors import RunError
from repcore.interfaces import Picture, Sample
from repcore.report import findings
from repcore.report.build import build_report
from repcore.report.collect import collect
from repcore.report.figures import curves, diagnostic_figures, thinned
from repcore.report.held_out import held_out
from repcore.report.map import colourings
from repcore.report.pictures import Artist, pack_pictures
from repcore.report.settings import next_commands, settings
from tests.core.report_pages import data_of, page_of
from tests.toys.toy_run import HOSTILE, make_run, write, write_lines

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    make_run(folder)
    return folder


def without_plotly(page: str) -> str:
    """The page without its first script, which is plotly.js."""
    start = page.index("<script nonce=")
    return page[:start] + page[page.index("</script>", start) + len("</script>") :]


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', page, re.S)
    return found[0] if found else ""


# ------------------------------------------------------------------------------------------------ whole page


def test_page_holds_every_part_of_a_run(run: Path) -> None:
    page = page_of(run)
    assert "pairs/set-net (tiny)" in page
    assert "Validation loss fell from 4 before training to 1 (−75 %), better than the baseline" in page
    assert "The representation of held-out items gives cause for concern: items move together" in html.unescape(page)
    assert "Frozen features are clearly better than those of the untrained encoder in 1 of 1 probes." in page
    assert "proves nothing about your data" in html.unescape(page)
    figures = set(data_of(page)["figures"])
    assert figures >= {"curve-loss", "curve-contrast", "curve-lr", "curve-grad_norm", "curve-items_per_second"}
    assert figures >= {"curve-data_wait_share", "diagnostic-std", "diagnostic-rankme-centred", "similarity"}
    assert "trainer.steps" in section(page, "settings")
    assert "command line" in section(page, "settings")
    assert "giant" in section(page, "settings")
    assert "linear@1: trained is better than random-init on all 2 seeds" in section(page, "probes")
    assert "0.850 ± 0.010" in section(page, "probes")


def test_every_drawing_has_a_place_and_words(run: Path) -> None:
    page = page_of(run)
    for name in data_of(page)["figures"]:
        place = re.search(rf'data-figure="{name}" role="group" aria-label="([^"]+)"', page)
        assert place, name
        assert any(letter.isdigit() for letter in place[1])


def test_page_needs_nothing_from_outside(run: Path) -> None:
    page = page_of(run)
    own = without_plotly(page)
    assert page.count("plotly.js v") == 1
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", own)
    assert not re.search(r"https?://[^\"'\s]*cdn", page)
    assert "cloud.plotly.com" not in page
    assert "default-src 'none'" in own
    assert len(page) < 8_000_000


def test_texts_from_data_are_escaped(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["preset"] = HOSTILE
    write(run / "config.json", config)
    write(
        run / "probes" / "x.json",
        {"entries": [{"features": HOSTILE, "probe": HOSTILE, "metric": "accuracy", "mean": 1}]},
    )
    page = page_of(run)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 4


def test_ids_cannot_close_the_data_script() -> None:
    from repcore.report.build import _templates

    text = _templates().from_string("{{ data | tojson }}").render(data={"id": "</script><b>"})
    assert "</script>" not in text
    assert json.loads(text) == {"id": "</script><b>"}


def test_rebuilding_gives_the_same_page(run: Path) -> None:
    first = page_of(run)
    again = page_of(run)
    stamp = re.compile(r"Written [^ ]+ [^ ]+ UTC")
    assert stamp.sub("", first) == stamp.sub("", again)


# ------------------------------------------------------------------------------------------------ missing parts


@pytest.mark.parametrize(
    "name",
    ["origin.json", "environment.json", "metrics.jsonl", "diagnostics.jsonl", "rejected.jsonl", "probes", "model"],
)
def test_any_part_may_be_missing(run: Path, name: str) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    words = {
        "environment.json": "Not recorded.",
        "metrics.jsonl": "No metrics were recorded.",
        "diagnostics.jsonl": "No diagnostics were recorded",
        "model": "This run is not finished: 30 of 10 steps are recorded and no model was exported.",
    }
    assert words.get(name, "What next") in page
    for gone, anchor in (("rejected.jsonl", 'id="rejected"'), ("probes", 'id="probes"'), ("model", 'id="map-plot"')):
        assert (anchor in page) == (gone != name)


def test_interrupted_run_names_the_command_that_goes_on(run: Path) -> None:
    shutil.rmtree(run / "model")
    assert f"repcore pairs train --resume {run}" in page_of(run)


def test_settings_alone_are_enough(tmp_path: Path, run: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "config.json", bare)
    page = page_of(bare)
    assert "There is no curve of the loss." in page
    assert "no model was exported" in page


def test_unknown_plugin_leaves_a_report_without_pictures(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["recipe"], config["dataset"]["name"] = "nowhere/x", "nowhere/data"
    write(run / "config.json", config)
    page = page_of(run)
    assert "Held-out items could not be embedded" in page
    assert "nowhere/data" in page
    assert 'class="item query"' not in page
    assert "curve-loss" in page


def test_failing_plugin_code_costs_only_its_part(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.toys.toy_pairs import code

    def fail(self: object, index: int) -> Sample:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(code.Blobs, "__getitem__", fail)
    assert "ZeroDivisionError: boom" in page_of(run)


def test_failing_renderer_leaves_items_without_pictures(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.toys.toy_pairs import code

    def fail(sample: Sample) -> Picture:
        raise ValueError("no ink")

    monkeypatch.setattr(code, "draw", fail)
    page = page_of(run)
    told = [record for record in caplog.records if "cannot be drawn" in record.getMessage()]
    assert len(told) == 1  # of all that cannot
    undrawn = re.search(r"(\d+) items could not be drawn, the first: ValueError: no ink", page)
    assert undrawn is not None
    assert int(undrawn[1]) == len(data_of(page)["map"]["ids"]) > 1
    assert 'class="item query"' in page
    assert "<circle" not in section(page, "neighbours")


def test_unreadable_rows_are_counted(tmp_path: Path) -> None:
    parts = make_run(tmp_path / "run")
    broken = ",".join(str(int(row)) for row in parts.validation[:2])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["dataset"]["broken"] = [int(row) for row in broken.split(",")]
    write(tmp_path / "run" / "config.json", config)
    page = page_of(tmp_path / "run")
    assert f"2 of {len(parts.validation)} rows could not be embedded, first:" in page
    assert "The data have changed since the run began" in page  # the toy's fingerprint covers its settings


def test_run_without_validation_rows_shows_training_rows(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "data.validation_share=0")
    page = page_of(tmp_path / "run")
    assert "these are rows it was trained on" in page
    assert len(data_of(page)["map"]["ids"]) == 60


def test_what_is_said_without_diagnostics_is_what_the_run_held_out(run: Path) -> None:
    (run / "diagnostics.jsonl").unlink()
    environment = json.loads((run / "environment.json").read_text())
    for held, words in ((0, "the run held no rows out"), (1, "one row was held out"), (7, "though 7 rows were held")):
        write(run / "environment.json", {**environment, "rows": {**environment["rows"], "validation": held}})
        record = collect(run)
        assert words in findings.why_no_diagnostics(record)
        assert words in findings.verdict_sentence(record)
        assert f"{held} held out" in [one.detail for one in findings.cards(record, None)]
    assert "though 7 rows were held out" in section(page_of(run), "diagnostics")


def test_the_network_before_the_first_step_is_not_the_best(run: Path) -> None:
    lines = [{"step": step, "split": "validation", "loss": loss} for step, loss in ((0, 1.0), (10, 3.0), (20, 4.0))]
    write_lines(run / "metrics.jsonl", lines)
    card = findings.cards(collect(run), None)[0]
    assert (card.value, card.detail) == ("4", "from 1 at step 0; best 3 at 10")
    write(run / "trained.json", {"kept_step": 10})
    card = findings.cards(collect(run), None)[0]
    assert (card.value, card.detail) == ("3", "from 1 at step 0; weights of step 10 are kept; 4 at the last, 20")


def test_data_without_labels_or_renderer(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    record = collect(tmp_path / "run")
    found = held_out(record, registry.default())
    found.labels, found.render = [], None
    names = [one.name for one in colourings(found)]
    assert names == ["item size (tokens, nodes, ...)", "length of the vector"]
    assert pack_pictures(Artist(found), range(len(found))).count == 0


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\x00\x01"])
def test_damaged_files_are_named(run: Path, content: str) -> None:
    (run / "environment.json").write_text(content)
    assert "Files that could not be read: environment.json" in page_of(run)


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        build_report(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        build_report(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------------ values


def test_curves_leave_out_terms_that_are_the_total_and_values_that_are_not_finite(run: Path) -> None:
    lines = [json.loads(line) | {"same": json.loads(line)["loss"]} for line in (run / "metrics.jsonl").open()]
    write_lines(run / "metrics.jsonl", [line for line in lines if line["loss"] == line["loss"]])
    figures = {figure.name: figure for figure in curves(collect(run))}
    assert "curve-same" not in figures
    write_lines(run / "metrics.jsonl", lines)
    loss = {figure.name: figure for figure in curves(collect(run))}["curve-loss"]
    by_role: Mapping[str, Any] = {trace["meta"]["role"]: trace for trace in loss.spec["data"]}
    assert by_role["train"]["x"] == [5, 10, 20, 25, 30]  # step 15 is NaN
    assert by_role["validation"]["y"][0] == 4.0
    assert by_role["reference"]["y"] == [3.0, 3.0]
    assert "falls from 4 at step 0 to 1 at step 30" in loss.alt


def test_long_curves_are_averaged() -> None:
    steps = [float(step) for step in range(8000)]
    x, y = thinned((steps, steps))
    assert len(x) == 2000
    assert x[-1] == 7999.0
    assert np.mean(y) == pytest.approx(np.mean(steps))  # four points each


def test_zones_follow_the_thresholds_of_the_verdict(run: Path) -> None:
    record = collect(run)
    figure = diagnostic_figures(record, ["std"])[0]
    zones = {shape["name"]: (shape["y0"], shape["y1"]) for shape in figure.spec["layout"]["shapes"]}
    assert zones == {"warning": (0.125, 0.25), "collapsed": (0.0, 0.125)}  # 0.5 and 0.25 of 0.5 at step 0
    assert diagnostic_figures(record, ["alpha-req"]) == []  # never finite


def test_rising_loss_is_said(run: Path) -> None:
    write_lines(run / "metrics.jsonl", [{"step": s, "split": "validation", "loss": 1.0 + s} for s in (0, 1)])
    sentence = findings.verdict_sentence(collect(run))
    assert "Validation loss rose from 1 before training to 2 (+100 %)" in sentence


def test_settings_carry_their_origin(run: Path) -> None:
    by_path = {one.path: one for one in settings(collect(run))}
    assert by_path["trainer.steps"].origin == "command line"
    assert by_path["trainer.seed"].origin == "default"
    assert by_path["encoder.width"].value == "16"


def test_commands_use_the_users_own_data(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["path"] = "my data.csv"
    write(run / "config.json", config)
    monkeypatch.chdir(run.parent)
    lines = [one.line for one in next_commands(collect(run))]
    assert "repcore embed run/model 'my data.csv' -o embeddings.parquet" in lines
    assert "repcore probe run/model --data 'my data.csv'" in lines
    assert "repcore report run" in lines


def test_commands_quote_what_a_received_run_says(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    write(run / "config.json", {**config, "recipe": "x; touch a/y$(touch b)", "dataset": {"path": "`touch c`"}})
    for one in next_commands(collect(run)):
        words = shlex.split(one.line)
        assert not {word for word in words if word.startswith("touch") or word in (";", "y$(touch", "b)")}, words
        assert "$(touch b)" not in one.line or "'y$(touch b)'" in one.line
        assert "`" not in one.line.replace("'`touch c`'", "")


def test_fine_tuning_run_shows_its_scores(run: Path) -> None:
    write(run / "finetune.json", {"start": "trained", "seed": 0, "test": {"accuracy": 0.75}})
    page = page_of(run)
    assert '<td class="n">0.75</td>' in section(page, "probes")
    assert "fine-tuned a model on labels" in page
    assert "fewer than three items" not in page


def test_fine_tuning_run_shows_networks_and_predictions(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"train": 8, "validation": 1, "test": 30}
    parts = [
        {"start": "model", "seed": 0, "rows": rows, "test": {"rmse": 0.5}},
        {"start": "random", "seed": 0, "rows": rows, "test": {"rmse": 1.25}},
    ]
    request = {"data": "my.csv", "folds": None, "overrides": ["trainer.epochs=3"]}
    write(run / "finetune.json", {"verdict": "no clear <difference>", "parts": parts, "request": request})
    count = 30
    table = {"id": [f"m{i}" for i in range(count)], "status": ["ok"] * count, "reason": [""] * count,
             "y": [float(i) for i in range(count)], "label:y": [None, *[0.5] * (count - 1)]}  # fmt: skip
    (run / "predictions").mkdir()
    pq.write_table(pa.table(table), run / "predictions" / "test.parquet")
    page = section(page_of(run), "probes")
    assert "no clear &lt;difference&gt;" in page
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", page)
    at = cells.index("pre-trained")
    assert cells[at : at + 4] == ["pre-trained", "0", "8 / 1 / 30", "0.5"]
    assert cells[at + 4 : at + 8] == ["random", "0", "8 / 1 / 30", "1.25"]
    assert "the first 20 of 30 test rows" in page
    assert cells[cells.index("m0") : cells.index("m0") + 6] == ["m0", "0", "", "m1", "1", "0.5"]
    assert "m20" not in cells
    assert "my.csv" in cells
    assert "folds" not in cells
    monkeypatch.chdir(run.parent)
    assert next_commands(collect(run))[0].line == "repcore predict run DATA -o predictions.csv"
    (run / "predictions" / "test.parquet").write_bytes(b"no parquet")
    assert "m1" not in re.findall(r">([^<]*)<", section(page_of(run), "probes"))
