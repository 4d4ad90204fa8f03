"""Stationary representations: simplex, contrast with the version before, slots by name, and replaced models."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from repcore_generic.configs.stationary import StationaryConfig
from repcore_generic.objectives.stationary_loss import hoc_rows, simplex, slots_of
from torch import Tensor, nn

import repcore
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.evaluation.compatibility import average_score, compatibility, cross_scores, gallery_rows, identified
from repcore.specs import TargetSpec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))


@pytest.mark.parametrize("slots", [2, 3, 17, 256])
def test_any_two_corners_stand_alike(slots: int) -> None:
    corners = simplex(slots)
    expected = torch.full((slots, slots), -1.0 / (slots - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(corners @ corners.T, expected, atol=1e-12, rtol=0.0)
    assert slots_of(torch.tensor([0, 1]), slots).tolist() == [slots - 1, slots - 2]


def by_loop(old: Tensor, new: Tensor, labels: list[int], scale: float, *, zeros: bool) -> list[float]:
    rows = []
    for i in range(len(old)):
        cosine = [
            scale * float(old[i] @ new[j]) / (float(old[i].norm()) * float(new[j].norm())) for j in range(len(new))
        ]
        same = [j == i or (labels[i] == labels[j] >= 0) for j in range(len(new))]
        terms = [0.0 if one else value for value, one in zip(cosine, same, strict=True) if zeros or not one]
        rows.append(-cosine[i] + (math.log(sum(math.exp(one) for one in terms)) if terms else 0.0))
    return rows


@pytest.mark.parametrize("labels", [[0, 0, 1, 2, 1], [3, 3, 3], [-1, -1, 0, 0], [5]])
def test_hoc_is_the_loop(labels: list[int]) -> None:
    generator = torch.Generator().manual_seed(len(labels))
    old, new = (torch.randn(len(labels), 6, generator=generator, dtype=torch.float64) for _ in range(2))
    for kind in ("removed", "zero"):
        found = hoc_rows(old, new, torch.tensor(labels), 10.0, kind)  # type: ignore[arg-type]
        assert found.tolist() == pytest.approx(by_loop(old, new, labels, 10.0, zeros=kind == "zero"))


def test_scores_of_versions() -> None:
    scores = torch.tensor([[0.5, 0, 0], [0.6, 0.7, 0], [0.5, 0.8, 1.0]], dtype=torch.float64)
    assert compatibility(scores).tolist() == pytest.approx([1.0, 2 / 3])  # 0.5 is not above 0.5
    assert float(average_score(scores)) == pytest.approx((0.5 + 0.6 + 0.7 + 0.5 + 0.8 + 1.0) / 6)
    gallery = torch.tensor([[1.0, 0], [0, 1.0]])
    right = identified(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([4, 9]), gallery, torch.tensor([4, 9]))
    assert right.tolist() == [True, True]


def test_slots_belong_to_names() -> None:
    first = StationaryConfig(slots=5).completed(KIND, None)
    assert first.classes == ("a", "b", "c")
    other = TargetSpec("kind", "class", names=("c", "d", "a"))
    later = StationaryConfig(slots=5).completed(other, first)
    assert later.classes == ("a", "b", "c", "d")
    with pytest.raises(ConfigError, match=r"6 classes for method.slots=5"):
        StationaryConfig(slots=5).completed(TargetSpec("k", "class", names=("d", "e", "f")), first)
    with pytest.raises(ConfigError, match="names no classes"):
        StationaryConfig(slots=5).completed(TargetSpec("k", "class"), None)
    with pytest.raises(ConfigError, match="different classes"):
        StationaryConfig(slots=5, classes=("b", "a")).completed(KIND, first)


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, width))


def trained(rows: Tensor, labels: Tensor, seed: int, slots: int, *, fixed: bool) -> Tensor:
    """Vectors of all rows by a network of its own start; ``fixed``: corners of the simplex, else a free classifier."""
    torch.manual_seed(seed)
    body = network(slots - 1)
    corners = simplex(slots).float() if fixed else nn.Parameter(torch.randn(slots, slots - 1) / math.sqrt(slots))
    learned = [*body.parameters(), *([corners] if isinstance(corners, nn.Parameter) else [])]
    optimiser = torch.optim.Adam(learned, lr=0.01)
    seen = labels >= 0
    for _ in range(150):
        loss = nn.functional.cross_entropy(body(rows[seen]) @ corners.T, slots_of(labels[seen], slots))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return body(rows)  # type: ignore[no-any-return]


def test_a_model_trained_anew_answers_the_old_gallery() -> None:
    """Independent starts, more classes in the new model: above 85 % of the old model's own score with the simplex,
    below 30 % right with a free classifier."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    centres = 3.0 * torch.randn(10, 8, generator=generator)
    rows = centres[labels] + 0.7 * torch.randn(400, 8, generator=generator)
    known = labels < 7
    gallery = gallery_rows(labels, generator)
    for fixed in (True, False):
        old = trained(rows, torch.where(known & gallery, labels, -1), 1, 16, fixed=fixed)
        new = trained(rows, torch.where(gallery, labels, -1), 2, 16, fixed=fixed)
        scores, classes = cross_scores([old[known], new[known]], labels[known], gallery[known])
        assert classes.shape == (7, 2, 2)
        assert scores[0, 0] > 0.9
        if fixed:
            assert scores[1, 0] > 0.85 * scores[0, 0]
        else:
            assert scores[1, 0] < 0.3


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2"]) == 0
    return tmp_path


