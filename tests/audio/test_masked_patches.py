"""Masks and losses of the objective, against plain loops and by statistics."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore_audio.configs.ssamba import MaskedPatchesConfig, SsambaConfig
from repcore_audio.encoders.patches import grid_size, patch_pixels, plan_patches
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.objectives.patch_masks import cluster_order, hidden_patches, legacy_cluster, random_order
from repcore_audio.objectives.ssamba import (
    CONTRASTIVE,
    MaskedPatches,
    has_weight_decay,
    info_nce,
    matching_logits,
)
from repcore_audio.rendering.masked_patches import laid_out
from tests.audio.test_ssamba_encoder import clip, padded_batch

CONFIG = SsambaConfig(
    width=16, depth=2, states=4, patch_frequency=4, patch_time=4, mel_bins=16, frames=32, drop_path=0.0
)
NOW = Progress(step=0, total_steps=1)


def objective(config: MaskedPatchesConfig = MaskedPatchesConfig(), seed: int = 0) -> MaskedPatches:  # noqa: B008  frozen
    torch.manual_seed(seed)
    return MaskedPatches(config, Ssamba(CONFIG)).eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rates(order_of: str, clips: int, rows: int, columns: int, masked: int) -> Tensor:
    """How often each patch of a grid is hidden."""
    layout = plan_patches(rows, (columns,) * clips, torch.device("cpu"))
    order = (
        cluster_order(layout, (3, 4, 5), generator()) if order_of == "cluster" else random_order(layout, generator())
    )
    hidden = hidden_patches(order, torch.full((clips,), masked))
    return hidden.mask(rows * columns).float().mean(0).unflatten(0, (rows, columns))


@pytest.mark.parametrize("sampler", ["cluster", "random"])
def test_every_patch_is_hidden_equally_often(sampler: str) -> None:
    clips, share = 4000, 250 / 512
    found = rates(sampler, clips, 8, 64, 250)
    deviation = math.sqrt(share * (1 - share) / clips)
    # 512 patches: the largest of as many normal deviations stays below 4.5; blocks at edges may differ a little more
    assert (found - share).abs().max() < (7 if sampler == "cluster" else 4.5) * deviation
    assert found.mean().item() == pytest.approx(share, abs=1e-6)


def test_published_sampler_is_biased_and_ours_is_not() -> None:
    source = random.Random(0)
    count = torch.zeros(8, 64)
    for _ in range(400):
        count.view(-1)[legacy_cluster(512, 64, 250, source)] += 1
    legacy = count / 400
    assert legacy[0, 0] == 0  # index 0 is never hidden
    assert legacy.view(-1)[511] == 0  # truncation drops the largest indices
    assert legacy[0].mean() < 0.3  # 0.20 on the method card
    assert legacy[4].mean() > 0.5  # 0.60
    ours = rates("cluster", 400, 8, 64, 250)
    assert ours.mean(1).max() - ours.mean(1).min() < 0.06


def test_clusters_are_blocks() -> None:
    """Hidden patches have far more hidden neighbours than random ones."""

    def neighbours(mask: Tensor) -> float:
        both = (mask[:, :, 1:] & mask[:, :, :-1]).float().sum() / mask[:, :, :-1].float().sum()
        return float(both)

    layout = plan_patches(8, (32,) * 200, torch.device("cpu"))
    counts = torch.full((200,), 80)
    shaped = [
        hidden_patches(order, counts).mask(256).unflatten(1, (8, 32))
        for order in (cluster_order(layout, (3, 4, 5), generator()), random_order(layout, generator()))
    ]
    assert neighbours(shaped[0]) > 0.6
    assert neighbours(shaped[1]) < 0.4  # 80 / 256


def test_clips_of_different_length_hide_their_own_patches_only() -> None:
    layout = plan_patches(2, (8, 3, 1), torch.device("cpu"))
    counts = torch.tensor([9, 3, 1])
    for order in (cluster_order(layout, (2,), generator()), random_order(layout, generator())):
        assert all(sorted(row) == list(range(16)) for row in order.tolist())
        mask = hidden_patches(order, counts).mask(16)
        assert mask.sum(1).tolist() == [9, 3, 1]
        assert not mask[1, 6:].any()
        assert not mask[2, 2:].any()


def test_legacy_sampler_refuses_what_never_ends() -> None:
    with pytest.raises(ConfigError, match="cannot hide 63 of 64"):
        legacy_cluster(64, 8, 63, random.Random(0))


@pytest.mark.parametrize("over", ["predictions", "targets"])
def test_contrastive_loss_equals_plain_loops(over: str) -> None:
    predicted, target = torch.randn(3, 5, 6, generator=generator(1)), torch.randn(3, 5, 6, generator=generator(2))
    counted = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    loss, accuracy = info_nce(matching_logits(predicted, target, 0.7), counted, over=over)
    total, right, number = 0.0, 0, 0
    for b in range(3):
        size = int(counted[b].sum())
        table = [[float(target[b, i] @ predicted[b, j]) / 0.7 for j in range(size)] for i in range(size)]
        logs = [[0.0] * size for _ in range(size)]
        for i in range(size):
            for j in range(size):
                rivals = table[i] if over == "predictions" else [table[k][j] for k in range(size)]
                logs[i][j] = table[i][j] - math.log(sum(math.exp(one) for one in rivals))
        for j in range(size):
            total -= logs[j][j]
            right += max(range(size), key=lambda i: logs[i][j]) == j
            number += 1
    assert loss.item() == pytest.approx(total / number, rel=1e-5)
    assert accuracy.item() == pytest.approx(right / number)


def test_perfect_and_blind_predictions() -> None:
    target = torch.eye(6)[None] * 20
    counted = torch.ones(1, 6, dtype=torch.bool)
    loss, accuracy = info_nce(matching_logits(target, target), counted, over="predictions")
    assert loss < 1e-6
    assert accuracy == 1
    loss, _ = info_nce(matching_logits(torch.zeros_like(target), target), counted, over="predictions")
    assert loss.item() == pytest.approx(math.log(6), rel=1e-6)


def test_reconstruction_is_the_mean_over_counted_patches() -> None:
    model = objective()
    predicted, target = torch.randn(2, 3, 4, generator=generator(1)), torch.randn(2, 3, 4, generator=generator(2))
    counted = torch.tensor([[True, True, True], [True, False, False]])
    error, _ = model.reconstruct(predicted, target, counted)
    expected = torch.cat([(predicted - target)[0], (predicted - target)[1, :1]]).square().mean()
    torch.testing.assert_close(error, expected)
    perfect, explained = model.reconstruct(target, target, counted)
    assert perfect == 0
    assert explained == 1


def test_one_pass_equals_two_with_the_same_mask() -> None:
    batch = padded_batch([clip(32), clip(16, 1)])
    shared, separate = objective(), objective(MaskedPatchesConfig(passes="separate"))
    draws = dict(shared.draw(batch, generator(), NOW))
    assert set(draws) == {"contrastive_index", "contrastive_counted"}
    both = {**draws, **{name.replace("contrastive", "reconstruction"): one for name, one in draws.items()}}
    one, two = shared(batch, draws), separate(batch, both)
    for name in one.terms:
        torch.testing.assert_close(one.terms[name], two.terms[name])
    independent = separate.draw(batch, generator(), NOW)
    assert not torch.equal(independent["contrastive_index"], independent["reconstruction_index"])


def test_hidden_patches_do_not_leak_into_predictions() -> None:
    model = objective()
    spectrogram = clip(32)[None].clone()
    batch = padded_batch([spectrogram[0]])
    draws = model.draw(batch, generator(), NOW)
    layout = model.encoder.layout(batch)
    hidden = model._hidden(draws, "contrastive")
    covered = model.cover(model.encoder.embed_patches(batch, layout), hidden)
    changed = spectrogram.clone()
    grid = hidden.mask(32).view(4, 8)  # rows, columns
    pixels = grid.repeat_interleave(4, 0).repeat_interleave(4, 1).T  # (frames, mel)
    changed[0][pixels] += 100.0
    again = padded_batch([changed[0]])
    assert torch.equal(model.cover(model.encoder.embed_patches(again, layout), hidden), covered)


def test_means_count_hidden_patches() -> None:
    """Splitting a batch and weighting by counts gives the whole batch's loss and gradient."""
    model = objective(MaskedPatchesConfig(mask_sampler="random"))
    clips = [clip(32), clip(8, 1), clip(20, 2)]
    batch = padded_batch(clips)
    draws = model.draw(batch, generator(), NOW)
    whole = model(batch, draws)
    assert model.counts(batch, draws)["contrastive"] == whole.counts["contrastive"]
    total = {name: torch.zeros(()) for name in whole.terms}
    for row, one in enumerate(clips):
        count = int(draws["contrastive_counted"][row].sum())
        part = {
            "contrastive_index": draws["contrastive_index"][row : row + 1, :count],
            "contrastive_counted": torch.ones(1, count, dtype=torch.bool),
        }
        terms = model(padded_batch([one]), part).terms
        total = {name: total[name] + count * value for name, value in terms.items()}
    for name, value in whole.terms.items():
        torch.testing.assert_close(total[name] / whole.counts[name], value, rtol=1e-5, atol=1e-6)


