"""Trained models of a distribution: found by name wherever a model is taken, unaltered, listed, refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import repcore
from repcore import registry
from repcore.checkpoints.content import write_tensors
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.places import model_path
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.embedding.writers import read_embeddings
from repcore.errors import CheckpointError, DataError, PluginError
from repcore.plugins import Candidate, load_plugins
from repcore.registry import Registry
from repcore.specs import ModelSpec, models_in
from repcore.testing.boxed_checks import BoxedSubject, loads, tells
from repcore.testing.check import CheckFailedError, NotJudgedError
from tests.conftest import MakeDistribution
from tests.core.test_completion import complete
from tests.toys.toy_run import make_run

NAME = "pairs/set-net-small"
LISTING = """
from repcore.hooks import hookimpl
from repcore.specs import PluginInfo, models_in

@hookimpl
def repcore_plugin_info():
    return PluginInfo(title="Models", domain="pairs", api_version=1, summary="Trained models")

@hookimpl
def repcore_models():
    return models_in("repcore_pairs_models")
"""
CARD = {"training_data": "60 blobs", "licence": "CC0-1.0\nwhole text", "figures": ["accuracy 0.9", "twin 0.5"]}
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def boxed(toys: None, make_distribution: MakeDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model in an installed distribution; the working directory is empty."""
    make_run(tmp_path / "trained", "encoder.width=64")
    site = make_distribution("repcore-pairs-models", LISTING, module="repcore_pairs_models")
    folder = site / "repcore_pairs_models" / "set-net-small"
    repcore.load(tmp_path / "trained").save(folder)
    change_config(folder, card=CARD)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    registry.refresh()
    return folder


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    changed = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


def test_a_name_is_taken_wherever_a_model_is(boxed: Path, capsys: Captured) -> None:
    """The vectors of the name are those of the folder; probes, fits, indexes, comparisons and training take it, too."""
    for model, output in ((NAME, "named.npz"), (str(boxed), "folder.npz")):
        assert run(["embed", model, "pairs/blobs", "-o", output]) == 0
    named, folder = (read_embeddings(Path(one))[0].vectors for one in ("named.npz", "folder.npz"))
    assert np.isfinite(named).all()
    np.testing.assert_array_equal(named, folder)
    words = ["--data", "pairs/blobs", "--label", "kind", "--seeds", "2"]
    assert run(["probe", NAME, *words, "--protocol", "knn@1"]) == 0
    assert "random-init" in capsys.readouterr().out
    for command in (
        ["fit", "spread", NAME, "pairs/blobs", "-o", "fitted"], ["apply", "fitted", "pairs/blobs", "-o", "found.csv"],
        ["index", NAME, "pairs/blobs", "-o", "found"], ["search", "found", "blob-0"],
        ["explore", NAME, "pairs/blobs", "-o", "map.html"],
        ["compare", NAME, "named.npz", "pairs/blobs", "--label", "kind"],
        ["compat", NAME, str(boxed), "pairs/blobs", "--label", "kind"],
        ["inspect", "pairs/blobs", "--model", NAME],
        ["pairs", "train", "set-net", "encoder.width=64", "trainer.steps=1", "--init-from", NAME, "--dry-run"],
        ["pairs", "finetune", NAME, "--data", "pairs/blobs", "--label", "kind", "--seeds", "1", "--no-twin",
         "--name", "tuned", "trainer.steps=2"],
    ):  # fmt: skip
        assert run(command) == 0, (command, capsys.readouterr().err)
    assert repcore.load(NAME).embed("pairs/blobs").vectors.shape == named.shape
    assert sorted(one.name for one in boxed.iterdir()) == sorted(one.name for one in model_files(boxed))


def model_files(folder: Path) -> list[Path]:
    """What a model folder holds: commands that were given a name wrote nothing there."""
    prepared = json.loads((folder / "preprocessing.json").read_text())["files"]
    own = ("weights.safetensors", "config.json", "preprocessing.json", "README.md")
    return [folder / one for one in (*own, *prepared)]


def test_a_folder_of_the_same_name_is_refused_with_both_ways_out(boxed: Path) -> None:
    here = Path(NAME)
    here.mkdir(parents=True)
    assert model_path(NAME) == boxed  # no model lies there
    shutil.copytree(boxed, here, dirs_exist_ok=True)
    with pytest.raises(DataError, match="is a model folder here and the name of a model of pairs-models") as refused:
        repcore.load(NAME)
    assert str(here.absolute()) in str(refused.value)
    assert f"pairs-models:{NAME}" in str(refused.value)
    assert model_path(f"pairs-models:{NAME}") == boxed
    assert model_path(here.absolute()) == here.absolute()


def test_a_name_that_is_not_installed_says_what_is_and_how_to_get_it(
    boxed: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["embed", "pairs/set-net-smal", "pairs/blobs", "-o", "v.npz"]) == 2
    said = capsys.readouterr().err
    assert "did you mean: pairs/set-net-small" in said
    with pytest.raises(DataError, match="did you mean: pairs/set-net-small"):
        repcore.load("set-net-small")
    with pytest.raises(DataError, match=r"does not exist$"):
        repcore.load("runs/first")
    asked = {"repcore-edges-models", "repcore-cells", "repcore-cells-models"}
    monkeypatch.setattr(registry, "_asked_for", lambda: asked)
    monkeypatch.setattr(registry, "installable_domains", lambda: ["cells"])
    with pytest.raises(DataError, match=r"no model of edges\n(?s:.*)pip install repcore-edges-models"):
        repcore.load("edges/net-small")
    with pytest.raises(DataError, match=r'pip install "repcore\[cells\]" repcore-cells-models'):
        repcore.load("cells/net-small")