def finetune(model: str, name: str, *more: str) -> list[str]:
    words = ["pairs", "finetune", model, "--data", "pairs/blobs", "--label", "kind", "--name", name, "--no-twin"]
    words += ["--no-plain", "--method", "stationary", "trainer.steps=3", "data.batch_size=8", "optimiser.lr=0.02"]
    return [*words, *more]


def test_versions_of_a_line(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finetune("runs/r", "old", "method.slots=8")) == 0
    assert run(finetune("runs/r", "new", "method.slots=8", "method.previous=runs/old")) == 0
    told = json.loads(Path("runs/new/model/config.json").read_text())
    assert told["dim"] == 7
    assert told["changes"][0]["name"] == "generic/stationary"
    assert told["changes"][0]["classes"] == ["line", "ring", "cloud"]
    assert told["card"]["teachers"][0]["sha256"] == repcore.load("runs/old").identity()
    model = repcore.load("runs/new")
    assert model.embed("pairs/blobs").vectors.shape == (60, 7)
    head = model.predictor().tasks[0].classifier  # type: ignore[union-attr]
    (linear,) = [one for one in head.modules() if isinstance(one, nn.Linear)]  # type: ignore[union-attr]
    torch.testing.assert_close(linear.weight, simplex(8).float()[[7, 6, 5]])
    assert repcore.load("runs/old").identity() != model.identity()
    capsys.readouterr()
    assert run(["compat", "runs/old", "runs/new", "pairs/blobs", "--label", "kind", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["related"]
    assert [len(row) for row in found["scores"]] == [1, 2]
    assert found["average_score"] == pytest.approx(np.mean([one for row in found["scores"] for one in row]))
    assert set(found["classes"]) == {"line", "ring", "cloud"}
    assert run(["compat", "runs/old", "runs/new", "pairs/blobs", "--label", "kind"]) == 0
    assert "compatible pairs (AC)" in capsys.readouterr().out
    assert run(["compat", "runs/r", "runs/new", "pairs/blobs", "--label", "kind"]) == 2
    assert "they cannot be compared" in capsys.readouterr().err


def test_a_model_goes_on_in_its_line(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(finetune("runs/r", "old", "method.slots=8")) == 0
    assert run(finetune("runs/old", "on", "method.slots=8")) == 0  # keeps its map
    told = json.loads(Path("runs/on/model/config.json").read_text())
    assert [one["name"] for one in told["changes"]] == ["generic/stationary"]
    assert run(finetune("runs/old", "wide", "method.slots=16")) == 2
    assert "the number never changes" in capsys.readouterr().err
    assert run(finetune("runs/r", "none", "method.slots=8", "method.previous=runs/r")) == 2
    assert "was not trained with --method stationary" in capsys.readouterr().err
    assert run(finetune("runs/r", "few", "method.slots=2")) == 2
    assert "3 classes for method.slots=2" in capsys.readouterr().err
    words = [one for one in finetune("runs/old", "plain") if one not in ("--method", "stationary")]
    assert run(words) == 0  # the plain loss on the changed encoder
    assert repcore.load("runs/plain").embed("pairs/blobs").vectors.shape == (60, 7)