def test_negatives_of_the_whole_batch_make_matching_harder() -> None:
    batch = padded_batch([clip(32, seed) for seed in range(4)])
    own, all_clips = objective(), objective(MaskedPatchesConfig(negatives="batch"))
    draws = own.draw(batch, generator(), NOW)
    few, many = own(batch, draws).terms["contrastive"], all_clips(batch, draws).terms["contrastive"]
    hidden = draws["contrastive_counted"].sum(1)[0].item()
    assert (many - few).item() == pytest.approx(math.log(4), abs=0.5)  # an untrained head hardly tells patches apart
    assert few.item() == pytest.approx(math.log(hidden), abs=0.7)


def test_cosine_similarity_ignores_lengths() -> None:
    model = objective(MaskedPatchesConfig(similarity="cosine", temperature=0.1))
    predicted, target = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    counted = torch.ones(2, 3, dtype=torch.bool)
    plain, _ = model.contrast(predicted, target, counted)
    scaled, _ = model.contrast(predicted * 7, target * 0.2, counted)
    torch.testing.assert_close(plain, scaled)


def test_draws_repeat_with_the_generator_and_follow_the_count() -> None:
    batch = padded_batch([clip(32), clip(12, 1)])
    for sampler in ("cluster", "random", "legacy-cluster"):
        model = objective(MaskedPatchesConfig(mask_sampler=sampler, masked_patches=9))  # type: ignore[arg-type]
        first, second = model.draw(batch, generator(3), NOW), model.draw(batch, generator(3), NOW)
        assert torch.equal(first["contrastive_index"], second["contrastive_index"])
        assert first["contrastive_counted"].sum(1).tolist() == [9, 9]


