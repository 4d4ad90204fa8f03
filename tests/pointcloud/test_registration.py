"""Motions from matches, and the command that registers two clouds: values, bad input, units and far coordinates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.spatial.transform import Rotation
from torch import Tensor

import repcore
from repcore.checkpoints.saving import save_model
from repcore.errors import ConfigError, DataError
from repcore_pointcloud.alignment.baselines import ransac_motion, spectral_motion
from repcore_pointcloud.alignment.consensus import choose_seeds, largest_columns, wilson_bound
from repcore_pointcloud.alignment.geometry import geometric_features
from repcore_pointcloud.alignment.matching import fitting_voxel, model_features, thinned
from repcore_pointcloud.alignment.motions import least_squares, motion_error, refine, residuals
from repcore_pointcloud.alignment.registration import check, cloud_of, register
from repcore_pointcloud.alignment.truth import read_motion
from repcore_pointcloud.alignment.vbreg import vbreg_motion
from repcore_pointcloud.commands.register import DIRECTION, loaded_models, register_command
from repcore_pointcloud.configs.i2p_mae import PointEncoderConfig
from repcore_pointcloud.configs.scenes import RoomsConfig, SceneConfig
from repcore_pointcloud.configs.shapes import PointSetConfig
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.configs.vbreg import (
    GeometryConfig,
    MatchNetworkConfig,
    MatchSetConfig,
    MotionConfig,
    RansacConfig,
    RegistrationConfig,
    SpectralConfig,
)
from repcore_pointcloud.datasets.match_pairs import match_pair
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.encoders.match_network import MatchNetwork
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.layers.match_layers import ValidBatchNorm, length_agreement
from repcore_pointcloud.preprocessors.matches import MatchPreprocessor
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor

TINY = MatchNetworkConfig(layers=2, width=8, belief_width=6, hidden_width=6, latent_width=4)


def turned(seed: int = 0, degrees: float = 70.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(3)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    motion[:3, 3] = rng.uniform(-2, 2, 3)
    return motion


def moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return points @ motion[:3, :3].T + motion[:3, 3]


def matches(wrong: float, count: int = 300, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    pair = match_pair(np.random.default_rng(seed), count, wrong, 0.02)
    assert pair.motion is not None
    return tuple(torch.from_numpy(one).float() for one in (pair.source, pair.target, pair.motion))  # type: ignore


def network() -> MatchNetwork:
    torch.manual_seed(0)
    return MatchNetwork(TINY).eval()


# ------------------------------------------------------------------------------------------------ motions


def test_least_squares_gives_the_motion_back_and_never_a_mirror() -> None:
    motion = torch.from_numpy(turned()).double()
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 3)))
    points[1, :, 2] = 0.0  # a plane: the third singular value is 0
    target = points @ motion[:3, :3].T + motion[:3, 3]
    found = least_squares(points, target, torch.ones(2, 6).double())
    assert found.determined.tolist() == [True, True]
    torch.testing.assert_close(found.matrices, motion.expand(2, 4, 4), atol=1e-5, rtol=0)
    mirrored = least_squares(
        points[:1], points[:1] * torch.tensor([1.0, 1.0, -1.0]).double(), torch.ones(1, 6).double()
    )
    assert float(torch.linalg.det(mirrored.matrices[0, :3, :3])) == pytest.approx(1.0)


def test_lines_points_and_zero_weights_determine_nothing() -> None:
    line = torch.linspace(0, 1, 5)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    sets = torch.stack([line, torch.zeros(5, 3), torch.eye(3).repeat(2, 1)[:5]])
    weights = torch.ones(3, 5)
    weights[2] = 0.0
    found = least_squares(sets, sets, weights)
    assert found.determined.tolist() == [False, False, False]
    assert bool(found.matrices.isfinite().all())


def test_refinement_leaves_out_what_does_not_agree() -> None:
    source, target, motion = matches(0.5)
    start = motion.clone()
    start[:3, 3] += torch.tensor([0.05, 0.0, 0.0])
    found = refine(start, source, target, 0.1, 20)
    angle, shift = motion_error(found.matrix, motion)
    assert found.rounds >= 1
    assert angle < 1.0
    assert shift < 0.02
    assert refine(start, source, target, 1e-6, 20).rounds == 0  # nothing agrees: nothing moves


def test_wilson_bound_seeds_and_ties() -> None:
    bound = wilson_bound(torch.tensor([0.0, 1.0, 2.0]), 2)
    z2 = 1.96**2
    half = (0.5 + z2 / 4 - 1.96 * (0.25 / 2 + z2 / 16) ** 0.5) / (1 + z2 / 2)
    assert bound.tolist() == pytest.approx([0.0, half, 1 / (1 + z2 / 2)], rel=1e-4)
    tied = torch.tensor([[0.0, 2.0, 1.0, 2.0, 0.0, 1.0]])
    assert largest_columns(tied, 5).tolist() == [[1, 3, 2, 5, 0]]
    score = torch.tensor([-1.0, -2.0, -3.0, -0.5])
    near = torch.eye(4, dtype=torch.bool)
    near[0, 1] = near[1, 0] = True  # the second match is beaten by the first
    assert choose_seeds(score, near, MotionConfig()).tolist() == [3, 0, 2]
    assert choose_seeds(score, near, MotionConfig(seed_mask="product")).tolist() == [1, 3, 0, 2]  # published


def test_agreement_of_lengths_is_that_of_the_formula() -> None:
    source = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]])
    target = torch.tensor([[0.0, 0, 0], [1.05, 0, 0], [0, 2.2, 0]])
    found = length_agreement(source, target, 0.1)
    assert found[0].tolist() == pytest.approx([1.0, 0.75, 0.0], abs=1e-5)
    assert found.diagonal().tolist() == [1.0, 1.0, 1.0]


def test_batch_norm_counts_valid_matches_only() -> None:
    norm, plain = ValidBatchNorm(3).train(), torch.nn.BatchNorm1d(3).train()
    values = torch.randn(2, 5, 3)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found = norm(values, valid)
    torch.testing.assert_close(found[valid], plain(values[valid]))
    torch.testing.assert_close(norm.running_var, plain.running_var)
    assert found[~valid].abs().max() == 0


# ------------------------------------------------------------------------------------- ways to find one


def test_spectral_and_ransac_find_the_motion_among_wrong_matches() -> None:
    source, target, motion = matches(0.9)
    config = MotionConfig()
    spectral = spectral_motion(source, target, config, SpectralConfig())
    ransac = ransac_motion(source, target, config, RansacConfig(hypotheses=20_000))
    for found in (spectral, ransac):
        angle, shift = motion_error(found.matrix, motion)
        assert found.success
        assert angle < 3.0
        assert shift < 0.1
        right = residuals(motion, source, target) < 0.1
        assert (found.inliers & right).sum() >= 0.8 * right.sum()
    again = ransac_motion(source, target, config, RansacConfig(hypotheses=20_000))
    assert torch.equal(again.matrix, ransac.matrix)


def test_ransac_stops_when_it_is_sure_or_out_of_time() -> None:
    source, target, _ = matches(0.2)
    sure = ransac_motion(source, target, MotionConfig(), RansacConfig())
    assert sure.facts["hypotheses"] == 2048  # one batch
    never = RansacConfig(hypotheses=10_000_000, confidence=1.0)
    assert ransac_motion(source, target, MotionConfig(), never, seconds=0.0).facts["hypotheses"] == 2048


def test_the_network_gives_the_same_motion_every_time_and_finds_it_where_most_are_right() -> None:
    source, target, motion = matches(0.3, count=120)
    judge = network()
    found = vbreg_motion(judge, source, target, MotionConfig())
    angle, shift = motion_error(found.matrix, motion)
    assert found.success
    assert angle < 3.0
    assert shift < 0.1
    assert torch.equal(found.matrix, vbreg_motion(judge, source, target, MotionConfig()).matrix)
    sampled = MotionConfig(latent="sample", seed=5)
    assert torch.equal(
        vbreg_motion(judge, source, target, sampled).matrix, vbreg_motion(judge, source, target, sampled).matrix
    )
    nearest = vbreg_motion(judge, source, target, MotionConfig(consensus="nearest"))
    assert nearest.inliers.shape == (120,)


@pytest.mark.parametrize("way", ["vbreg", "spectral", "ransac"])
def test_matches_that_determine_nothing_give_the_identity_without_success(way: str) -> None:
    def run(source: Tensor, target: Tensor) -> object:
        if way == "vbreg":
            return vbreg_motion(network(), source, target, MotionConfig())
        if way == "spectral":
            return spectral_motion(source, target, MotionConfig(), SpectralConfig())
        return ransac_motion(source, target, MotionConfig(), RansacConfig(hypotheses=4096))

    line = torch.linspace(0, 3, 20)[:, None] * torch.tensor([1.0, 0.5, 0.2])
    for points in (torch.zeros(2, 3), torch.zeros(30, 3), line):
        found = run(points, points)
        assert found.success is False  # type: ignore[attr-defined]
        assert torch.equal(found.matrix, torch.eye(4))  # type: ignore[attr-defined]
        assert not found.inliers.any()  # type: ignore[attr-defined]
    source, target, _ = matches(0.2, count=60)
    source[3], target[7, 1] = torch.nan, torch.inf
    odd = run(source, target)
    assert odd.success  # type: ignore[attr-defined]
    assert odd.inliers.shape == (60,)  # type: ignore[attr-defined]
    assert not odd.inliers[[3, 7]].any()  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------- two clouds


def pair_of_scans(factor: float = 1.0, far: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two parts of a generated room that share about two thirds, each with points of its own, the second moved."""
    scene = Rooms(RoomsConfig(scenes=1, points=9000))[0].inputs.points.astype(np.float64)
    order = np.random.default_rng(1).permutation(len(scene))
    halves = scene[order[::2]], scene[order[1::2]]
    low, high = np.quantile(scene[:, 0], [0.2, 0.8])
    motion = turned(3, 50.0)
    one, other = halves[0][halves[0][:, 0] < high], halves[1][halves[1][:, 0] > low]
    motion[:3, 3] = motion[:3, 3] * factor + far
    return one * factor, moved(other * factor, motion), motion


