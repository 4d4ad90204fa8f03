"""Alice's objective: its losses against plain loops, its teachers, masks, variants, and what makes it collapse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Progress
from repcore_medical3d.configs.alice import FIGURE_ALICE, PUBLISHED_ALICE, AliceConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig, SwinUnetrConfig, VolumeVitConfig
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.encoders.swin_monai import SwinUnetr, VolumeVit
from repcore_medical3d.examples.alice import alice, nnformer
from repcore_medical3d.objectives.alice import Alice, clip_each, teacher_temperature
from repcore_medical3d.objectives.alice_parts import hidden_tokens, information, standardised_features, voxel_mask
from repcore_medical3d.rendering import volumes as volumes_render

SMALL = {
    name: getattr(alice()[0], name)
    for name in (
        "output_width", "hidden_width", "bottleneck_width", "alignment_heads", "alignment_key_width",
        "alignment_hidden_width", "alignment_dropout", "mask_patch", "mask_ratio",
    )
}  # fmt: skip
PROGRESS = Progress(0, 10, total_epochs=1.0)


def built(config: AliceConfig | None = None, encoder: NnFormerConfig | None = None) -> Alice:
    torch.manual_seed(0)
    return Alice(config or alice()[0], NnFormer(encoder or nnformer()[0]))


def batch() -> Batch:
    return alice()[1]


def draws(objective: Alice, seed: int = 0) -> dict[str, Tensor]:
    return dict(objective.draw(batch(), torch.Generator().manual_seed(seed), PROGRESS))


def slow_cross_entropy(goal: Tensor, outputs: Tensor, center: Tensor, temperature: float, student: float) -> float:
    """One row at a time, with the exponentials written out."""
    rows = []
    for teacher_row, student_row in zip(goal.flatten(0, -2).tolist(), outputs.flatten(0, -2).tolist(), strict=True):
        shifted = [(z - c) / temperature for z, c in zip(teacher_row, center.flatten().tolist(), strict=True)]
        top = max(shifted)
        total = sum(math.exp(one - top) for one in shifted)
        target = [math.exp(one - top) / total for one in shifted]
        scaled = [one / student for one in student_row]
        highest = max(scaled)
        logarithm = highest + math.log(sum(math.exp(one - highest) for one in scaled))
        rows.append(-sum(p * (one - logarithm) for p, one in zip(target, scaled, strict=True)))
    return sum(rows) / len(rows)


def test_losses_follow_their_formulas() -> None:
    objective = built().eval()
    objective.center.normal_(generator=torch.Generator().manual_seed(1))
    objective.token_center.normal_(generator=torch.Generator().manual_seed(2))
    drawn = draws(objective)
    found = objective(batch(), drawn)
    volumes = torch.cat([batch().views[name].inputs["volume"] for name in ("query", "key")])
    with torch.no_grad():
        student, redrawn = objective.student(volumes, drawn["hidden"])
        assert student is not None
        assert redrawn is not None
        teacher = objective.teacher(volumes)
        own, goal = objective.aligned(student, teacher)
    tau, s = objective.config.teacher_temperature, objective.config.student_temperature
    half = len(volumes) // 2
    crossed = torch.cat([student.pooled[half:], student.pooled[:half]])
    # float32 sums over 16 outputs: rounding only
    assert float(found.terms["inter_volume"].detach()) == pytest.approx(
        slow_cross_entropy(teacher.pooled, crossed, objective.center, tau, s), rel=1e-5
    )
    assert float(found.terms["intra_volume"].detach()) == pytest.approx(
        slow_cross_entropy(goal, own, objective.token_center, tau, s), rel=1e-5
    )
    mask = voxel_mask(drawn["hidden"], 2).expand_as(volumes)
    rows = volumes.flatten(1)
    goal = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-2)
    error = float(((redrawn - goal.view_as(volumes))[mask] ** 2).mean())
    assert float(found.terms["reconstruction"].detach()) == pytest.approx(error, rel=1e-5)
    assert int(found.counts["reconstruction"]) == int(mask.sum())


def test_no_gradient_reaches_teachers_and_centres_move_only_after_a_step() -> None:
    objective = built()
    before = {
        name: value.clone() for name, value in objective.state_dict().items() if name.startswith(("teacher", "center"))
    }
    losses = objective(batch(), draws(objective))
    losses.total.backward()
    assert all(one.grad is None for name, one in objective.named_parameters() if name.startswith("teacher"))
    after = objective.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    with torch.no_grad():
        for one in objective.encoder.parameters():
            one.add_(0.1)
    objective.after_step(PROGRESS, [losses.carry])
    momentum, name = objective.config.ema_start, "teacher_encoder.norms.0.weight"
    expected = before[name] * momentum + objective.encoder.norms[0].weight.detach() * (1 - momentum)  # type: ignore[index, union-attr]
    torch.testing.assert_close(objective.state_dict()[name], expected)
    moved = 0.1 * losses.carry["center"]
    torch.testing.assert_close(objective.center, moved)


def test_equal_networks_and_equal_views_reach_the_entropy_of_the_target() -> None:
    """Student = teacher, no mask, the same crop twice: cross-entropy is that of one distribution with itself."""
    objective = built(
        replace(alice()[0], student_temperature=0.1, teacher_temperature=0.1, teacher_temperature_start=0.1)
    )
    objective.eval()
    views = {name: batch().views["query"] for name in ("query", "key")}
    volumes = torch.cat([views[name].inputs["volume"] for name in views])
    nothing = torch.zeros(len(volumes), 8, 8, 8, dtype=torch.bool)
    with torch.no_grad():
        student, _ = objective.student(volumes, nothing)
        assert student is not None
        teacher = objective.teacher(volumes)
        loss = objective.inter_volume(student.pooled, teacher.pooled, 0.1)
        floor = torch.special.entr(torch.softmax(teacher.pooled / 0.1, -1)).sum(-1).mean()
    assert float(loss) == pytest.approx(float(floor), rel=1e-5)


@pytest.mark.parametrize("variant", [PUBLISHED_ALICE, FIGURE_ALICE, AliceConfig()])
def test_every_variant_runs_and_learns_from_every_part(variant: AliceConfig) -> None:
    objective = built(replace(variant, **SMALL)).train()  # type: ignore[arg-type]
    losses = objective(batch(), draws(objective))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    for part in (objective.encoder, objective.head, objective.alignment):
        assert any(one.grad is not None and bool(one.grad.abs().sum() > 0) for one in part.parameters())
    objective.before_step(PROGRESS)
    objective.after_step(PROGRESS, [losses.carry])


def test_the_residual_lets_both_sides_agree_without_the_teacher() -> None:
    """Without it, other teacher tokens give another target; with it, hardly: what the published code computes."""
    shift = {}
    for residual in ("queries", "none"):
        objective = built(replace(alice()[0], alignment_residual=residual)).eval()  # type: ignore[arg-type]
        volumes = torch.cat([batch().views[name].inputs["volume"] for name in ("query", "key")])
        with torch.no_grad():
            student, _ = objective.student(volumes, draws(objective)["hidden"])
            assert student is not None
            teacher = objective.teacher(volumes)
            _, target = objective.aligned(student, teacher)
            assert teacher.decoder is not None
            teacher.decoder = teacher.decoder + torch.randn(
                teacher.decoder.shape, generator=torch.Generator().manual_seed(3)
            )
            _, other = objective.aligned(student, teacher)
        shift[residual] = float((target - other).norm() / target.norm())
    assert shift["queries"] < shift["none"]


def test_a_term_without_weight_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> None:
        raise AssertionError(f"computed for nothing: {len(given)} arguments")

    objective = built(replace(alice()[0], inter_volume_weight=0.0, intra_volume_weight=0.0)).train()
    for name in ("teacher", "aligned", "_head"):
        monkeypatch.setattr(objective, name, never)
    losses = objective(batch(), draws(objective))
    assert set(losses.terms) == {"reconstruction"} == set(losses.counts)
    losses.total.backward()
    objective.after_step(PROGRESS, [losses.carry])

    across = built(replace(alice()[0], intra_volume_weight=0.0, reconstruction_weight=0.0)).train()
    for network in (across.encoder, across.teacher_encoder):
        monkeypatch.setattr(network, "first_decoder_map", never)
    monkeypatch.setattr(across, "aligned", never)
    losses = across(batch(), draws(across))
    assert set(losses.terms) == {"inter_volume"}
    across.after_step(PROGRESS, [losses.carry])
    assert not torch.equal(across.center, torch.zeros_like(across.center))


def test_pictures_show_the_pair_and_what_is_redrawn() -> None:
    """The mean of each crop is put back: a network that redraws zeros gives the crop's mean where it is hidden."""
    objective = built().eval()
    rows: list[tuple[str, np.ndarray]] = []
    views = {name: Batch(inputs={"volume": one.inputs["volume"][:1]}, size=1) for name, one in batch().views.items()}
    one = Batch(inputs=None, size=1, views=views)
    drawn = objective.draw(one, torch.Generator().manual_seed(0), PROGRESS)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        picture = objective.picture(one, drawn)
        encoder = objective.encoder
        patch.setattr(encoder, "reconstruct", lambda pyramid, first, seen: torch.zeros_like(seen))
        patch.setattr(volumes_render, "rows_picture", lambda given, caption: rows.extend(given))
        objective.picture(one, drawn)
    assert "other scan" in picture.html
    assert "are hidden" in picture.alt
    shown = dict(rows)
    hidden = voxel_mask(drawn["hidden"], 2)[0, 0].numpy()
    crop = shown["crop"]
    np.testing.assert_allclose(shown["hidden cells redrawn"][hidden], crop.mean(), rtol=1e-5)
    np.testing.assert_array_equal(shown["hidden cells redrawn"][~hidden], crop[~hidden])
    assert not shown["visible"][hidden].any()
    np.testing.assert_array_equal(shown["the same place in another scan"], one.views["key"].inputs["volume"][0, 0])


