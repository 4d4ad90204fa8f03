"""The report of a run: what it says, that it is complete and self-contained, and that missing parts never break it."""

from __future__ import annotations

import base64
import gzip
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
from sklearn.metrics import pairwise_distances

from repcore import registry
from repcore.errors import ItemError, RunError
from repcore.interfaces import Picture, Sample
from repcore.report import findings
from repcore.report.build import build_report
from repcore.report.collect import collect
from repcore.report.figures import curves, diagnostic_figures, thinned
from repcore.report.held_out import HeldOut, held_out, source_rows
from repcore.report.map import MOST_CLASSES, colourings, layouts
from repcore.report.neighbours import neighbourhood
from repcore.report.pictures import Artist, pack_pictures
from repcore.report.settings import next_commands, settings
from repcore.specs import TargetSpec
from tests.toys.toy_run import HOSTILE, make_run, write, write_lines

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    make_run(folder)
    return folder


def page_of(folder: Path) -> str:
    return build_report(folder).read_text(encoding="utf-8")


def without_plotly(page: str) -> str:
    """The page without its first script, which is plotly.js."""
    start = page.index("<script nonce=")
    return page[:start] + page[page.index("</script>", start) + len("</script>") :]


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)
    assert found
    loaded: dict[str, Any] = json.loads(found[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    return loaded


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
        place = re.search(rf'data-figure="{name}" role="img" aria-label="([^"]+)"', page)
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


def test_map_holds_every_held_out_row_with_its_own_label(tmp_path: Path) -> None:
    parts = make_run(tmp_path / "run")
    data = data_of(page_of(tmp_path / "run"))["map"]
    samples = [parts.reader[int(row)] for row in parts.validation]
    assert data["ids"] == [sample.id for sample in samples]
    assert all(len(axis) == len(samples) for layout in data["layouts"] for axis in layout["points"])
    kind = next(one for one in data["colourings"] if one["name"] == "kind")
    for value, sample in zip(kind["values"], samples, strict=True):
        truth = sample.targets["kind"]
        assert value is None if np.isnan(truth) else kind["names"][int(value)] == ("line", "ring", "cloud")[truth]


def test_similarities_are_cosines_and_nearest_come_first() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)) + 1.0
    near = neighbourhood(vectors, [], np.random.default_rng(0))
    assert near is not None
    truth = 1 - pairwise_distances(vectors, metric="cosine")
    for query in near.queries:
        others = np.delete(np.arange(40), query.place)
        best = others[np.argsort(-truth[query.place, others])[:5]]
        assert [one.place for one in query.nearest] == best.tolist()
        values = [truth[query.place, place] for place in best]
        assert [one.similarity for one in query.nearest] == pytest.approx(values)  # float64 rounding
        pairs = [truth[i, j] for i in range(40) for j in range(i)]
        share = np.mean([pair < values[0] - 1e-12 for pair in pairs])
        assert query.nearest[0].closer_than == pytest.approx(share, abs=1 / len(pairs))  # ties by rounding
    assert near.pair_mean == pytest.approx(np.mean([truth[i, j] for i in range(40) for j in range(i)]))


def test_agreement_of_neighbours_against_plain_loops() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0.0, 1.0, 2.0], 8)
    vectors = np.eye(4)[labels.astype(int)] + 0.01 * rng.normal(size=(24, 4))
    numbers = rng.normal(size=24)
    numbers[3] = np.nan
    found = HeldOut(
        ids=[str(i) for i in range(24)],
        vectors=vectors,
        labels=[(TargetSpec("kind", "class", names=("a", "b", "c")), labels), (TargetSpec("y", "regression"), numbers)],
        sizes=np.ones(24),
    )
    near = neighbourhood(vectors, colourings(found), np.random.default_rng(0))
    assert near is not None
    kind, number = near.agreements[:2]
    assert kind.neighbours == 1.0  # three tight groups of eight
    same = [labels[i] == labels[j] for i in range(24) for j in range(i)]
    assert kind.all_pairs == pytest.approx(np.mean(same))
    known = numbers[np.isfinite(numbers)]
    assert number.all_pairs == pytest.approx(np.mean([abs(a - b) for i, a in enumerate(known) for b in known[:i]]))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_items_have_no_neighbours_and_no_map(count: int) -> None:
    vectors = np.ones((count, 4), np.float32)
    assert neighbourhood(vectors, [], np.random.default_rng(0)) is None
    assert layouts(vectors, 0) == []


