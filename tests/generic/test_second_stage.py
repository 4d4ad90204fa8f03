"""Objectives that start from a model: clusters as labels, and tokens of a frozen teacher."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from repcore_generic.objectives.alignment import alignment_loss, item_alignment_loss, token_cosines
from repcore_generic.objectives.mlcd import discriminate
from repcore_generic.objectives.mlcd_loss import Margin
from repcore_generic.objectives.places import DenseTokens, dense, matched

from repcore import registry
from repcore.checkpoints.reading import read_file
from repcore.config.resolve import resolve_run
from repcore.errors import ConfigError, DataError, RunError
from repcore.interfaces import Tokens
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import resume_run, start_run
from repcore.training.run_folder import RunFolder
from tests.core.test_toy_path import run
from tests.generic.domains import RUNS, batch_of, losses, parts_of

MLCD = ("objective=generic/mlcd", "objective.count=10")
KINDS = ["molecules", "audio", "graphs", "clouds", "films"]


def molecules(*settings: str, init_from: Path | None = None) -> RunParts:
    """Afresh, which the parts kept for a session are not."""
    one = RUNS["molecules"]
    resolved = resolve_run(registry.default(), one.recipe, overrides=(*one.settings, "data.batch_size=8", *settings))
    return assemble(resolved, LogReporter(), init_from=init_from)


# ------------------------------------------------------------------------------------------- clusters


def test_the_loss_is_both_logarithms_and_an_items_labels_are_no_negatives() -> None:
    torch.manual_seed(0)
    features, centres = torch.randn(5, 6).double(), torch.randn(9, 6).double()
    labels = torch.stack([torch.randperm(9)[:3] for _ in range(5)])
    kept = torch.ones(9, dtype=torch.bool)
    found = discriminate(features, centres, labels, kept, 4.0, Margin())
    cosine = torch.nn.functional.normalize(features, dim=1) @ torch.nn.functional.normalize(centres, dim=1).T
    for item in range(5):
        mine = set(labels[item].tolist())
        p = sum(math.exp(-4 * float(cosine[item, one])) for one in mine)
        g = sum(math.exp(4 * float(cosine[item, one])) for one in range(9) if one not in mine)
        assert float(found.positive[item] + found.negative[item]) == pytest.approx(
            math.log(1 + p + g + p * g), abs=1e-12
        )
        assert float(found.nearest_is_positive[item]) == (int(cosine[item].argmax()) in mine)
    order = torch.randperm(9)
    moved = discriminate(features, centres[order], order.argsort()[labels], kept, 4.0, Margin())
    torch.testing.assert_close(moved.negative, found.negative)


@pytest.mark.parametrize("kind", ["molecules", "audio", "graphs", "clouds", "films"])
def test_clusters_are_made_when_a_run_starts_and_it_learns(kind: str) -> None:
    torch.manual_seed(0)
    parts = parts_of(kind, "objective=generic/mlcd")
    objective = parts.objective
    count = len(objective.centres)
    assert objective.centres.shape == (count, parts.encoder.dim)
    assert len(objective._labels) == len(parts.train) + len(parts.validation)
    batch = batch_of(parts)
    with torch.no_grad():
        cosine = (
            torch.nn.functional.normalize(parts.encoder.eval()(batch).pooled.double(), dim=1)
            @ objective.centres.T.double()
        )
    assert (objective._labels_of(batch)[:, 0] == cosine.argmax(1)).all()
    found = losses(parts, 5)
    assert found[-1] < found[0]


def test_labels_and_centres_come_back_when_a_run_goes_on(tmp_path: Path) -> None:
    """The resumed run's encoder is no longer the one that made the clusters."""
    settings = (*MLCD, "trainer.checkpoint_every=3", "trainer.threads=1")
    quiet = LogReporter()
    whole = start_run(
        registry.default(), molecules(*settings, "trainer.steps=6"), quiet, root=tmp_path, name="whole", device="cpu"
    )
    parts = molecules(*settings, "trainer.steps=6")
    stopped = start_run(registry.default(), parts, quiet, root=tmp_path, name="stopped", device="cpu")
    folder = RunFolder.open("stopped", tmp_path)
    previous = folder.last_checkpoint.with_name("previous.ckpt")
    candidates = [one for one in folder.last_checkpoint.parent.iterdir() if "previous" in one.name]
    assert candidates, sorted(one.name for one in folder.last_checkpoint.parent.iterdir())
    del previous
    candidates[0].replace(folder.last_checkpoint)
    resolved = resolve_run(
        registry.default(),
        RUNS["molecules"].recipe,
        overrides=(*RUNS["molecules"].settings, "data.batch_size=8", *settings, "trainer.steps=6"),
    )
    again = assemble(resolved, quiet, fitted=folder.preprocessing)
    assert len(again.objective.centres) == 0
    resume_run(registry.default(), again, folder, quiet, device="cpu")
    first, second = (read_file(one.folder / "model" / "weights.safetensors") for one in (whole, stopped))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(again.objective.centres, parts.objective.centres)