def test_standardised_inputs_keep_what_tells_crops_apart() -> None:
    """A fresh network gives crops that look alike nearly one direction: published heads hear next to nothing."""
    generator = torch.Generator().manual_seed(1)
    edge = int(nnformer()[0].crop_edge or 0)
    crops = torch.rand(1, 1, edge, edge, edge, generator=generator)
    crops = crops + 0.05 * torch.randn(6, 1, edge, edge, edge, generator=generator)
    heard = {}
    for kind in ("raw", "standardised"):
        objective = built(replace(alice()[0], head_inputs=kind)).eval()  # type: ignore[arg-type]
        with torch.no_grad():
            outputs = objective.teacher(crops)
        heard[kind] = float(outputs.pooled.std(dim=0).mean())
    assert heard["standardised"] > 2 * heard["raw"]
    features = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    found = standardised_features(7 + 0.01 * features)
    torch.testing.assert_close(found.mean(dim=(0, 1)), torch.zeros(4), atol=2e-4, rtol=0)  # 7 in float32 / 0.01
    single = found[1, 2, 3]
    column = [0.01 * one for one in features[:, :, 3].flatten().tolist()]
    mean = sum(column) / 15
    deviation = math.sqrt(sum((one - mean) ** 2 for one in column) / 15 + 1e-5)
    assert float(single) == pytest.approx((0.01 * float(features[1, 2, 3]) - mean) / deviation, rel=1e-3)