@pytest.mark.parametrize("vectors", [np.ones((20, 4)), np.zeros((20, 4)), np.random.default_rng(0).normal(size=(5, 1))])
def test_collapsed_or_thin_embeddings_still_have_a_map(vectors: np.ndarray) -> None:
    for layout in layouts(vectors, 0):
        assert layout.points.shape == (len(vectors), 2)
        assert np.isfinite(layout.points).all()


def test_many_classes_are_gathered() -> None:
    values = np.repeat(np.arange(30.0), np.arange(1, 31))
    spec = TargetSpec("c", "class", names=tuple(f"n{i}" for i in range(30)))
    found = HeldOut(ids=["x"] * len(values), vectors=np.ones((len(values), 2)), labels=[(spec, values)])
    colour = colourings(found)[0]
    assert len(colour.names) == MOST_CLASSES
    assert colour.names[-1] == f"other ({30 - MOST_CLASSES + 1} classes)"
    assert colour.text(len(values) - 1) == "n29"
    assert colour.text(0) == colour.names[-1]


def test_multilabel_targets_give_one_colouring_a_task() -> None:
    values = np.array([[0.0, np.nan], [1.0, np.nan], [1.0, np.nan]])
    spec = TargetSpec("tox", "multilabel", names=("liver", "heart"))
    found = HeldOut(ids=["a", "b", "c"], vectors=np.eye(3), labels=[(spec, values)], sizes=np.ones(3))
    colour = colourings(found)[0]
    assert (colour.name, colour.names, colour.values) == ("tox: liver", ["no", "yes"], [0.0, 1.0, 1.0])
    assert len(colourings(found)) == 1  # heart has no labels; sizes and lengths do not vary


class Rows:
    """A reader that only knows ids."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def id_of(self, row: int) -> str:
        return self.ids[row]


def test_rows_of_prepared_data_are_found_again() -> None:
    raw: Any = Rows(["a", "b", "c", "d"])
    by_id: Any = Rows(["b", "d"])
    assert source_rows(by_id, raw, np.array([0, 1])).tolist() == [1, 3]
    by_number: Any = Rows(["0", "2", "3"])
    assert source_rows(by_number, raw, np.array([1, 2])).tolist() == [2, 3]
    named: Any = Rows(["?", "?"])
    named.source_rows = np.array([2, 0])
    assert source_rows(named, raw, np.array([1])).tolist() == [0]
    strange: Any = Rows(["x", "y"])
    with pytest.raises(Exception, match="cannot be matched"):
        source_rows(strange, raw, np.array([0]))


def test_pictures_unpack_to_what_was_drawn_and_keep_the_limit() -> None:
    noise = np.random.default_rng(0)
    drawn = {place: noise.bytes(900).hex() for place in range(20)}

    class Reader(Rows):
        def __getitem__(self, row: int) -> Sample:
            if row == 3:
                raise ItemError("gone", "row 3 is gone")
            return Sample(str(row), row)

    reader: Any = Reader([str(i) for i in range(20)])
    found = HeldOut(ids=reader.ids, rows=np.arange(20), reader=reader, render=lambda s: Picture(drawn[s.inputs], "alt"))
    whole = pack_pictures(Artist(found), range(20))
    lines = [json.loads(line) for line in gzip.decompress(base64.b64decode(whole.text)).decode().splitlines()]
    assert {line["place"]: line["html"] for line in lines} == {p: text for p, text in drawn.items() if p != 3}
    some = pack_pictures(Artist(found), range(20), most_bytes=5_000)
    assert 3 <= some.count <= 6  # about 900 incompressible bytes each
    assert len(base64.b64decode(some.text)) <= 5_100
    none = pack_pictures(Artist(found), range(20), seconds=-1.0)
    assert (none.count, none.text) == (0, "")


def test_inline_pictures_stop_when_the_page_is_full() -> None:
    class Reader(Rows):
        def __getitem__(self, row: int) -> Sample:
            return Sample(str(row), row)

    reader: Any = Reader(["a", "b", "c"])
    found = HeldOut(ids=reader.ids, rows=np.arange(3), reader=reader, render=lambda _: Picture("x" * 40, "alt"))
    artist = Artist(found, inline_bytes=100)
    assert [one is not None for one in artist.inline([0, 1])] == [True, True]
    assert artist.inline([2, 0]) == [None, None]  # one would fit, half a row would mislead
    assert artist.left_out == 2


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