def test_what_cannot_be_clustered_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"40 clusters of \d+ items"):
        molecules("objective=generic/mlcd", "objective.count=40")
    with pytest.raises(ConfigError, match="labels=5 of 10 clusters"):
        molecules(*MLCD, "objective.labels=5")
    parts = molecules(*MLCD)
    batch = batch_of(parts)
    batch.sample_id = ["a stranger", *batch.sample_id[1:]]
    with pytest.raises(RunError, match="item 'a stranger' has no cluster"):
        parts.rules(batch, {"uniform": torch.rand(10)})


def test_clusters_of_an_estimator_are_taken_on_its_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = molecules("objective=generic/vicreg", "trainer.steps=2")
    start_run(registry.default(), first, LogReporter(), root=tmp_path, name="first", device="cpu")
    arguments = ["fit", "clusters", "first", "molecules/nci", "clusters=12", "--read", "limit=60", "-o", "groups"]
    if run(arguments) != 0:
        arguments = [one for one in arguments if one not in ("--read", "limit=60")]
        assert run(arguments) == 0, capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the model that the clusters were fitted on: nothing to warn of
        parts = molecules("objective=generic/mlcd", "objective.clusters=groups", init_from=tmp_path / "first" / "model")
    assert len(parts.objective.centres) == 12
    vectors = parts.encoder.eval()(batch_of(parts)).pooled
    nearest = (torch.nn.functional.normalize(vectors, dim=1) @ parts.objective.centres.T).argmax(1)
    assert (nearest == parts.objective._labels_of(batch_of(parts))[:, 0]).all()
    with pytest.warns(UserWarning, match="fitted on another model than this run begins from"):
        molecules("objective=generic/mlcd", "objective.clusters=groups", "trainer.seed=5")
    notes = tmp_path / "groups" / "estimator.json"
    record = json.loads(notes.read_text(encoding="utf-8"))
    notes.write_text(json.dumps(record | {"features": {"pool": None, "layer": 1}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="was fitted on layer 1 of the encoder"):
        molecules("objective=generic/mlcd", "objective.clusters=groups", init_from=tmp_path / "first" / "model")
    with pytest.raises(ConfigError, match=r"clusters of embeddings of width 96 .*this run's encoder gives 48"):
        molecules("objective=generic/mlcd", "objective.clusters=groups", "encoder.hidden_width=16")


# ------------------------------------------------------------------------------------------- alignment


def test_padding_changes_nothing_and_items_may_count_alike() -> None:
    torch.manual_seed(0)
    cosine = torch.rand(2, 5)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    assert float(alignment_loss([cosine], valid)) == pytest.approx(-float(cosine[valid].mean()))
    other = cosine.clone()
    other[1, 2:] = 9.0
    assert float(alignment_loss([other], valid)) == pytest.approx(float(alignment_loss([cosine], valid)))
    expected = -(float(cosine[0].mean()) + float(cosine[1, :2].mean())) / 2
    assert float(item_alignment_loss([cosine], valid)) == pytest.approx(expected)
    same = torch.randn(2, 5, 3)
    torch.testing.assert_close(token_cosines(same, same), torch.ones(2, 5))


def test_tokens_of_the_same_places_belong_together() -> None:
    owner = torch.tensor([0, 0, 0, 1])
    ragged = dense(Tokens(torch.arange(8.0).view(4, 2), owner=owner), 2)
    assert ragged.valid.tolist() == [[True, True, True], [True, False, False]]
    assert ragged.values[1, 0].tolist() == [6.0, 7.0]
    fine = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"), -1).view(1, 16, 2)
    coarse = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij"), -1).view(1, 4, 2)
    everyone = [torch.ones(1, count, dtype=torch.bool) for count in (16, 4)]
    student = DenseTokens(torch.zeros(1, 16, 3), everyone[0], fine)
    teacher = DenseTokens(torch.arange(4.0).view(1, 4, 1), everyone[1], coarse)
    values, valid = matched(student, teacher, "auto")
    assert values.view(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert valid.all()
    with pytest.raises(ConfigError, match="the student has 16 tokens an item, the teacher 4"):
        matched(student, teacher, "order")
    points = DenseTokens(torch.zeros(1, 2, 3), everyone[0][:, :2], torch.tensor([[[0.0, 0.9], [5.0, 5.0]]]))
    near = DenseTokens(
        torch.tensor([[[1.0], [2.0]]]), torch.tensor([[True, False]]), torch.tensor([[[0.0, 1.0], [5.0, 5.0]]])
    )
    values, _ = matched(points, near, "position")
    assert values.flatten().tolist() == [1.0, 1.0]  # a token that is padding is nobody's


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_follows_its_teacher_in_every_domain(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = RUNS[kind]
    more = ("trainer.steps=1", "data.batch_size=6")
    resolved = resolve_run(registry.default(), one.recipe, overrides=(*one.settings, *more, "objective=generic/vicreg"))
    start_run(
        registry.default(), assemble(resolved, LogReporter()), LogReporter(), root=tmp_path, name="t", device="cpu"
    )
    chosen = ("objective=generic/token-alignment", f"objective.teacher={tmp_path / 't'}", "trainer.seed=1")
    parts = assemble(resolve_run(registry.default(), one.recipe, overrides=(*one.settings, *chosen)), LogReporter())
    before = {name: value.clone() for name, value in parts.objective.teacher.module.state_dict().items()}
    found = losses(parts, 6, lr=5e-3)
    assert found[-1] < found[0]
    assert all(torch.equal(value, before[name]) for name, value in parts.objective.teacher.module.state_dict().items())
    names = [name for name, _ in parts.objective.named_parameters()]
    assert not any(name.startswith("teacher") for name in names)


def test_a_teacher_that_reads_other_input_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a teacher"):
        molecules("objective=generic/token-alignment")
    first = molecules("objective=generic/vicreg", "trainer.steps=1")
    start_run(registry.default(), first, LogReporter(), root=tmp_path, name="t", device="cpu")
    chosen = ("objective=generic/token-alignment", f"objective.teacher={tmp_path / 't'}")
    other = molecules(*chosen, "data.limit=20")  # too few to fit the same vocabulary, so it is the teacher's
    assert other.preprocessor.facts() == first.preprocessor.facts()
    second = molecules("objective=generic/vicreg", "trainer.steps=1", "data.limit=30")
    start_run(registry.default(), second, LogReporter(), root=tmp_path, name="u", device="cpu")
    with pytest.raises(ConfigError, match="this run prepares them otherwise"):
        molecules(*chosen, init_from=tmp_path / "u" / "model")
    with pytest.raises(ConfigError, match=r"layer=7: the encoder has layers 0 to 2"):
        molecules(*chosen, "objective.layer=7")


def test_vectors_of_a_start_leave_out_what_has_none() -> None:
    parts = molecules(*MLCD)
    assert np.isfinite(np.asarray(parts.objective.centres.detach())).all()