def test_published_masking_token_and_every_parameter_learn() -> None:
    model = objective().train()
    batch = padded_batch([clip(32), clip(16, 1)])
    model(batch, model.draw(batch, generator(), NOW)).total.backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []
    assert has_weight_decay("encoder.blocks.0.mixer.in_proj.weight", model.encoder.blocks[0].mixer.in_proj.weight)
    for name, parameter in model.named_parameters():
        if name.endswith(("A_log", "positions", "cls_token", "mask_token", "bias")):
            assert not has_weight_decay(name, parameter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_ratio": 1.2}, "mask_ratio=1.2"),
        ({"masked_patches": 0}, "masked_patches=0"),
        ({"cluster_sizes": ()}, "cluster_sizes"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"mask_sampler": "legacy-cluster", "cluster_sizes": (2,)}, "3, 4 or 5"),
    ],
)
def test_settings_outside_their_range_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        objective(replace(MaskedPatchesConfig(), **change))  # type: ignore[arg-type]


def test_picture_shows_the_clip_what_is_visible_and_the_redrawn_patches() -> None:
    trained, batch = objective(), padded_batch([clip(32)])
    draws = trained.draw(batch, generator(), NOW)
    with torch.no_grad():
        picture = trained.picture(batch, draws)
    hidden = draws[f"{CONTRASTIVE}_index"].shape[1]
    assert picture.html.count("data:image/png") == 3
    assert picture.alt.startswith(f"{hidden} of ")


@pytest.mark.parametrize("stride", [(4, 4), (2, 2)])
def test_patches_laid_out_again_are_the_spectrogram(stride: tuple[int, int]) -> None:
    spectrogram = torch.randn(1, 12, 8)
    pixels = patch_pixels(spectrogram, (4, 4), stride)
    grid = (grid_size(8, 4, stride[0]), grid_size(12, 4, stride[1]))
    np.testing.assert_allclose(laid_out(pixels, grid, (4, 4), stride)[::-1], spectrogram[0].T.numpy(), atol=1e-6)