def test_features_of_geometry_follow_the_points_when_they_turn() -> None:
    scene = Rooms(RoomsConfig(scenes=1, points=1500))[0].inputs.points.astype(np.float64)
    places = thinned(scene, 0.15).places
    one = geometric_features(places, 0.15, GeometryConfig())
    other = geometric_features(moved(places, turned()), 0.15, GeometryConfig())
    assert one.values.shape == (len(places), 33)
    np.testing.assert_allclose(one.values.reshape(-1, 3, 11).sum(2), 1.0, atol=1e-5)
    change = np.abs(one.values - other.values).max(1)  # angles at the edge of a bin fall to either side
    apart = np.abs(one.values - np.roll(one.values, len(places) // 2, axis=0)).max(1)
    assert np.median(change) < 0.05 * np.median(apart)
    lonely = geometric_features(np.array([[0.0, 0, 0], [99.0, 0, 0]]), 0.1, GeometryConfig())
    assert np.isfinite(lonely.values).all()


def test_thinning_keeps_means_and_the_voxel_fits_the_cloud() -> None:
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [1.2, 0.1, 0.1]])
    kept = thinned(points, 1.0)
    np.testing.assert_allclose(kept.places, [[0.2, 0.1, 0.1], [1.2, 0.1, 0.1]])
    assert kept.voxel_of.tolist() == [0, 0, 1]
    grid = np.stack(np.meshgrid(*[np.arange(40.0)] * 2, [0.0]), axis=-1).reshape(-1, 3)
    voxel = fitting_voxel((grid, grid[:3]), kept=400)
    assert 250 <= len(thinned(grid, voxel).places) <= 450
    stray = np.concatenate([grid, [[1e9, 0.0, 0.0]]])
    assert fitting_voxel((stray, grid[:3]), kept=400) == pytest.approx(voxel, rel=0.1)
    with pytest.raises(DataError, match="70,000 points"):
        many = np.stack([np.arange(7e4), np.zeros(70_000), np.zeros(70_000)], axis=1)
        register(cloud_of(many, "a"), cloud_of(many, "b"), RegistrationConfig(voxel=0.5))


