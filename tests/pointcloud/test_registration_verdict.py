"""Whether a motion is believed: clouds that share nothing, mirrored ones, true overlaps, and shapes that repeat."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from repcore.errors import DataError
from repcore_pointcloud.alignment.geometry import MIRROR, geometric_features, mirrored_features
from repcore_pointcloud.alignment.registration import check, cloud_of, register, verdict
from repcore_pointcloud.alignment.verdict import Evidence
from repcore_pointcloud.commands.register import register_command
from repcore_pointcloud.configs.vbreg import GeometryConfig, RegistrationConfig

LENIENT = RegistrationConfig(least_inliers=3, above_chance=0.0, least_overlap=0.0)  # leaves all to the evidence


def blobs(seed: int, count: int = 24, points: int = 250) -> np.ndarray:
    """Ellipsoids of random axes in a room, (n, 3)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        middle, axes = rng.uniform([0, 0, 0], [5, 5, 3]), rng.uniform(0.15, 0.8, 3)
        unit = rng.standard_normal((points, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        found.append(middle + (unit * axes) @ Rotation.random(random_state=rng).as_matrix())
    return np.concatenate(found)


def halves(seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of one cloud, turned, no point in both, that share a slab of so much of it."""
    points = blobs(seed)
    low, high = np.quantile(points[:, 0], [0.5 - share / 2, 0.5 + share / 2])
    one, other = points[::2], points[1::2]
    turn = Rotation.random(random_state=seed).as_matrix()
    return one[one[:, 0] <= high], other[other[:, 0] >= low] @ turn.T


def told(one: np.ndarray, other: np.ndarray) -> str:
    return verdict(register(cloud_of(one, "a"), cloud_of(other, "b"), LENIENT), LENIENT)


@pytest.mark.parametrize("seed", range(3))
def test_clouds_that_share_nothing_and_mirrored_ones_are_refused(seed: int) -> None:
    one, other = blobs(2 * seed), blobs(2 * seed + 1)
    found = register(cloud_of(one, "a"), cloud_of(other, "b"), LENIENT)
    with pytest.raises(DataError, match="does not fit") as refused:
        check(found, LENIENT)
    assert "voxels apart" in str(refused.value)
    assert told(one, one * [1, -1, 1]) == "refused"


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_true_overlaps_are_sound(share: float) -> None:
    for seed in (10, 11):
        assert told(*halves(seed, share)) == "sound", seed


def test_histograms_of_a_mirrored_cloud_follow_from_those_of_the_cloud() -> None:
    points = blobs(0, 4, 100)
    plain, direct = (geometric_features(one, 0.2, GeometryConfig()) for one in (points, points * MIRROR))
    assert np.abs(plain.values - direct.values).max() > 0.1
    differs = np.abs(mirrored_features(plain).values - direct.values).max(1) > 1e-5
    assert differs.mean() < 0.02  # values on the edge of a bin


def test_one_doubt_is_doubtful_two_are_refused() -> None:
    sound = Evidence(inliers=100, kept=99, mirrored=40, gap=0.1, parallel=0.98)
    assert (sound.verdict, sound.doubts) == ("sound", [])
    for worse in ({"kept": 70}, {"mirrored": 80}, {"gap": 0.4}, {"parallel": 0.8}):
        one = replace(sound, **worse)  # type: ignore[arg-type]
        assert (one.verdict, len(one.doubts)) == ("doubtful", 1), worse
    assert replace(sound, kept=70, gap=0.4).verdict == "refused"
    mirror = replace(sound, mirrored=400)
    assert mirror.verdict == "refused"
    assert "mirror images" in mirror.doubts[0]


def test_a_symmetric_shape_is_written_and_said_to_be_doubtful(tmp_path: Path) -> None:
    half = blobs(20, 8)
    shape = np.concatenate([half + np.array([0.3, 0, 0]), half * MIRROR - np.array([0.3, 0, 0])])
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    np.save(files[0], shape[::2])
    np.save(files[1], shape[1::2] @ Rotation.random(random_state=1).as_matrix().T)
    out = tmp_path / "t.json"
    done = CliRunner().invoke(register_command, [*files, "-o", str(out)])
    assert done.exit_code == 0, done.exception
    record = json.loads(out.read_text())
    assert record["verdict"] == "doubtful"
    assert "symmetric" in record["doubts"][0]
    assert "doubtful: " in done.output
    assert "look at the page" in done.output
    rows = [line.split("\t") for line in done.output.splitlines() if line.count("\t") == 5]
    assert rows[0][-1] == "verdict"
    assert sorted(row[-1] for row in rows[1:]) == ["doubtful", "not taken"]


def test_the_table_says_refused_where_nothing_is_written(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    for path, seed in zip(files, (0, 1), strict=True):
        np.save(path, blobs(seed))
    done = CliRunner().invoke(register_command, [*files, "-o", str(tmp_path / "t.json")])
    assert isinstance(done.exception, DataError)
    rows = [line.split("\t") for line in done.output.splitlines() if line.count("\t") == 5]
    assert sorted(row[-1] for row in rows[1:]) == ["not taken", "refused"]
    assert not (tmp_path / "t.json").exists()
