"""One page about several runs: every curve of every run, key figures, settings that differ, and no script from data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.explore.overlay import differing_settings, overlaid, write_overlay
from repcore.report.collect import collect
from tests.core.report_pages import data_of
from tests.toys.toy_run import HOSTILE, make_run

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    make_run(tmp_path / "first")
    make_run(tmp_path / "second", "trainer.seed=3", "optimiser.lr=0.5")
    lines = (tmp_path / "second" / "metrics.jsonl").read_text().splitlines()
    shifted = [json.loads(one) for one in lines]
    for one in shifted:
        one["loss"] = one["loss"] + 100 if "loss" in one else None
    (tmp_path / "second" / "metrics.jsonl").write_text("\n".join(map(json.dumps, shifted)))
    (tmp_path / "second" / "diagnostics.jsonl").unlink()
    return [tmp_path / "first", tmp_path / "second"]


def test_curves_of_all_runs_lie_over_each_other(runs: list[Path]) -> None:
    records = {path.name: collect(path) for path in runs}
    figures = {one.name: one for one in overlaid(records)}
    loss = figures["curve-loss"]
    names = [trace["name"] for trace in loss.spec["data"]]
    assert names == ["first, train", "first, validation", "second, train", "second, validation"]
    first, second = (loss.spec["data"][place]["y"] for place in (1, 3))
    assert [high - low for low, high in zip(first, second, strict=True)] == pytest.approx(
        [100.0] * len(first), abs=1e-3
    )
    assert [trace["meta"]["run"] for trace in loss.spec["data"]] == [0, 0, 1, 1]
    assert "second, validation falls from 104" in loss.alt
    assert {trace["name"] for trace in figures["diagnostic-std"].spec["data"]} == {"first"}, "the other has none"
    changed = dict(differing_settings(records))
    assert changed["optimiser.lr"][1] == "0.5"
    assert set(changed) == {"optimiser.lr", "trainer.seed"}


def test_the_command_writes_one_page(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "first", "second", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "first+second.html").read_text(encoding="utf-8")
    assert set(data_of(page)["figures"]) >= {"curve-loss", "curve-lr", "diagnostic-std"}
    assert page.count('<th scope="row">loss</th>') == 1
    assert "The data differ" not in page
    capsys.readouterr()
    assert run(["report", "first", "--out", str(tmp_path), "-o", "x.html"]) == 2
    assert "lies in its folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="1 of them different"):
        write_overlay(tmp_path / "y.html", [runs[0], runs[0]])


def test_names_of_runs_stay_texts(runs: list[Path], tmp_path: Path) -> None:
    hostile = tmp_path / HOSTILE.replace("/", "")
    runs[1].rename(hostile)
    settings = json.loads((hostile / "config.json").read_text())
    settings["objective"]["name"] = "<script>other</script>"
    (hostile / "config.json").write_text(json.dumps(settings))
    write_overlay(tmp_path / "page.html", [runs[0], hostile])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>other" not in page
    assert "<script>alert" not in page
    assert "The objectives differ" in page
