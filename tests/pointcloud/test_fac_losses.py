"""FAC's losses against plain loops, and their limits; the objective's draws and teacher."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Progress
from repcore_pointcloud.configs.fac import FacConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.objectives.fac import Fac, region_classification_places
from repcore_pointcloud.objectives.fac_losses import (
    matched_contrast,
    region_anchors,
    region_classification,
    regional_contrast,
)
from repcore_pointcloud.objectives.scene_contrast import SceneMoco
from repcore_pointcloud.objectives.scene_moco import MomentumContrast

CLOSE = 1e-10  # float64, a few dozen products


def cosine(one: Tensor, two: Tensor) -> float:
    one, two = one.detach(), two.detach()
    return float(one @ two / one.norm() / two.norm())


def test_anchors_are_unit_means_of_unit_features() -> None:
    features = torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0], [9.0, 9.0]])
    anchors = region_anchors(features, torch.tensor([0, 0, 2, -1]), 3)
    assert torch.allclose(anchors[0], torch.full((2,), math.sqrt(0.5)))
    assert torch.equal(anchors[1], torch.zeros(2))
    assert torch.allclose(anchors[2], torch.full((2,), math.sqrt(0.5)))


def test_regional_contrast_equals_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64).requires_grad_()
    anchors = F.normalize(torch.randn(3, 5, generator=generator, dtype=torch.float64), dim=1)
    positive = torch.tensor([[0, 1], [4, -1], [8, 9]])
    negative = torch.tensor([[[5, 6, -1], [7, 8, 9]], [[0, 1, 2], [0, 0, 0]], [[1, -1, -1], [-1, -1, -1]]])
    found = regional_contrast(features, anchors, positive, negative, 0.3)
    terms = []
    for region in range(3):
        for place in range(2):
            row = int(positive[region, place])
            if row < 0:
                continue
            own = math.exp(cosine(features[row], anchors[region]) / 0.3)
            others = sum(
                math.exp(cosine(features[int(one)], anchors[region]) / 0.3)
                for one in negative[region, place]
                if one >= 0
            )
            terms.append(-math.log(own / (own + others)))
    assert abs(float(found.mean.detach()) - sum(terms) / len(terms)) < CLOSE
    assert found.terms[found.counted].shape == (5,)
    assert abs(float(found.terms[5].detach())) < CLOSE  # no negative: nothing to tell apart
    found.mean.backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_region_classification_stays_within_a_scene() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    anchors = F.normalize(torch.randn(4, 4, generator=generator, dtype=torch.float64), dim=1)
    positive = torch.tensor([[0], [1], [2], [-1]])
    owner = torch.tensor([0, 0, 1, -1])
    found = region_classification(features, anchors, positive, owner, 0.5)
    logits = [cosine(features[0], anchors[one]) / 0.5 for one in range(2)]
    expected = -logits[0] + math.log(sum(math.exp(one) for one in logits))
    assert abs(float(found.terms[0]) - expected) < CLOSE
    assert abs(float(found.terms[2])) < CLOSE  # alone in its scene
    assert found.counted.tolist() == [True, True, True, False]


def test_matched_contrast_equals_loops() -> None:
    generator = torch.Generator().manual_seed(2)
    anchors = F.normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=1).requires_grad_()
    features = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    flag = torch.tensor([True, True, True, True, True, False, False, False, False])
    queries = torch.tensor([True, False, True])
    same = flag.expand(3, -1)
    found = matched_contrast(
        anchors, features, queries=queries, same_flag=same, other_flag=~same, top_k=2, temperature=0.2
    )
    terms = []
    for row in (0, 2):
        scores = sorted((cosine(features[one], anchors[row].detach()) for one in range(5)), reverse=True)[:2]
        positive = sum(math.exp(one / 0.2) for one in scores)
        negative = sum(math.exp(cosine(features[one], anchors[row].detach()) / 0.2) for one in range(5, 9))
        terms.append(math.log(positive + negative) - math.log(positive))
    assert abs(float(found.mean.detach()) - sum(terms) / 2) < CLOSE
    assert (found.top_index[1] == -1).all()
    assert flag[found.top_index[0]].all()


def test_a_flag_without_points_gives_zero_with_a_gradient() -> None:
    anchors = F.normalize(torch.ones(2, 3), dim=1).requires_grad_()
    none = torch.zeros(2, 5, dtype=torch.bool)
    found = matched_contrast(
        anchors, torch.randn(5, 3), queries=torch.ones(2, dtype=torch.bool), same_flag=none, other_flag=~none, top_k=3,
        temperature=0.1,
    )  # fmt: skip
    assert float(found.mean.detach()) == 0.0
    found.mean.backward()
    assert anchors.grad is not None
    assert torch.equal(anchors.grad, torch.zeros(2, 3))


def test_regions_drawn_twice_are_joined() -> None:
    place = torch.arange(6).view(3, 2)
    joined = region_classification_places(place, torch.tensor([1, 0, 1]), 2)
    assert joined.tolist() == [[2, 3, -1, -1], [0, 1, 4, 5]]


def objective(**changes: Any) -> tuple[Fac, Batch]:
    config, batch = scenes_examples.fac()
    torch.manual_seed(0)
    encoder = SparseUNet(scenes_examples.sparse_unet()[0])
    return Fac(dataclasses.replace(config, **changes), encoder).train(), batch


@pytest.mark.parametrize("negatives", ["points", "regions"])
def test_drawn_points_lie_where_they_should(negatives: str) -> None:
    fac, batch = objective(negatives=negatives)
    draws = fac.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1))
    a, b = (batch.views[name].inputs for name in "ab")
    anchor, positive, negative = draws["anchor"], draws["positive"], draws["negative"]
    assert (a["region"][positive] == anchor[:, None]).all()
    assert all((b["region"] == one).any() for one in anchor)
    if negatives == "points":
        elsewhere = a["region"][positive.flatten()[negative.clamp(min=0)]]
        assert ((elsewhere != anchor[:, None, None]) | (negative < 0)).all()
        assert (negative >= 0).any()
    flags = a["foreground"][anchor].float()
    owner = a["region_owner"][anchor]
    for scene in range(2):
        assert 0 < flags[owner == scene].mean() < 1  # both kinds
    candidate = b["foreground"][b["region"][draws["candidate"]]]
    assert candidate.sum() * 2 == len(candidate)


@pytest.mark.parametrize("changes", [{}, {"negatives": "regions"}, {"matching_radius_m": 0.5}])
def test_losses_fall_on_one_batch(changes: dict[str, Any]) -> None:
    fac, batch = objective(**changes)
    draws = fac.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1))
    optimiser = torch.optim.Adam([one for one in fac.parameters() if one.requires_grad], 3e-3)
    totals = []
    for _ in range(8):
        terms = fac(batch, draws)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        fac.after_step(Progress(0, 1), [terms.carry])
        totals.append(float(terms.total.detach()))
    assert totals[-1] < 0.9 * totals[0], totals


def test_the_key_side_gets_no_gradient_and_follows() -> None:
    fac, batch = objective()
    draws = fac.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1))
    fac(batch, draws).total.backward()
    assert all(one.grad is None for one in fac.teacher.parameters())
    student = fac.encoder.get_parameter("conv_input.0.weight")
    before = fac.teacher.get_parameter("conv_input.0.weight").clone()
    with torch.no_grad():
        student.add_(1.0)
    fac.after_step(Progress(0, 1), [])
    moved = fac.teacher.get_parameter("conv_input.0.weight")
    assert torch.allclose(moved, 0.9 * before + 0.1 * student, atol=1e-6)  # one float32 rounding
    assert fac.encoder_for_export("teacher") is fac.teacher


def test_queue_goes_round_whatever_the_batch() -> None:
    contrast = MomentumContrast(3, 5)
    first = torch.eye(3)
    contrast.update({"points": first, "voxels": 2 * first})
    contrast.update({"points": first, "voxels": first})
    assert int(contrast.pointer) == 1
    assert torch.equal(contrast.queues[0, 0], first[2])
    assert torch.allclose(contrast.queues[1].norm(dim=1), torch.ones(5))


def test_scene_contrast_stores_keys_after_the_step_only() -> None:
    config, batch = scenes_examples.scene_moco()
    moco = SceneMoco(config, SparseUNet(scenes_examples.sparse_unet()[0])).train()
    before = moco.criterion.queues.clone()
    terms = moco(batch, moco.draw(batch, torch.Generator(), Progress(0, 1)))
    assert torch.equal(before, moco.criterion.queues)
    moco.after_step(Progress(0, 1), [terms.carry])
    assert int(moco.criterion.pointer) == 2
    assert torch.equal(before[0], moco.criterion.queues[0])  # the points format has no branch here


@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {"momentum": 1.5}, {"anchors": 0}, {"top_k": 0}])
def test_settings_outside_their_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Fac(FacConfig(**changes), SparseUNet(scenes_examples.sparse_unet()[0]))
