"""Adam-v2 and Adam-v1 as objectives: losses against slow formulas, limits, gradients, rules of a step, collapse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Progress
from repcore.training.objective_rules import exported_encoder
from repcore_medical3d.configs.adam_v2 import AdamV1Config, AdamV2Config, ConvNextConfig, ResNetConfig, ViewsConfig
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.encoders.resnet import ResNetEncoder
from repcore_medical3d.objectives.adam_v1 import AdamV1, cell_boxes, kept, pruned_info_nce, similarities
from repcore_medical3d.objectives.adam_v2 import AdamV2, clip_each_tensor, follow
from repcore_medical3d.objectives.collapse import CollapseWatch, spread
from repcore_medical3d.objectives.localizability import entropy, localizability_loss, prototype_cross_entropy
from repcore_medical3d.objectives.part_whole import composability_loss, decomposability_loss
from repcore_medical3d.objectives.schedules import linear_then_constant

VIEWS = ViewsConfig(
    global_size=16, local_size=8, local_views=2, smallest_part=4, blur=(0.1, 0.5), saturation=0.0, hue=0.0
)
CONFIG = AdamV2Config(views=VIEWS, prototypes=24, hidden_width=16, bottleneck_width=8, freeze_last_layer_epochs=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(axes: int = 2) -> ConvNextEncoder:
    torch.manual_seed(0)
    return ConvNextEncoder(
        ConvNextConfig(depths=(1, 1), widths=(8, 12), kernel=3, layer_scale=0.3, spatial_dims=axes)  # type: ignore[arg-type]
    )


def objective(axes: int = 2, **changes: Any) -> AdamV2:
    config = replace(CONFIG, **changes)
    if axes == 3:
        config = replace(config, views=replace(config.views, branching=(2, 2, 2), part_size=8))
    return AdamV2(config, encoder(axes))


def batch(axes: int = 2, size: int = 3) -> Batch:
    name = "image" if axes == 2 else "volume"
    return Batch(inputs={name: torch.rand(size, 1, *[40] * axes, generator=seeded(1))}, size=size)


def drawn(one: AdamV2, given: Batch, step: int = 0) -> Any:
    return one.draw(given, seeded(2), Progress(step=step, total_steps=100, steps_per_epoch=10))


# ------------------------------------------------------------------------------------------- terms


def test_cross_entropy_equals_the_plain_form_and_its_gradient() -> None:
    logits = torch.randn(3, 4, 7, dtype=torch.float64, generator=seeded(), requires_grad=True)
    teacher = torch.rand(4, 7, dtype=torch.float64, generator=seeded(1)).softmax(-1)
    assert torch.autograd.gradcheck(lambda x: prototype_cross_entropy(x, teacher, 0.3), (logits,))
    plain = -(teacher * torch.log_softmax(logits / 0.3, -1)).sum(-1)
    assert torch.allclose(prototype_cross_entropy(logits, teacher, 0.3), plain)
    huge = prototype_cross_entropy(1e4 * logits.detach(), teacher, 0.1)
    assert huge.isfinite().all()


def test_a_view_is_not_compared_with_itself() -> None:
    student = torch.randn(5, 3, 6, generator=seeded())
    teacher = torch.randn(2, 3, 6, generator=seeded(1)).softmax(-1)
    pairs = [
        -(teacher[a] * torch.log_softmax(student[v] / 0.1, -1)).sum(-1).mean()
        for a in range(2)
        for v in range(5)
        if a != v
    ]
    assert len(pairs) == 2 * 5 - 2
    found = localizability_loss(student, teacher, 0.1, shared_views=2)
    assert torch.allclose(found, torch.stack(pairs).mean(), atol=1e-5)


@pytest.mark.parametrize("parts", [4, 8, 16])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_perfect_predictions_reach_the_floor(parts: int, reduction: Any) -> None:
    """0 for the whole and for parts normalised one by one; (sqrt(N) - 1)^2 / N for parts normalised together."""
    width = 10
    targets = F.normalize(torch.randn(6, parts, width, generator=seeded()), dim=-1)
    scale = 1 if reduction == "sum" else width
    assert float(composability_loss(7 * targets[:, 0], targets[:, 0], reduction)) == pytest.approx(0, abs=1e-6)
    flat = 3 * targets.flatten(1)
    assert float(decomposability_loss(flat, targets, reduction, "per_part")) == pytest.approx(0, abs=1e-6)
    floor = (math.sqrt(parts) - 1) ** 2 / parts / scale
    assert float(decomposability_loss(flat, targets, reduction, "joint")) == pytest.approx(floor, rel=1e-4)


def test_sum_is_two_minus_twice_the_cosine() -> None:
    one, other = torch.randn(2, 5, 9, generator=seeded())
    wanted = (2 - 2 * F.cosine_similarity(one, other)).mean()
    assert torch.allclose(composability_loss(one, other, "sum"), wanted, atol=1e-5)
    assert torch.allclose(composability_loss(one, other, "mean"), wanted / 9, atol=1e-6)


def test_teacher_temperature_follows_its_line() -> None:
    assert [linear_then_constant(0.02, 0.04, 3, epoch) for epoch in range(5)] == pytest.approx(
        [0.02, 0.03, 0.04, 0.04, 0.04]
    )
    assert linear_then_constant(0.02, 0.04, 1, 0) == 0.02
    assert linear_then_constant(0.02, 0.04, 0, 0) == 0.04


# --------------------------------------------------------------------------------------- objective


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("size", [1, 3])
def test_losses_are_finite_in_two_and_three_dimensions(axes: int, size: int) -> None:
    one, given = objective(axes), batch(axes, size)
    terms = one(given, drawn(one, given))
    assert set(terms.terms) == {"localizability", "composability", "decomposability"}
    assert terms.total.isfinite()
    terms.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in one.encoder.parameters())


@pytest.mark.parametrize("axes", [2, 3])
def test_one_pass_a_resolution_equals_one_pass_a_view(axes: int) -> None:
    fused, separate = objective(axes), objective(axes, passes="separate")
    separate.load_state_dict(fused.state_dict())
    given = batch(axes)
    draws = drawn(fused, given)
    for first, second in zip(fused(given, draws).terms.values(), separate(given, draws).terms.values(), strict=True):
        assert torch.allclose(first, second, rtol=1e-5)


def test_batch_norm_sees_what_the_published_passes_see() -> None:
    """Separate passes: student statistics of seven calls, teacher statistics of N + 2 calls of its own."""
    config = replace(CONFIG, passes="separate")
    torch.manual_seed(0)
    backbone = ResNetEncoder(ResNetConfig(layers=(1, 1, 1, 1), widths=(4, 4, 4, 4), block="basic"))
    one = AdamV2(replace(config, views=replace(VIEWS, global_size=32, local_size=32)), backbone)
    one.train()
    given = batch()
    one(given, drawn(one, given))
    calls = {name: int(value) for name, value in one.named_buffers() if name.endswith("bn1.num_batches_tracked")}
    assert calls["encoder.backbone.bn1.num_batches_tracked"] == 7
    assert calls["teacher_encoder.backbone.bn1.num_batches_tracked"] == 6
    before = {name: value.clone() for name, value in one.teacher_encoder.named_buffers()}
    follow(one.teacher_encoder, one.encoder, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in one.teacher_encoder.named_buffers())


def test_the_teacher_gets_no_gradient_and_each_head_only_its_own() -> None:
    one, given = objective(), batch()
    terms = one(given, drawn(one, given)).terms
    for name, reached in (
        ("localizability", {"encoder", "head"}),
        ("composability", {"encoder", "compose_head"}),
        ("decomposability", {"encoder", "decompose_head"}),
    ):
        one.zero_grad(set_to_none=True)
        terms[name].backward(retain_graph=True)
        found = {
            key.partition(".")[0] for key, p in one.named_parameters() if p.grad is not None and (p.grad != 0).any()
        }
        assert found == reached, name


def test_order_of_parts_matters() -> None:
    one, given = objective(), batch()
    draws = dict(drawn(one, given))
    first = one(given, draws).terms
    draws["parts"] = draws["parts"].flip(1)
    second = one(given, draws).terms
    assert torch.equal(first["localizability"], second["localizability"])
    for name in ("composability", "decomposability"):
        assert not torch.allclose(first[name], second[name], rtol=1e-6)


def test_logits_are_cosines() -> None:
    one, given = objective(), batch()
    found = one.encode(drawn(one, given))
    assert float(found.student_logits.detach().abs().max()) <= 1 + 1e-5
    assert found.student_logits.shape == (3, 3, 24)  # global and two local views
    assert found.teacher_logits.shape == (1, 3, 24)


def test_the_first_stage_learns_localizability_alone() -> None:
    one, given = objective(warmup_share=0.5), batch()
    draws = drawn(one, given, step=10)
    assert "parts" not in draws
    assert set(one(given, draws).terms) == {"localizability"}
    assert one.encode(draws).teacher_logits.shape[0] == 2
    assert "parts" in drawn(one, given, step=60)


def test_centre_and_teacher_move_after_a_step_only() -> None:
    one, given = objective(), batch()
    draws = drawn(one, given)
    with torch.no_grad():
        for parameter in one.encoder.parameters():
            parameter.add_(0.1)
    terms = one(given, draws)
    assert float(one.centre.abs().sum()) == 0
    old = {name: value.clone() for name, value in one.teacher_encoder.named_parameters()}
    one.after_step(Progress(step=50, total_steps=100), [terms.carry, terms.carry])
    assert torch.allclose(one.centre, 0.1 * terms.carry["teacher_mean"], atol=1e-7)
    momentum = 1 - (1 - 0.996) * (math.cos(math.pi * 0.5) + 1) / 2
    for name, value in one.teacher_encoder.named_parameters():
        student = dict(one.encoder.named_parameters())[name]
        assert torch.allclose(value, momentum * old[name] + (1 - momentum) * student, atol=1e-6)


def test_gradients_are_clipped_one_by_one() -> None:
    tensors = [nn.Parameter(torch.zeros(4)) for _ in range(3)]
    for number, one in enumerate(tensors[:2]):
        one.grad = torch.full((4,), float(10**number))  # norms 2 and 20
    norms = clip_each_tensor(tensors, 5.0)
    assert [float(one) for one in norms] == [2.0, 20.0]
    assert float(tensors[0].grad.norm()) == 2.0  # type: ignore[union-attr]
    assert float(tensors[1].grad.norm()) == pytest.approx(5.0, rel=1e-5)  # type: ignore[union-attr]


def test_prototypes_stand_still_at_first() -> None:
    one, given = objective(freeze_last_layer_epochs=1.0), batch()
    for step, is_frozen in ((9, True), (10, False)):
        one.zero_grad(set_to_none=True)
        one(given, drawn(one, given)).total.backward()
        one.before_step(Progress(step=step, total_steps=100, steps_per_epoch=10))
        assert (one.head.last_layer.weight_v.grad is None) == is_frozen
        assert one.head.mlp[0].weight.grad is not None


def test_either_network_can_be_the_model() -> None:
    one = objective()
    assert exported_encoder(one) is one.teacher_encoder
    assert exported_encoder(objective(export="student"), "teacher") is not None
    assert one.encoder_for_export("student") is one.encoder
    with pytest.raises(ConfigError, match="no branch 'best'"):
        one.encoder_for_export("best")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warmup_share": 1.5}, "warmup_share=1.5"),
        ({"teacher_temperature": 0.0}, "teacher_temperature=0.0"),
        ({"prototypes": 1}, "prototypes=1"),
        ({"views": replace(VIEWS, branching=(8,))}, "branching"),
    ],
)
def test_settings_outside_their_range_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        objective(**change)


# ---------------------------------------------------------------------------------------- collapse


def test_spread_is_one_for_random_directions_and_zero_for_one() -> None:
    assert float(spread(torch.randn(400, 64, generator=seeded()))) == pytest.approx(1.0, abs=0.05)
    assert float(spread(torch.ones(8, 5))) == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(float(spread(torch.ones(1, 5))))


def test_entropy_runs_from_0_to_1() -> None:
    assert float(entropy(torch.full((3, 8), 1 / 8))) == pytest.approx(1.0)
    assert float(entropy(torch.eye(8))) == pytest.approx(0.0, abs=1e-6)


def fed(watch: CollapseWatch, spreads: list[float], losses: list[float]) -> None:
    for one, other in zip(spreads, losses, strict=True):
        watch.update(one, other)


def test_a_run_whose_images_become_one_is_stopped() -> None:
    watch = CollapseWatch(512, patience=10)
    with pytest.raises(RunError, match="all images get nearly one vector") as caught:
        fed(watch, [0.9] * 20 + [0.01] * 100, [5.0] * 120)
    assert "teacher_temperature" in str(caught.value)


def test_a_run_whose_prototypes_become_equal_is_stopped() -> None:
    top = math.log(512)
    with pytest.raises(RunError, match="all prototypes get the same share"):
        fed(CollapseWatch(512, patience=10), [0.9] * 200, [top] * 10 + [3.0] * 40 + [top] * 150)


@pytest.mark.parametrize(
    ("spreads", "losses"),
    [
        ([0.9] * 150, [math.log(512)] * 150),  # has not begun to learn: no collapse yet
        ([0.9] * 20 + [0.4] * 130, [5.0] * 150),
        ([0.9] * 100 + [0.01] * 5 + [0.9] * 45, [5.0] * 150),
        ([math.nan] * 150, [5.0] * 150),  # single images
    ],
)
def test_healthy_runs_go_on(spreads: list[float], losses: list[float]) -> None:
    watch = CollapseWatch(512, patience=10)
    fed(watch, spreads, losses)
    strikes = float(watch.state[-1])
    assert strikes == 0  # a dip that ends is forgotten


def test_the_watch_goes_on_after_a_resume() -> None:
    first = CollapseWatch(512, patience=50)
    fed(first, [0.9] * 20 + [0.01] * 60, [5.0] * 80)
    second = CollapseWatch(512, patience=50)
    second.load_state_dict(first.state_dict())
    with pytest.raises(RunError):
        fed(second, [0.01] * 30, [5.0] * 30)


# --------------------------------------------------------------------------------------------- v1


def slow_pruned(q: Tensor, k: Tensor, queue: Tensor, threshold: float | None, temperature: float) -> float:
    losses = []
    for row in range(len(q)):
        positive = float(q[row] @ k[row])
        negatives = [float(q[row] @ queue[:, j]) for j in range(queue.shape[1])]
        left = [one for one in negatives if threshold is None or one < threshold]
        total = sum(math.exp(one / temperature) for one in [positive, *left])
        losses.append(-math.log(math.exp(positive / temperature) / total))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("threshold", [None, 0.3, -1.1])
def test_pruned_contrast_equals_a_loop(threshold: float | None) -> None:
    q, k = (F.normalize(torch.randn(5, 8, generator=seeded(n)), dim=1) for n in (0, 1))
    queue = F.normalize(torch.randn(8, 30, generator=seeded(2)), dim=0)
    positive, negative = similarities(q, k, queue)
    found = pruned_info_nce(positive, negative, kept(negative, threshold), 0.2)
    assert float(found) == pytest.approx(slow_pruned(q, k, queue, threshold, 0.2), rel=1e-5, abs=1e-6)


def test_the_queue_wraps_round_for_any_batch() -> None:
    one = AdamV1(AdamV1Config(size=16, width=6, queue=10, blur=(0.1, 0.5)), encoder())
    keys = F.normalize(torch.randn(8, 6, generator=seeded()), dim=1)
    old = one.queue.clone()
    for number in range(2):
        one.after_step(Progress(number, 10), [{"keys": keys[number * 4 : number * 4 + 4]}])
    assert torch.equal(one.queue[:, :8], keys.T)
    assert torch.equal(one.queue[:, 8:], old[:, 8:])
    one.after_step(Progress(2, 10), [{"keys": keys[:4]}])
    assert torch.equal(one.queue[:, 8:], keys[:2].T)
    assert torch.equal(one.queue[:, :2], keys[2:4].T)
    assert int(one.queue_place) == 2


def test_v1_prunes_only_where_cells_are_drawn() -> None:
    one = AdamV1(AdamV1Config(size=16, width=6, queue=20, blur=(0.1, 0.5), pruning_threshold=-1.0), encoder())
    given = batch()
    shares = []
    for step in (0, 50):
        draws = one.draw(given, seeded(), Progress(step, 100))
        terms = one(given, draws)
        assert terms.total.isfinite()
        shares.append(float(terms.metrics["kept"]))
    assert shares == [1.0, 0.0]


@pytest.mark.parametrize("cells", [0, 2, 4])
def test_cells_lie_on_a_fixed_grid(cells: int) -> None:
    found = cell_boxes((40, 62), cells, 400, seeded())
    number = max(1, cells)
    assert found.extent[0, 0].tolist() == [40 // number, 62 // number]
    assert len({tuple(one) for one in found.origin[:, 0].tolist()}) == number**2