def test_a_model_without_its_domain_makes_no_domain_and_is_refused_in_words(boxed: Path) -> None:
    models = Candidate("pairs-models", "repcore_pairs_models._plugin", "repcore-pairs-models", "1", "")
    alone = Registry(load_plugins([models]))
    assert alone.domains() == []
    assert alone.model(NAME).spec.place() == boxed
    with pytest.raises(PluginError, match="needs encoder pairs/set-net, which is not available here"):
        repcore.load(NAME, registry=alone)
    with pytest.raises(NotJudgedError, match="pairs/set-net"):
        loads(BoxedSubject(alone, alone.model(NAME)))


def test_an_altered_weight_is_noticed(boxed: Path) -> None:
    tensors = read_file(boxed / "weights.safetensors")
    first = next(iter(tensors))
    tensors[first].view(-1)[0] += 1
    write_tensors(boxed / "weights.safetensors", tensors, {"format": "pt"})
    with pytest.raises(CheckpointError, match="does not hold the tensors that the model was saved with"):
        repcore.load(NAME)
    (boxed / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"not whole: .* has no weights.safetensors\n.*--force-reinstall"):
        repcore.load(NAME)


def test_models_are_listed_with_what_their_cards_say(boxed: Path, capsys: Captured) -> None:
    assert run(["list", "models", "--json"]) == 0
    (told,) = [one for one in json.loads(capsys.readouterr().out) if one["name"] == NAME]
    assert (told["trained on"], told["licence"]) == ("60 blobs", "CC0-1.0")
    assert told["figures"] == "accuracy 0.9; twin 0.5"
    assert told["size"] == sum(one.stat().st_size for one in boxed.iterdir())
    assert run(["list", "models"]) == 0
    assert f"{NAME}\t{told['size'] / 1e6:.1f} MB\t60 blobs\tCC0-1.0" in capsys.readouterr().out
    assert run(["list"]) == 0
    assert f"model\t{NAME}" in capsys.readouterr().out
    assert run(["show", NAME]) == 0
    assert "repcore_pairs_models:set-net-small" in capsys.readouterr().out
    (boxed / "weights.safetensors").unlink()
    assert run(["list", "models"]) == 0
    assert "is not whole" in capsys.readouterr().out


def test_names_are_completed(boxed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("embed pairs/se", "probe pairs/se", "compare pairs/se", "pairs finetune pairs/se", "inspect x --model pa")
    for line in lines:
        assert complete(f"repcore {line}", monkeypatch) == [f"plain,{NAME}"], line
    assert complete("repcore embed |", monkeypatch) == ["file,"]
    assert complete(f"repcore embed {NAME} data --pool fi", monkeypatch) == ["plain,first"]
    assert complete("repcore edges finetune pairs/se", monkeypatch) == ["file,"]


def test_the_checks_catch_what_they_are_for(boxed: Path) -> None:
    known = registry.default()
    subject = BoxedSubject(known, known.model(NAME))
    loads(subject)
    tells(subject)
    change_config(boxed, card={**CARD, "licence": ""})
    with pytest.raises(CheckFailedError, match="does not say: licence"):
        tells(subject)
    content = read_model(boxed).config["content"]
    change_config(boxed, content=None)
    with pytest.raises(CheckFailedError, match="holds no hashes"):
        loads(subject)
    change_config(boxed, content={**content, "weights.safetensors": "0" * 64})
    with pytest.raises(CheckpointError):
        loads(subject)


@pytest.mark.parametrize("folder", ["", "package", "package:", "package:../up", "package:/root", ":folder", "a b:c"])
def test_a_spec_names_a_folder_of_a_package(folder: str) -> None:
    with pytest.raises(PluginError, match="is not a folder of a package"):
        ModelSpec(name="net", folder=folder)


def test_a_package_that_is_not_there_is_said() -> None:
    with pytest.raises(PluginError, match="no package 'repcore_no_such' with files here"):
        models_in("repcore_no_such")
    with pytest.raises(PluginError, match="no package"):
        ModelSpec(name="net", folder="repcore_no.such:net").place()


def test_the_demo_probes_an_installed_model_beside_the_trained_one(boxed: Path, capsys: Captured) -> None:
    assert run(["demo", "pairs", "encoder.width=64", "trainer.steps=2"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    features = {row[1] for row in rows if len(row) > 3 and row[0] == "kind"}
    assert {"trained", "random-init", NAME} <= features
    (boxed / "weights.safetensors").unlink()
    assert run(["demo", "pairs", "encoder.width=64", "trainer.steps=2"]) == 0
    captured = capsys.readouterr()
    assert f"model {NAME} is left out" in captured.err
    assert not any(row.split("\t")[1:2] == [NAME] for row in captured.out.splitlines())