@pytest.mark.parametrize(("factor", "far"), [(1.0, 0.0), (1000.0, 5e6)])
def test_two_parts_of_a_room_are_registered_in_any_unit_and_far_away(factor: float, far: float) -> None:
    one, other, motion = pair_of_scans(factor, far)
    config = RegistrationConfig(matches=500, voxel=0.1 * factor)
    found = register(cloud_of(one, "a"), cloud_of(other, "b"), config, network=network())
    check(found, config)
    assert set(found.found) == {"vbreg", "spectral", "ransac"}
    assert found.method == max(found.found, key=lambda name: found.found[name].inliers)
    angle, _ = motion_error(torch.from_numpy(found.motion), torch.from_numpy(motion))
    assert angle < 1.0
    gap = np.linalg.norm(moved(one, found.motion) - moved(one, motion), axis=1)
    assert np.median(gap) < 0.02 * factor
    np.testing.assert_allclose(found.motion[:3, :3] @ found.motion[:3, :3].T, np.eye(3), atol=1e-9)


def run(*words: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(register_command, list(words))
    return done.exit_code, done.output, done.exception


def test_the_command_writes_the_motion_with_its_direction_and_draws(tmp_path: Path) -> None:
    one, other, motion = pair_of_scans()
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    for path, points in zip(files, (one, other), strict=True):
        np.save(path, points)
    out, page = tmp_path / "deep" / "transform.json", tmp_path / "page.html"
    truth = tmp_path / "truth.txt"
    np.savetxt(truth, motion)
    code, said, error = run(
        *files, "-o", str(out), "--page", str(page), "--voxel", "0.1", "--truth", str(truth), "--method", "spectral"
    )
    assert code == 0, error
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in said.splitlines() if line.count("\t") == 5}
    degrees, distance, precision, recall, f1 = (float(cell) for cell in rows["written"])
    assert degrees < 1.0
    assert distance < 0.05
    assert min(precision, recall, f1) > 0.8
    np.testing.assert_allclose(read_motion(out), json.loads(out.read_text())["transform"])
    found = json.loads(out.read_text())
    matrix = np.array(found["transform"])
    gap = np.linalg.norm(moved(one, matrix) - moved(one, motion), axis=1)
    assert np.median(gap) < 0.03
    assert found["direction"] == DIRECTION
    assert found["unit"] == "the files' own unit"
    assert (found["source"], found["target"], found["method"]) == ("a.npy", "b.npy", "spectral")
    assert set(found["methods"]) == {"spectral", "ransac"}
    assert found["inliers"] <= found["matches"]
    assert found["rotation_degrees"] == pytest.approx(50.0, abs=1.0)
    assert "vbreg was not run" in said
    assert page.read_text().count('<svg viewBox="0 0 520') == 2


