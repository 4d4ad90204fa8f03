"""Diagnostics: exact on small cases, silent on healthy features, loud on each kind of collapse."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from repcore.diagnostics.capture import capture_failure, gradient_norms, read_capture
from repcore.diagnostics.metrics import (
    alignment,
    alpha_req,
    diagnose,
    effective_rank,
    lidar,
    neighbour_figures,
    normalised_deviation,
    rank_me,
    uniformity,
    uniformity_of_sphere,
)
from repcore.diagnostics.verdict import judge
from repcore.errors import RunError, ShapeError
from repcore.interfaces import Batch


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def unit(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = values / np.linalg.norm(values, axis=1, keepdims=True)
    return result


def figures(values: np.ndarray) -> dict[str, float]:
    return diagnose(values, generator=generator())


def test_rankme_counts_equal_directions() -> None:
    for rank in (1, 2, 5):
        values = np.zeros((20, 8))
        values[np.arange(rank), np.arange(rank)] = 3.0
        assert rank_me(values) == pytest.approx(rank, rel=1e-4)  # the published epsilon shifts it by about 1e-6 * 8
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_rank(shares * 7) == pytest.approx(2**1.5, rel=1e-5)  # entropy is 1.5 bits
    assert effective_rank(np.zeros(4)) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.5])
def test_alpha_req_recovers_a_power_law(alpha: float) -> None:
    eigenvalues = 7.0 * np.arange(1, 65) ** -alpha
    assert alpha_req(eigenvalues) == pytest.approx(alpha, abs=1e-9)
    disturbed = eigenvalues.copy()
    disturbed[:2] *= 100  # before the declared range
    disturbed[32:] = disturbed[32:] * 0.9  # behind it
    assert alpha_req(disturbed) == pytest.approx(alpha, abs=1e-9)
    assert math.isnan(alpha_req(eigenvalues[:6]))


def test_uniformity_and_alignment_equal_loops() -> None:
    values = unit(generator().normal(size=(12, 5)))
    other = unit(generator(1).normal(size=(12, 5)))
    pairs = [math.exp(-2 * ((a - b) ** 2).sum()) for a, b in itertools.combinations(values, 2)]
    assert uniformity(values) == pytest.approx(math.log(np.mean(pairs)))
    assert alignment(values * 3, other * 0.1) == pytest.approx(
        np.mean([((a - b) ** 2).sum() for a, b in zip(values, other, strict=True)])
    )
    with pytest.raises(ShapeError):
        alignment(values, other[:3])


@pytest.mark.parametrize("width", [2, 3, 16])
def test_uniformity_of_the_sphere_is_what_random_points_have(width: int) -> None:
    points = unit(generator().normal(size=(4000, width)))
    assert uniformity(points) == pytest.approx(
        uniformity_of_sphere(width), abs=0.02
    )  # Monte Carlo error of 4000 points


def test_normalised_deviation_is_one_for_isotropic_and_zero_for_one_point() -> None:
    assert normalised_deviation(unit(generator().normal(size=(4000, 32)))) == pytest.approx(1.0, abs=0.01)
    assert normalised_deviation(np.tile(unit(np.ones((1, 32))), (50, 1))) == pytest.approx(0.0, abs=1e-9)


def test_duplicates_and_hubness() -> None:
    values = generator().normal(size=(300, 16))
    values[50:80] = values[:30] * 2.0  # same direction
    duplicates, _ = neighbour_figures(unit(values))
    assert duplicates == pytest.approx(60 / 300)
    even = figures(generator().normal(size=(500, 3)))["hubness"]
    hub = generator().normal(size=(500, 200)) + 0.5
    hub[:5] = 0.5 + 0.02 * hub[:5]  # a few rows lie in the middle of all
    assert figures(hub)["hubness"] > 5 > even


def test_lidar_groups_by_item_whatever_the_order() -> None:
    centres = generator().normal(size=(40, 6)) * np.array([5, 5, 5, 0, 0, 0])
    views = np.repeat(centres, 4, axis=0) + 0.1 * generator(1).normal(size=(160, 6))
    items = [f"item {i // 4}" for i in range(160)]
    order = generator(2).permutation(160)
    score = lidar(views, items)
    assert lidar(views[order], [items[i] for i in order]) == pytest.approx(score)
    assert 2.5 < score < 3.3  # three directions tell items apart
    by_position = [f"item {i // 4}" for i in range(160)]
    assert lidar(views[order], by_position) > score + 1  # grouped by queue position: the figure means nothing
    assert math.isnan(lidar(views[:4], items[:4]))
    with pytest.raises(ShapeError, match="159 item ids for 160 rows"):
        lidar(views, items[:-1])


def test_lidar_equals_the_definition() -> None:
    values, items = generator().normal(size=(12, 3)), [i % 4 for i in range(12)]
    groups = [values[[i for i in range(12) if items[i] == g]] for g in range(4)]
    means = [g.mean(0) for g in groups]
    grand = np.mean(means, axis=0)
    between = np.mean([np.outer(m - grand, m - grand) for m in means], axis=0)
    within = np.mean(
        [np.mean([np.outer(x - m, x - m) for x in g], axis=0) for g, m in zip(groups, means, strict=True)], 0
    )
    # eigenvalues of W^-1 B equal those of W^-1/2 B W^-1/2
    values_ = np.linalg.eigvals(np.linalg.solve(within + 1e-4 * np.eye(3), between)).real.clip(0)
    shares = values_ / values_.sum() + 1e-7
    assert lidar(values, items) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


def test_nonfinite_rows_are_counted_and_left_out() -> None:
    values = generator().normal(size=(60, 4))
    clean = figures(values[:58])
    values[58, 0], values[59] = np.inf, np.nan
    found = figures(values)
    assert found["nonfinite"] == 5
    assert found["rankme"] == pytest.approx(clean["rankme"])
    assert math.isnan(figures(np.full((5, 3), np.nan))["rankme"])
    with pytest.raises(ShapeError):
        figures(np.zeros(5))


def test_sub_sample_is_drawn_from_the_generator_and_keeps_views_together() -> None:
    values = generator().normal(size=(3000, 8))
    assert figures(values) == figures(values)
    assert figures(values)["rows"] == 2048
    items = [i // 3 for i in range(3000)]
    whole = diagnose(values, generator=generator(), items=items, rows=100)
    assert whole["rows"] == 99  # 33 items of three views
    assert not math.isnan(whole["lidar"])


def healthy(seed: int = 0) -> np.ndarray:
    """Like a trained encoder: spectrum near k^-1, a common offset."""
    scale = np.arange(1, 33) ** -0.5
    return generator(seed).normal(size=(400, 32)) * scale + 0.3


START = figures(healthy())


def collapsed_to_a_point() -> np.ndarray:
    return np.ones((400, 32)) + 0.001 * generator().normal(size=(400, 32))


def one_direction() -> np.ndarray:
    return generator().normal(size=(400, 1)) * np.ones((1, 32)) + 1e-4 * generator().normal(size=(400, 32))


def dead() -> np.ndarray:
    values = healthy()
    values[:, 10:] = 0.0
    return values


def few_codes() -> np.ndarray:
    return healthy()[generator().integers(0, 40, 400)]


def broken() -> np.ndarray:
    values = healthy()
    values[7, 3] = np.nan
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (collapsed_to_a_point(), "one point"),
        (one_direction(), "few directions"),
        (dead(), "22 of 32 dimensions are constant"),
        (few_codes(), "share their embedding"),
        (broken(), "1 embedding values are NaN"),
    ],
    ids=["point", "direction", "dead", "codes", "nan"],
)
def test_each_collapse_is_called_by_its_name(values: np.ndarray, words: str) -> None:
    verdict = judge(figures(values), START)
    assert verdict.level == "collapsed"
    assert words in verdict.line
    assert "\n" not in verdict.line
    assert verdict.line.startswith("collapsed: ")


def test_healthy_features_raise_no_alarm() -> None:
    for now in (healthy(1), healthy(2) * 50, generator().normal(size=(400, 32))):
        verdict = judge(figures(now), START)
        assert verdict.level == "healthy", verdict.line
        assert not verdict.reasons
    assert judge(START).level == "healthy"


def test_half_way_is_a_warning() -> None:
    shrunk = healthy() + 1.0  # a common direction takes over, items remain apart
    verdict = judge(figures(shrunk), START)
    assert verdict.level == "warning"
    assert "items move together" in verdict.line
    wide = figures(generator().normal(size=(400, 32)))
    few = generator().normal(size=(400, 32)) * np.where(np.arange(32) < 4, 1.0, 0.01)
    assert judge(figures(few), wide).level == "warning"
    assert "few directions" in judge(figures(few), wide).line
    steep = judge({**START, "alpha-req": 4.0}, START)
    assert (steep.level, "decays fast" in steep.line) == ("warning", True)
    assert judge({**START, "alpha-req": 4.0}, {**START, "alpha-req": 3.5}).level == "healthy"


def test_a_narrow_cone_that_is_rich_inside_is_no_collapse() -> None:
    """What masked reconstruction often makes: a large common direction, with all differences still there."""
    cone = figures(healthy() + 5.0)
    verdict = judge(cone, START)
    assert 0.02 < cone["std"] < 0.25 * START["std"]
    assert verdict.level == "warning"
    assert "take the mean away" in verdict.line
    poor = judge({**cone, "rankme-centred": 0.9 * START["rankme-centred"]}, START)
    assert poor.level == "collapsed"
    assert "one point" in poor.line


@pytest.mark.parametrize("offset", [20.0, 50.0, 200.0])
def test_a_cone_below_the_floor_is_judged_by_what_it_holds(offset: float) -> None:
    """Mean vectors of reconstruction lie within a degree of each other and are worth more than random ones: what is
    left without their mean says so, down to what rounding could have made."""
    cone = figures(healthy() + offset)
    assert 0.001 < cone["std"] < 0.02
    assert judge(cone, START).level == "warning"
    assert "take the mean away" in judge(cone, START).line
    assert judge(cone).level == "collapsed"  # nothing to compare with
    poor = judge({**cone, "rankme-centred": 0.9 * START["rankme-centred"]}, START)
    assert (poor.level, "one point" in poor.line) == ("collapsed", True)
    rounded = np.round((healthy() + 1e4) * 8) / 8  # numbers of few digits: the rank is that of their rounding
    assert judge(figures(rounded), START).level == "collapsed"


def test_an_encoder_that_starts_narrow_is_judged_by_its_own_start() -> None:
    narrow = np.ones((400, 32)) + 0.015 * generator().normal(size=(400, 32))
    start = figures(narrow)
    assert start["std"] < 0.02
    assert judge(start, start).level == "healthy"
    assert judge(start).level == "collapsed"


@pytest.mark.learns
def test_a_run_without_repulsion_is_caught_and_one_with_it_is_not() -> None:
    """Two small encoders learn to agree between noisy views; only one is kept from the trivial solution."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(512, 20, generator=draw)
    levels = {}
    for repulsion in (0.0, 1.0):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32))
        start = figures(encoder(clean).detach().numpy())
        optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
        for _ in range(300):
            a, b = (
                nn.functional.normalize(encoder(clean + 0.3 * torch.randn(clean.shape, generator=draw)), dim=1)
                for _ in range(2)
            )
            spread = torch.pdist(a).pow(2).mul(-2).exp().mean().log()
            loss = (a - b).pow(2).sum(1).mean() + repulsion * spread
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        levels[repulsion] = judge(figures(encoder(clean).detach().numpy()), start).level
    assert levels == {0.0: "collapsed", 1.0: "healthy"}


