"""The script that makes the models of a distribution: what it writes loads, is small, and says how it was made."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest

import repcore
from repcore.checkpoints.places import _lines
from repcore.checkpoints.reading import read_file
from repcore.testing import check_plugin
from scripts import box_models
from scripts.box_models import BoxedModel, BoxError, Judged
from tests.conftest import ROOT

WANTED = BoxedModel(
    name="set-net-tiny", recipe="set-net", preset="tiny", training_data="60 generated blobs", licence="CC0 1.0",
    intended_use="Tests.", limits=("Blobs alone.",), attribution="Nobody.", seed=3,
    settings={"trainer.steps": 2, "encoder.width": 64},
    judged=(Judged(data="pairs/blobs", label="kind", protocols=("knn@1",)),),
)  # fmt: skip


def test_a_model_is_made_with_its_card(toys: None, tmp_path: Path) -> None:
    folder = box_models.make("pairs", WANTED, tmp_path, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert config["origin"] == {}
    card = config["card"]
    assert (card["seed"], card["licence"], card["training_data"]) == (3, "CC0 1.0", "60 generated blobs")
    ((figure, text),) = card["figures"].items()  # of the model; what does without it stands apart
    assert any("constant" in one for one in card["baselines_by_other_probes"])
    assert figure.startswith("blobs: kind, random split, knn@1")
    assert "trained" in text
    assert "random-init" in text
    assert float(card["difference_of_float16"].split()[0]) < box_models.MOST_DIFFERENT
    page = (folder / "README.md").read_text()
    for words in ("Intended use: Tests.", 'repcore.load("pairs/set-net-tiny")', "60 generated blobs", "Blobs alone."):
        assert words in page
    assert str(tmp_path) not in page + json.dumps(config)
    assert "torch.float16" in {str(one.dtype) for one in read_file(folder / "weights.safetensors").values()}
    assert repcore.load(folder).embed("pairs/blobs").ok.all()
    assert f"{figure}: {text}" in _lines(card["figures"])


def test_a_finished_run_is_taken_where_another_script_trains(toys: None, tmp_path: Path) -> None:
    settings = {"trainer.seed": 3, "trainer.steps": 2, "encoder.width": 64}
    run = repcore.train("pairs/set-net", preset="tiny", out=tmp_path, name="3", report=False, **settings).folder
    (tmp_path / "3.json").write_text(json.dumps({"minutes": 7.5}))
    wanted = dataclasses.replace(WANTED, trained_by="python other.py")
    with pytest.raises(BoxError, match=r"--run FOLDER of `python other\.py`"):
        box_models.make("pairs", wanted, tmp_path, tmp_path / "out")
    with pytest.raises(BoxError, match=r"trainer\.seed is 3, the table of set-net-tiny says 4"):
        box_models.make("pairs", dataclasses.replace(wanted, seed=4), tmp_path, tmp_path / "out", run)
    folder = box_models.make("pairs", wanted, tmp_path, tmp_path / "out", run)
    assert json.loads((folder / "config.json").read_text())["card"]["minutes"] == 7.5


def test_figures_of_a_task_that_is_trained(toys: None, tmp_path: Path) -> None:
    settings = {"trainer.steps": 3, "finetune.frozen_epochs": 100}
    judged = Judged(
        data="pairs/blobs", label="kind", task="classification", labels=30, settings=settings, how="frozen, 3 steps"
    )
    model = repcore.train("pairs/set-net", preset="tiny", out=tmp_path, report=False, **{"trainer.steps": 2}).model
    figures = box_models.judged_figures(model, judged, tmp_path)
    assert all(one.startswith("blobs: kind, random split, 30 labelled rows, frozen, 3 steps, ") for one in figures)
    first = next(iter(figures.values()))
    assert re.search(r"^trained \S+ \+- \S+; random-init \S+ \+- \S+; trained is .*random", first)


def test_notices_name_every_model() -> None:
    page = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| (\S+/\S+) \|", page, re.MULTILINE))
    for path in TABLES:
        for one in box_models.read_tables(path):
            assert f"{path.parent.parent.name}/{one.name}" in named


def test_what_is_too_large_is_not_written(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_models, "MOST_BYTES", 100)
    with pytest.raises(BoxError, match="more than may be"):
        box_models.make("pairs", WANTED, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_of_one_source_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "all.tsv.gz"
    path.write_bytes(gzip.compress(b"smiles\tsource\nC\tzinc\nCC\tchembl\nCCC\tchembl\n"))
    assert Path(box_models.chosen_rows(str(path), {"source": "chembl"}, tmp_path)).read_text() == "smiles\nCC\nCCC\n"
    assert box_models.chosen_rows(str(path), {}, tmp_path) == str(path)
    with pytest.raises(BoxError, match="no row"):
        box_models.chosen_rows(str(path), {"source": "nobody"}, tmp_path)
    with pytest.raises(BoxError, match=r"no data 'nowhere\.csv'"):
        box_models.place_of("nowhere.csv", tmp_path)


def test_a_table_with_an_unknown_word_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text('[net]\nrecipe = "x"\nprest = "tiny"\n')
    with pytest.raises(BoxError, match=r"\[net\].*prest"):
        box_models.read_tables(path)


TABLES = sorted(ROOT.glob("plugins/*/models/models.toml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda one: one.parent.parent.name)
def test_every_table_says_where_its_weights_come_from(path: Path) -> None:
    found = box_models.read_tables(path)
    assert found
    for one in found:
        assert one.name == f"{one.recipe}-{one.preset}"
        assert all((one.training_data, one.licence, one.intended_use, one.limits, one.judged)), one.name
    package = path.parent / "src" / f"repcore_{path.parent.parent.name}_models"
    made = {folder.parent.name for folder in package.glob("*/config.json")}
    assert made <= {one.name for one in found}


@pytest.mark.parametrize("path", TABLES, ids=lambda one: one.parent.parent.name)
def test_every_distribution_of_models_passes_the_conformance_kit(path: Path) -> None:
    found = check_plugin(f"{path.parent.parent.name}-models")
    assert {one.status for one in found.results} == {"passed"}, found.results