def test_clouds_that_share_nothing_bad_files_and_missing_networks_are_errors(tmp_path: Path) -> None:
    one, _, _ = pair_of_scans()
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((3000, 3))
    ball = direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.uniform(0.2, 3.0, (3000, 1))
    with pytest.raises(DataError, match="overlap too little"):
        config = RegistrationConfig(voxel=0.1)
        check(register(cloud_of(one, "a"), cloud_of(ball, "b"), config), config)
    with pytest.raises(DataError, match="no point with finite"):
        cloud_of(np.full((5, 3), np.nan), "a.ply")
    with pytest.raises(DataError, match="one point each"):
        fitting_voxel((np.zeros((4, 3)), np.zeros((2, 3))))
    with pytest.raises(DataError, match="thinned points"):
        register(cloud_of(one, "a"), cloud_of(one[:5], "b"), RegistrationConfig(voxel=0.1))
    paths = [str(tmp_path / name) for name in ("a.npy", "b.ply")]
    np.save(paths[0], one)
    (tmp_path / "b.ply").write_text("no ply")
    _, _, unreadable = run(*paths, "-o", str(tmp_path / "t.json"))
    assert isinstance(unreadable, DataError)
    assert "b.ply" in str(unreadable)
    _, _, untrained = run(paths[0], paths[0], "-o", str(tmp_path / "t.json"), "--method", "vbreg")
    assert "train vbreg" in str(untrained)
    assert not (tmp_path / "t.json").exists()
    assert loaded_models(()) == (None, None)
    for words, text in (
        ("no motion", "abc"),
        ("3 numbers", "1 2 3"),
        ("no rigid", str(np.diag([2.0, 1, 1, 1]).tolist())),
    ):
        (tmp_path / "truth.txt").write_text(text)
        with pytest.raises(DataError, match=words):
            read_motion(tmp_path / "truth.txt")