class Tied(nn.Module):
    """Two names for one weight, as language models have."""

    def __init__(self) -> None:
        super().__init__()
        first, second = nn.Linear(3, 4), nn.Linear(4, 3)
        self.encoder = nn.Sequential(first, second)
        self.head = nn.Linear(4, 3)
        self.head.weight = second.weight


def test_gradient_norms_by_group() -> None:
    module = Tied()
    module.encoder(torch.ones(2, 3)).sum().backward()
    norms = gradient_norms(module)
    assert set(norms) == {"encoder.0", "encoder.1"}
    gradients = [p.grad for p in module.encoder[0].parameters() if p.grad is not None]
    by_hand = math.sqrt(sum(float(one.square().sum()) for one in gradients))
    assert norms["encoder.0"] == pytest.approx(by_hand)
    assert gradient_norms(module, depth=1)["encoder"] == pytest.approx(math.hypot(*norms.values()))
    assert gradient_norms(nn.Linear(2, 2)) == {}


def test_a_failed_step_can_be_read_again(tmp_path: Path) -> None:
    module = Tied()
    with torch.no_grad():
        module.encoder.get_parameter("0.weight")[0, 0] = math.nan
    batch = Batch(
        inputs={"x": torch.arange(6.0).reshape(2, 3).T, "ragged": [torch.ones(2), torch.zeros(0)]},
        size=2,
        views={"a": Batch(inputs=torch.ones(2, 3).to_sparse(), size=2)},
        sample_id=["first", "second"],
    )
    error = capture_failure(
        tmp_path / "step-7", step=7, reason="loss is NaN", module=module, batch=batch,
        draws={"mask": torch.tensor([True, False])}, seed=3, hint="repcore toy train x --resume latest",
    )  # fmt: skip
    assert isinstance(error, RunError)
    assert "loss is NaN at step 7" in str(error)
    assert "weights.encoder.0.weight (1)" in str(error)
    assert "repcore toy train" in str(error)
    tensors, record = read_capture(tmp_path / "step-7")
    assert torch.equal(tensors["batch.inputs.x"], batch.inputs["x"])
    assert torch.equal(tensors["batch.views.a.inputs"], torch.ones(2, 3))
    assert torch.equal(tensors["draws.mask"], torch.tensor([True, False]))
    assert {"weights.encoder.1.weight", "weights.head.weight", "random.cpu", "batch.inputs.ragged.1"} <= set(tensors)
    assert record["sample_ids"] == ["first", "second"]
    assert record["nonfinite"] == {"weights.encoder.0.weight": 1}
    json.dumps(record, allow_nan=False)


def test_captures_do_not_overwrite_and_failures_to_write_are_said(tmp_path: Path) -> None:
    batch = Batch(inputs=torch.ones(1), size=1)
    arguments = {"step": 1, "reason": "loss is Inf", "module": nn.Linear(1, 1), "batch": batch}
    for _ in range(2):
        capture_failure(tmp_path / "c", **arguments)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c-2"]
    (tmp_path / "file").write_text("")
    error = capture_failure(tmp_path / "file" / "c", **arguments)  # type: ignore[arg-type]
    assert "could not be written" in str(error)
    with pytest.raises(RunError, match="is not a readable capture"):
        read_capture(tmp_path / "nothing")
