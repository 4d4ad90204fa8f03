"""Views of films and volumes: sides stay sides unless asked, values stay within 0 to 1, a cube is drawn alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from repcore.errors import ConfigError
from repcore.interfaces import Item
from repcore_medical3d.configs.changed_images import ImageChange, ImagePairConfig
from repcore_medical3d.configs.images import ImageConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.preprocessors.images import ImagePreprocessor
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.views.changed_images import ImagePair, changed_image, mirrored_axes

NOTHING = ImageChange(kept_share=(1.0, 1.0), brightness=0.0, contrast=0.0, gamma=0.0, noise=0.0)
FILMS = ImagePreprocessor(ImageConfig(edge=16))


def item_of(*size: int) -> Item:
    values = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    return Item(values, {"pixels": 1, "first": (0.0, 0.0), "affine": [], "voxels": int(np.prod(size))})


def view(item: Item, seed: int, axes: tuple[int, ...] = (), **change: object) -> Item:
    settings = replace(NOTHING, **change)  # type: ignore[arg-type]
    return changed_image(item, np.random.default_rng(seed), change=settings, axes=axes)


@pytest.mark.parametrize("size", [(16, 12), (8, 10, 12)])
def test_without_changes_the_view_is_the_item(size: tuple[int, ...]) -> None:
    item = item_of(*size)
    same = view(item, 0)
    torch.testing.assert_close(same.values, item.values, atol=1e-6, rtol=0)
    assert set(same.meta) == {"pixels", "voxels"}  # where it lay is no longer true


@pytest.mark.parametrize("size", [(16, 12), (8, 10, 12)])
def test_a_cut_has_the_size_and_the_order_of_the_whole(size: tuple[int, ...]) -> None:
    """A ramp along each axis still rises along that axis, by the share that was kept."""
    for axis, edge in enumerate(size):
        shape = [edge if one == axis else 1 for one in range(len(size))]
        ramp = (torch.arange(edge) / (edge - 1)).view(1, *shape).expand(1, *size).contiguous()
        cut = view(Item(ramp, {}), 3, kept_share=(0.5, 0.5)).values
        assert cut.shape == ramp.shape
        steps = cut.diff(dim=axis + 1)
        assert (steps >= -1e-6).all()
        rise = float(cut.amax() - cut.amin())
        assert rise == pytest.approx((edge // 2 - 1) / (edge - 1), abs=0.02)


def test_nothing_is_mirrored_by_default_and_only_the_axes_asked_for() -> None:
    assert ImagePairConfig().change.flip == ()
    item = item_of(8, 8)
    found = [view(item, seed, axes=(1,)).values for seed in range(8)]
    flipped = [torch.allclose(one, item.values.flip(2), atol=1e-6) for one in found]
    same = [torch.allclose(one, item.values, atol=1e-6) for one in found]
    assert any(flipped)
    assert any(same)
    assert all(a != b for a, b in zip(flipped, same, strict=True))


def test_directions_of_the_body_become_axes() -> None:
    assert mirrored_axes(("left-right", "head-feet"), FILMS) == (1, 0)
    volumes = VolumePreprocessor(VolumeConfig(orientation="ASR"))
    assert mirrored_axes(("left-right", "front-back", "head-feet"), volumes) == (2, 0, 1)
    with pytest.raises(ConfigError, match="no front-back axis"):
        ImagePair(ImagePairConfig(change=ImageChange(flip=("front-back",))), FILMS)


@pytest.mark.parametrize("seed", range(6))
def test_intensities_keep_their_order_and_range(seed: int) -> None:
    item = item_of(16, 16)
    changed = view(item, seed, gamma=0.5, contrast=0.5, brightness=0.3).values
    assert float(changed.min()) >= 0.0
    assert float(changed.max()) <= 1.0
    order = item.values.flatten().argsort()
    assert (changed.flatten()[order].diff() >= -1e-5).all()
    assert not torch.allclose(changed, item.values, atol=1e-3)


def test_noise_has_at_most_the_level_asked_for() -> None:
    flat = Item(torch.full((1, 64, 64), 0.5), {})
    levels = [float(view(flat, seed, noise=0.05).values.std()) for seed in range(10)]
    assert max(levels) <= 0.052
    assert max(levels) > 0.02


def test_a_drawn_cube_is_one_of_the_prepared_ones() -> None:
    """The volumes' ``draw`` gives what a choice among all prepared items gave, for every coverage."""
    phantoms = Phantoms(PhantomsConfig(volumes=2, edge=32))
    for coverage in ("sliding", "centre", "whole"):
        made = VolumePreprocessor(VolumeConfig(crop_edge=16, coverage=coverage))  # type: ignore[arg-type]
        made.fit(phantoms, [0, 1])
        items = made.prepare(phantoms[1])
        for seed in range(3):
            place = 0 if len(items) == 1 else int(np.random.default_rng(seed).integers(len(items)))
            drawn = made.draw(phantoms[1], np.random.default_rng(seed))
            assert torch.equal(drawn.values, items[place].values)
            assert drawn.meta == items[place].meta