# -------------------------------------------------------------------------------------- trained models


def saved(folder: Path, name: str, encoder: Any, preprocessor: Any, preprocessor_name: str) -> str:
    """A model folder of untrained weights."""
    save_model(
        folder, encoder=encoder, encoder_name=name, encoder_config=encoder.config, preprocessor=preprocessor,
        preprocessor_name=preprocessor_name, preprocessor_config=preprocessor.config, card={}, extra={},
    )  # fmt: skip
    return str(folder)


def test_models_are_told_apart_and_give_features_of_points(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scene_config = SceneConfig(voxel_size_m=0.1)
    unet = SparseUNet(SparseUNetConfig(input_width=6, stem_width=8, stage_widths=(12, 8), stage_blocks=(1, 1)))
    shapes = HierarchicalPointEncoder(
        PointEncoderConfig(
            groups=(24, 12, 6), neighbours=(6, 4, 3), widths=(12, 18, 24), depths=(1, 1, 1), heads=2,
            point_widths=(8, 12), joint_width=16, drop_path=0.0,
        )
    )  # fmt: skip
    scenes = saved(
        tmp_path / "scenes", "pointcloud/sparse-unet", unet, ScenePreprocessor(scene_config), "pointcloud/scene"
    )
    points = PointSetPreprocessor(PointSetConfig(points=256))
    objects = saved(tmp_path / "shapes", "pointcloud/i2p-mae", shapes, points, "pointcloud/point-set")
    judge = saved(
        tmp_path / "judge", "pointcloud/vbreg", network(), MatchPreprocessor(MatchSetConfig()), "pointcloud/matches"
    )
    judging, features = loaded_models((judge, scenes))
    assert isinstance(judging, MatchNetwork)
    assert features.folder.encoder_name == "pointcloud/sparse-unet"
    with pytest.raises(ConfigError, match="second of two models for features"):
        loaded_models((scenes, objects))
    one = pair_of_scans()[0][::4]
    kept = thinned(one, 0.2)
    found = model_features(features, one, kept)
    assert found.values.shape == (len(kept.places), 8)
    np.testing.assert_array_equal(found.places, kept.places)
    answer = features.tokens([one.astype(np.float32)], "point")[0].outputs
    first = kept.voxel_of == 0
    np.testing.assert_allclose(found.values[0], answer[first].mean(0), rtol=1e-4, atol=1e-5)
    own = model_features(loaded_models((objects,))[1], one, kept)
    assert own.values.shape[1] == 12 + 18 + 24
    assert 0 < len(own.places) <= 256
    assert np.isfinite(own.values).all()
    with pytest.raises(DataError, match="no features of points"):
        model_features(repcore.load(judge), one, kept)
    same = register(cloud_of(one, "a"), cloud_of(one, "b"), RegistrationConfig(voxel=0.2), feature_model=features)
    assert same.features == "pointcloud/sparse-unet"
    np.testing.assert_allclose(same.motion, np.eye(4), atol=1e-6)
