"""Views of clouds and scenes: upright stays upright, the number of points stays, labels follow their points."""

from __future__ import annotations

import numpy as np
import pytest

from repcore.interfaces import Item
from repcore_pointcloud.configs.cloud_views import CloudChange
from repcore_pointcloud.configs.scenes import ScenePairConfig, SceneWeakStrongConfig
from repcore_pointcloud.views.clouds import changed_cloud

NOTHING = {"kept_share": (1.0, 1.0), "rotation_deg": 0.0, "scale": (1.0, 1.0), "jitter": 0.0}


def item_of(points: int = 200) -> Item:
    """An egg around the origin of radius 1; each point's label is its own number."""
    values = np.random.default_rng(0).standard_normal((points, 3)) * [1.0, 0.5, 2.0]
    values -= values.mean(0)
    values /= np.linalg.norm(values, axis=1).max()
    return Item({"points": values.astype(np.float32)}, {"points": points}, targets={"part": np.arange(points)})


def view(item: Item, seed: int, *, normalise: bool = True, **change: object) -> dict[str, np.ndarray]:
    settings = CloudChange(**{**NOTHING, **change})  # type: ignore[arg-type]
    made = changed_cloud(item, np.random.default_rng(seed), change=settings, normalise=normalise)
    assert made.values["points"].shape == item.values["points"].shape
    assert made.values["points"].dtype == np.float32
    return {**made.values, **made.targets}


def test_without_changes_the_view_is_the_item() -> None:
    item = item_of()
    np.testing.assert_allclose(view(item, 0)["points"], item.values["points"], atol=1e-6)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_a_turn_is_about_the_upright_axis(up: str) -> None:
    item, axis = item_of(), "xyz".index(up)
    before = item.values["points"]
    turned = view(item, 3, rotation_deg=180.0, up=up)["points"]
    np.testing.assert_allclose(turned[:, axis], before[:, axis], atol=1e-6)
    flat = [one for one in range(3) if one != axis]
    np.testing.assert_allclose(
        np.linalg.norm(turned[:, flat], axis=1), np.linalg.norm(before[:, flat], axis=1), atol=1e-6
    )
    assert np.abs(turned - before).max() > 0.05


@pytest.mark.parametrize("seed", range(5))
def test_a_part_is_one_side_of_the_cloud_and_labels_follow(seed: int) -> None:
    item = item_of()
    shown = view(item, seed, kept_share=(0.5, 0.5), normalise=False)
    np.testing.assert_allclose(shown["points"], item.values["points"][shown["part"]], atol=1e-6)
    kept = np.unique(shown["part"])
    assert len(kept) == 100
    assert len(shown["part"]) == 200
    left = np.setdiff1d(np.arange(200), kept)
    rng = np.random.default_rng(seed)
    rng.uniform(0.5, 0.5)  # the share comes first
    height = item.values["points"] @ rng.standard_normal(3)
    assert height[kept].max() <= height[left].min()


def test_normalised_parts_are_centred_with_radius_one_before_the_factor() -> None:
    shown = view(item_of(), 2, kept_share=(0.4, 0.6), scale=(0.5, 0.5))["points"]
    assert np.abs(shown.mean(0)).max() < 1e-6
    assert np.linalg.norm(shown, axis=1).max() == pytest.approx(0.5, abs=1e-5)


def test_jitter_is_cut_at_three_standard_deviations() -> None:
    item = item_of(2000)
    shake = view(item, 1, jitter=0.01)["points"] - view(item, 1)["points"]
    assert shake.std() == pytest.approx(0.01, rel=0.1)
    assert np.abs(shake).max() <= 0.03 + 1e-5


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match=r"scale=\(0\.0, 1\.0\)"):
        CloudChange(scale=(0.0, 1.0))


def test_weak_and_strong_looks_at_a_scene_share_a_window() -> None:
    from repcore_pointcloud.configs.scenes import RoomsConfig, SceneConfig
    from repcore_pointcloud.datasets.scene_rooms import Rooms
    from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
    from repcore_pointcloud.views.scene_weak_strong import SceneWeakStrong
    from tests.generic.domains import PROGRESS

    rooms = Rooms(RoomsConfig(scenes=2, points=1500))
    config = SceneWeakStrongConfig(
        weak=ScenePairConfig(window_points=500, crop_share=(1.0, 1.0), drop_share=0.0, rotation_deg=0.0, tilt_deg=0.0,
                             flip=False, scale=(1.0, 1.0)),
    )  # fmt: skip
    views = SceneWeakStrong(config, ScenePreprocessor(SceneConfig(voxel_size_m=0.1)))
    found = views.build(0, rooms, np.random.default_rng(0), PROGRESS)
    weak, strong = (set(found[name].values["point"].tolist()) for name in ("weak", "strong"))
    assert len(strong) < len(weak) <= 500
    assert len(strong & weak) > 0.5 * len(strong)