@pytest.mark.parametrize("encoder", ["swin", "vit"])
def test_other_backbones_train_behind_the_same_interface(encoder: str) -> None:
    torch.manual_seed(0)
    network: nn.Module
    if encoder == "swin":
        pytest.importorskip("einops", reason="MONAI's Swin transformer needs it")
        network = SwinUnetr(SwinUnetrConfig(crop_edge=64, width=12, heads=(1, 2, 2, 4), window=4))
        edge, patch = 64, 16
    else:
        network = VolumeVit(VolumeVitConfig(crop_edge=16, patch=8, width=24, mlp_width=32, depth=1, heads=2))
        edge, patch = 16, 8
    objective = Alice(replace(alice()[0], mask_patch=patch), network)
    volume = torch.rand(1, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0))
    views = {name: Batch(inputs={"volume": volume}, size=1) for name in ("query", "key")}
    given = Batch(inputs=None, size=1, views=views)
    losses = objective(given, objective.draw(given, torch.Generator().manual_seed(0), PROGRESS))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    with pytest.raises(ConfigError, match="no mask token"):
        Alice(replace(alice()[0], mask_patch=patch, mask_mode="token"), network)


@pytest.mark.parametrize("shape", ["cells", "columns"])
def test_masks_hide_their_share_in_every_sample(shape: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = hidden_tokens(3, 32, patch=8, ratio=0.6, stride=2, shape=shape, generator=generator)
    assert hidden.shape == (3, 16, 16, 16)
    number = 16 if shape == "columns" else 64
    assert hidden.flatten(1).float().mean(1).tolist() == pytest.approx([math.ceil(0.6 * number) / number] * 3)
    assert not torch.equal(hidden[0], hidden[1])
    cells = hidden.view(3, 4, 4, 4, 4, 4, 4).float().mean(dim=(2, 4, 6))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    if shape == "columns":
        assert torch.equal(hidden[..., :1].expand_as(hidden), hidden)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask_patch": 5}, "mask_patch=5"), ({"mask_ratio": 1.0}, "mask_ratio=1.0"),
        ({"teacher_temperature": 0.0}, "teacher_temperature=0.0"), ({"ema_start": 1.5}, "ema_start=1.5"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built(replace(alice()[0], **changes))  # type: ignore[arg-type]


def test_a_collapsed_teacher_stops_the_run() -> None:
    objective = built(replace(alice()[0], collapse_patience=3))
    carried = {"center": torch.zeros(1, 16), "token_center": torch.zeros(1, 1, 16), "information": torch.zeros(())}
    for step in range(3):
        objective.after_step(Progress(step + 1, 100), [carried])
    with pytest.raises(RunError, match="collapsed"):
        objective.after_step(Progress(20, 100), [carried])


def test_information_is_zero_for_equal_rows_and_log_n_for_different_ones() -> None:
    assert float(information(torch.full((4, 8), 1 / 8))[1]) == pytest.approx(0.0, abs=1e-6)
    each, gain = information(torch.eye(8))
    assert float(each) == pytest.approx(0.0, abs=1e-6)
    assert float(gain) == pytest.approx(math.log(8), abs=1e-5)


def test_clipping_tensor_by_tensor() -> None:
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.1, 0.0, 0.0])
    clip_each(parameters, 1.0)
    assert float(parameters[0].grad.norm()) == pytest.approx(1.0, rel=1e-4)
    assert float(parameters[1].grad.norm()) == pytest.approx(0.1)


def test_temperature_warms_up() -> None:
    config = replace(
        AliceConfig(), teacher_temperature_start=0.02, teacher_temperature=0.06, teacher_temperature_warmup=0.5
    )
    assert [teacher_temperature(config, one) for one in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.02, 0.04, 0.06, 0.06]
    )
