"""The hierarchical encoder and masked point modelling: invariances, masks, losses against loops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Progress
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig
from repcore_pointcloud.encoders import mini_pointnet
from repcore_pointcloud.encoders.hierarchy import spread_to_finer, visible_slots
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.encoders.mini_pointnet import MiniPointNet, concatenated_form, folded_form, split_form
from repcore_pointcloud.encoders.point_blocks import allowed_pairs
from repcore_pointcloud.examples.shapes import batch, masked_points, point_encoder
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints, has_weight_decay
from repcore_pointcloud.objectives.point_augmentation import turns_about, turns_of


def build(**changes: object) -> HierarchicalPointEncoder:
    torch.manual_seed(0)
    return HierarchicalPointEncoder(replace(point_encoder()[0], **changes)).eval()  # type: ignore[arg-type]


def objective(encoder: HierarchicalPointEncoder | None = None, **changes: object) -> MaskedPoints:
    torch.manual_seed(1)
    return MaskedPoints(replace(masked_points()[0], **changes), encoder or build())  # type: ignore[arg-type]


def of(points: Tensor) -> Batch:
    return Batch(inputs={"points": points}, size=len(points))


# --------------------------------------------------------------------------------------------- encoder


@pytest.mark.parametrize("form", [split_form, folded_form])
@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_forms_of_the_small_network_equal_the_published_one_in_values_and_gradients(
    form: Callable[[MiniPointNet, Tensor], Tensor], is_training: bool, shift: float
) -> None:
    found = []
    for one in (form, concatenated_form):
        torch.manual_seed(0)
        network = MiniPointNet(3, 8, 12, 20, 6).double().train(is_training)
        for norm in (network.point_norm, network.joint_norm):  # as after some training
            for values in (norm.weight, norm.running_var):
                values.data.uniform_(0.5, 2.0)
            for values in (norm.bias, norm.running_mean):
                values.data.normal_()
        members = shift + torch.randn(30, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        members.requires_grad_()
        out = one(network, members)
        out.square().sum().backward()
        gradients = [each.grad for each in (members, *network.parameters())]
        found.append([out.detach(), *gradients, *(each.clone() for each in network.buffers())])
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("is_training", [True, False])
def test_folded_norms_lose_no_digits(is_training: bool) -> None:
    torch.manual_seed(0)
    network = MiniPointNet(3, 8, 12, 20, 6).train(is_training)
    members = 5.0 + torch.randn(200, 16, 3)
    exact = concatenated_form(copy.deepcopy(network).double(), members.double())
    errors = [(form(copy.deepcopy(network), members) - exact).abs().max() for form in (folded_form, split_form)]
    assert errors[0] < 1e-5
    assert errors[0] < 3 * errors[1]


def test_norms_are_folded_where_the_network_widens_and_they_are_ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    for form in (folded_form, split_form):
        name = form.__name__
        monkeypatch.setattr(mini_pointnet, name, lambda *given, name=name: used.append(name))
    members = torch.randn(4, 5, 3)
    wide, square = MiniPointNet(3, 8, 12, 20, 6), MiniPointNet(3, 8, 8, 20, 6)
    joined = nn.SyncBatchNorm.convert_sync_batchnorm(MiniPointNet(3, 8, 12, 20, 6))
    for network in (wide, square, joined):
        network(members)
    wide(members[:1, :1])  # a norm of one row: batch norm says so
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide(members)
    assert used == ["folded_form", *["split_form"] * 4]


def test_the_published_order_of_sums_gives_the_same_features() -> None:
    fast, published = build(local_radius=(0.5, 0.9, 1.5)), build(local_radius=(0.5, 0.9, 1.5), arithmetic="published")
    published.load_state_dict(fast.state_dict())
    assert torch.allclose(fast(batch()).pooled, published(batch()).pooled, atol=1e-5)


def test_the_order_of_points_does_not_matter_once_the_first_is_the_same() -> None:
    encoder, points = build(), batch().inputs["points"]
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(79)])
    assert torch.allclose(encoder(of(points)).pooled, encoder(of(points[:, order])).pooled, atol=1e-5)


def test_a_shift_changes_coordinates_only_unless_the_origin_is_excluded() -> None:
    points = batch().inputs["points"]
    shift = torch.tensor([0.5, 0.0, 0.0])
    moved = build().grouping(points + shift)
    assert torch.equal(build().grouping(points).chosen, moved.chosen)
    excluding = build(exclude_origin=0.3)
    assert not torch.equal(excluding.grouping(points).chosen, excluding.grouping(points + shift).chosen)


def test_any_number_of_points_gives_vectors_of_one_width() -> None:
    encoder = build(pooling="mean-max")
    for number in (6, 24, 200):
        points = torch.randn(2, number, 3)
        assert encoder(of(points)).pooled.shape == (2, encoder.dim) == (2, 48)


def test_levels_layers_and_poolings_have_their_names() -> None:
    encoder = build()
    features = encoder(batch(), layers=(0, 1, 3))
    assert {name: tokens.values.shape[1:] for name, tokens in features.tokens.items()} == {
        "coarse": (6, 24), "middle": (12, 18), "fine": (24, 12),
    }  # fmt: skip
    assert set(features.layers) == {0, 1, 3}
    coarse = features.tokens["coarse"].values
    assert torch.equal(encoder.pool(features, "max"), coarse.amax(1))
    assert torch.equal(encoder.pool(features, "mean-plus-max"), coarse.amax(1) + coarse.mean(1))
    whole = encoder.pool(features, "all-levels")
    assert whole.shape == (3, 2 * (12 + 18 + 24))
    middle, width = features.tokens["middle"], 2 * 24
    shown = middle.values[0] if middle.valid is None else middle.values[0][middle.valid[0]]
    assert torch.equal(whole[0, width + 18 : width + 36], shown.amax(0))
    wide = build(pooling="all-levels")
    assert wide(batch()).pooled.shape == (3, wide.dim)
    with pytest.raises(ConfigError, match="no pooling 'median'"):
        encoder.pool(features, "median")
    with pytest.raises(ConfigError, match="no layer 4"):
        encoder(batch(), layers=(4,))


def test_tokens_out_of_reach_change_nothing() -> None:
    encoder = build(groups=(24, 20, 3), neighbours=(6, 4, 3))  # at most 9 of 20 middle tokens are reached
    features = encoder(batch())
    valid = features.tokens["middle"].valid
    assert valid is not None
    assert int(valid.sum(1).max()) <= 9
    assert not torch.equal(build(groups=(24, 20, 3), hide_unreached=False)(batch()).pooled, features.pooled)


def test_wrong_inputs_and_sizes_are_named() -> None:
    with pytest.raises(ShapeError, match="clouds of 4 points"):
        build()(of(torch.zeros(1, 4, 3)))
    with pytest.raises(ShapeError, match="'points'"):
        build()(Batch(inputs={}, size=0))
    with pytest.raises(ConfigError, match="do not fall"):
        HierarchicalPointEncoder(PointEncoderConfig(groups=(64, 128, 32)))
    with pytest.raises(ConfigError, match="level 1 cannot have 600"):
        HierarchicalPointEncoder(PointEncoderConfig(neighbours=(16, 600, 8)))


def test_local_attention_blocks_pairs_that_are_far_or_padded() -> None:
    centres = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0], [1, 0, 0], [0, 0, 0]]])
    valid = torch.tensor([[True, True, True, False]])
    allowed = allowed_pairs(centres, valid, 0.5)
    assert allowed is not None
    assert allowed[0, 0].tolist() == [
        [True, True, False, False], [True, True, False, False], [False, False, True, False], [True] * 4,
    ]  # fmt: skip
    legacy = allowed_pairs(centres, valid, 0.5, legacy=True)
    assert legacy is not None
    assert legacy[0, 0].tolist()[0] == [True, True, True, True]  # far but real, and near but padding: both let through
    assert allowed_pairs(centres, None, 0.5, legacy=True) is None


# ----------------------------------------------------------------------------------------------- masks


def test_members_of_visible_tokens_are_visible_and_nothing_else() -> None:
    hierarchy = build().grouping(batch().inputs["points"])
    top = torch.tensor([[1, 0, 0, 1, 0, 0]] * 3, dtype=torch.bool)
    fine, middle, coarse = spread_to_finer(top, hierarchy)
    assert torch.equal(coarse, top)
    for cloud in range(3):
        expected = {int(m) for g in (0, 3) for m in hierarchy.levels[2].index[cloud, g]}
        assert set(middle[cloud].nonzero()[:, 0].tolist()) == expected
        deeper = {int(m) for g in expected for m in hierarchy.levels[1].index[cloud, g]}
        assert set(fine[cloud].nonzero()[:, 0].tolist()) == deeper


def test_the_legacy_flag_shows_token_0_of_the_first_cloud_only() -> None:
    hierarchy = build().grouping(batch().inputs["points"])
    top = torch.zeros(3, 6, dtype=torch.bool)
    top[:, 5] = True
    right, legacy = (spread_to_finer(top, hierarchy, legacy_first_token=flag) for flag in (False, True))
    assert bool(legacy[1][0, 0])
    assert torch.equal(legacy[1][1:], right[1][1:])
    assert int((legacy[1] != right[1]).sum()) <= 1


def test_slots_take_and_put_without_touching_masked_places() -> None:
    visible = torch.tensor([[False, True, True, False], [True, False, False, False]])
    slots = visible_slots(visible)
    grid = torch.arange(16.0).view(2, 4, 2)
    taken = slots.take(grid)
    assert taken.tolist() == [[[2, 3], [4, 5]], [[8, 9], [0, 0]]]
    written = slots.put(grid, -taken - 1)
    assert torch.equal(written[~visible], grid[~visible])
    assert torch.equal(written[visible], -grid[visible] - 1)


@pytest.mark.parametrize("skip", [False, True])
def test_no_content_of_masked_groups_leaks(skip: bool) -> None:
    """In eval mode, moving points that only masked tokens contain changes no visible token."""
    encoder, points = build(), batch().inputs["points"]
    hierarchy = encoder.grouping(points)
    top = torch.zeros(3, 6, dtype=torch.bool)
    top[:, :2] = True
    visible = spread_to_finer(top, hierarchy)
    before = encoder.encode_visible(hierarchy, visible, skip_masked=skip)[2].values
    used = torch.zeros(3, 80, dtype=torch.bool)
    for cloud in range(3):
        used[cloud, hierarchy.levels[0].index[cloud][visible[0][cloud]].flatten()] = True
    moved = replace(hierarchy, points=torch.where(used[..., None], points, points + 5.0))
    after = encoder.encode_visible(moved, visible, skip_masked=skip)[2].values
    assert torch.equal(before, after)


def test_skipping_masked_groups_gives_the_same_tokens_in_eval_mode() -> None:
    encoder = build()
    hierarchy = encoder.grouping(batch().inputs["points"])
    visible = spread_to_finer(torch.tensor([[1, 1, 0, 0, 0, 0]] * 3, dtype=torch.bool), hierarchy)
    for whole, skipped in zip(
        encoder.encode_visible(hierarchy, visible),
        encoder.encode_visible(hierarchy, visible, skip_masked=True),
        strict=True,
    ):
        assert torch.allclose(whole.values, skipped.values, atol=1e-5)


# ------------------------------------------------------------------------------------------- objective


def test_counts_of_visible_tokens_follow_the_ratio() -> None:
    assert MaskedPoints(MaskedPointsConfig(teacher="none"), build(groups=(128, 96, 64))).visible_tokens == 13
    model = objective()
    draws = model.draw(batch(), torch.Generator().manual_seed(0), Progress(0, 1))
    hierarchy = model.encoder.grouping(batch().inputs["points"])
    assert model.visible_coarse(hierarchy, model.guide(hierarchy), draws).sum(1).tolist() == [3, 3, 3]


def test_an_explicit_mask_overrides_saliency() -> None:
    model = objective()
    named = torch.tensor([[0, 1, 0, 0, 1, 0]] * 3)
    hierarchy = model.encoder.grouping(batch().inputs["points"])
    assert torch.equal(model.visible_coarse(hierarchy, model.guide(hierarchy), {"visible": named}), named.bool())


def test_salient_tokens_stay_visible_more_often_when_standardised() -> None:
    scores = torch.tensor([[0.001, 0.002, 0.003, 0.009]]).repeat(4000, 1)
    noise = -torch.log(-torch.log(torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))))
    shares = {}
    for kind in ("raw", "zscore", "proportional", "uniform"):
        logs = objective(saliency=kind).visible_log_probabilities(scores)
        chosen = (logs + noise).argmax(1)
        shares[kind] = float((chosen == 3).float().mean())
        expected = float(logs[0].softmax(0)[3])
        assert shares[kind] == pytest.approx(expected, abs=0.03)  # four standard errors of 4000 draws
    assert shares["raw"] == pytest.approx(0.25, abs=0.03)  # as published: nearly uniform
    assert shares["zscore"] > 0.5


@pytest.mark.parametrize("teacher", ["classical", "random", "none"])
def test_each_teacher_gives_its_terms_and_changes_only_the_feature_head(teacher: str) -> None:
    model = objective(teacher=teacher)
    terms = model(batch(), model.draw(batch(), torch.Generator().manual_seed(0), Progress(0, 1)))
    assert set(terms.terms) == ({"points_3d"} if teacher == "none" else {"points_3d", "features_2d"})
    names = set(model.state_dict()) ^ set(objective(teacher="classical").state_dict())
    assert all(name.startswith(("head_2d", "target_norm")) for name in names)
    assert not any("teacher" in name for name in model.state_dict())


def test_losses_equal_loops_over_tokens() -> None:
    model = objective().eval()
    hierarchy = model.encoder.grouping(batch().inputs["points"])
    guidance = model.guide(hierarchy)
    assert guidance is not None
    done = model.run_masked(hierarchy, torch.tensor([[1, 1, 0, 0, 0, 0]] * 3, dtype=torch.bool))
    distances, errors = [], []
    for cloud in range(3):
        for token in range(12):
            rows = model.decoder(hierarchy, done.found)[0][cloud, token]
            members = hierarchy.levels[1].index[cloud, token]
            if done.visible[1][cloud, token]:
                assert model.head_2d is not None
                told = model.head_2d(rows).view(len(members), -1)
                seen = []
                for member in members:
                    views = [
                        model._map_lookup(
                            guidance.features[3 * cloud + view][None],
                            guidance.pixels[3 * cloud + view, member].view(1, 1),
                            model.config.image_size,
                        ).flatten()
                        for view in range(3)
                    ]
                    seen.append(torch.cat(views))
                errors.append((told - torch.stack(seen)).square().mean())
            else:
                drawn = model.head_3d(rows).view(-1, 3)
                truth = hierarchy.levels[0].centres[cloud, members] - hierarchy.levels[1].centres[cloud, token]
                pairs = torch.cdist(drawn, truth).square()
                distances.append(pairs.amin(1).mean() + pairs.amin(0).mean())
    assert torch.allclose(model.reconstruction_loss(hierarchy, done), torch.stack(distances).mean(), rtol=1e-4)
    assert torch.allclose(model.semantic_loss(hierarchy, guidance, done), torch.stack(errors).mean(), rtol=1e-4)


def test_only_matrices_decay_and_never_the_mask_token() -> None:
    names = {name for name, one in objective().named_parameters() if has_weight_decay(name, one)}
    assert "encoder.embeddings.0.point_in.weight" in names  # spared by the published rule, which matches "token"
    assert not any(name.endswith(("bias", "mask_token")) or "norm" in name for name in names)


def test_settings_out_of_range_are_named() -> None:
    for changes, word in (
        ({"mask_ratio": 1.2}, "mask_ratio=1.2"),
        ({"mask_ratio": 0.1}, "hides none"),
        ({"saliency_temperature": 0.0}, "saliency_temperature"),
        ({"scale": (2.0, 1.0)}, "scale"),
        ({"shift": -1.0}, "shift"),
        ({"teacher": "clip-local"}, "teacher_path"),
        ({"teacher": "random", "teacher_width": 0}, "teacher_width"),
    ):
        with pytest.raises(ConfigError, match=word):
            objective(**changes)  # type: ignore[arg-type]


def test_turns_keep_lengths_and_handedness() -> None:
    for turn in (turns_of(torch.randn(5, 4)), turns_about(torch.linspace(-3, 3, 5), 1)):
        assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5)
        assert torch.allclose(torch.linalg.det(turn), torch.ones(5), atol=1e-5)
    about_y = turns_about(torch.tensor([0.7]), 1)
    assert torch.allclose(torch.tensor([[[0.0, 1.0, 0.0]]]) @ about_y, torch.tensor([[[0.0, 1.0, 0.0]]]))
