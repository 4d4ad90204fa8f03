"""Edges and places in windows of films: targets and loss by hand, what may leak, vectors of a grid, runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import repcore
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Progress, Sample
from repcore_medical3d.configs.adam_v2 import ConvNextConfig, ResNetConfig
from repcore_medical3d.configs.edges_and_places import EdgesAndPlacesConfig
from repcore_medical3d.configs.images import ImageConfig, RadiographsConfig
from repcore_medical3d.datasets.radiographs import Radiographs
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.encoders.resnet import ResNetEncoder
from repcore_medical3d.formats.images import Radiograph
from repcore_medical3d.layers.gradients import gradients
from repcore_medical3d.objectives.edges_and_places import EdgesAndPlaces, places
from repcore_medical3d.preprocessors.images import ImagePreprocessor, edges

START = Progress(step=0, total_steps=1)
EDGE = 32
SMALL: dict[str, Any] = {
    "encoder.widths": [8, 16], "encoder.depths": [1, 1], "encoder.kernel": 3, "objective.window_edge": 32,
    "preprocessor.edge": 64, "dataset.images": 12, "dataset.edge": 64,
}  # fmt: skip


def convnext(**settings: Any) -> ConvNextEncoder:
    return ConvNextEncoder(ConvNextConfig(depths=(1, 1), widths=(8, 16), kernel=3, layer_scale=1.0, **settings))


def objective(**settings: Any) -> EdgesAndPlaces:
    """With scaled windows and hidden cells, unless settings say otherwise."""
    given = {"window_edge": EDGE, "unscaled_share": 0.5, "mask_ratio": 0.3, "place_weight": 2.0, **settings}
    return EdgesAndPlaces(EdgesAndPlacesConfig(**given), convnext())


def batch(count: int = 3, edge: int = 64) -> Batch:
    return Batch(
        inputs={"image": torch.rand(count, 1, edge, edge, generator=torch.Generator().manual_seed(1))}, size=count
    )


def drawn(made: EdgesAndPlaces, given: Batch) -> Draws:
    return made.draw(given, torch.Generator().manual_seed(2), START)


# --------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("degrees", "shares"), [(0, {0: 1.0}), (90, {2: 1.0}), (22.5, {0: 0.5, 1: 0.5}), (337.5, {7: 0.5, 0: 0.5})]
)
def test_a_ramp_has_its_direction_and_slope(degrees: float, shares: dict[int, float]) -> None:
    down, across = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    turn = math.radians(degrees)
    ramp = 0.05 * (across * math.cos(turn) + down * math.sin(turn))
    found = gradients(ramp[None, None].double(), 8)[0, :, 1:-1, 1:-1]
    wanted = torch.zeros(8, 4, 4, dtype=torch.float64)
    for direction, share in shares.items():
        wanted[direction] = 0.1 * share
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_nothing_is_lost_between_directions_and_borders_are_empty() -> None:
    image = batch(1).inputs["image"]
    found = gradients(image, 5)
    across, down = image[0, 0, 1:-1, 2:] - image[0, 0, 1:-1, :-2], image[0, 0, 2:, 1:-1] - image[0, 0, :-2, 1:-1]
    torch.testing.assert_close(found.sum(1)[0, 1:-1, 1:-1], (across**2 + down**2).sqrt())
    assert found[..., 0, :].abs().max() == found[..., -1].abs().max() == 0


def test_targets_are_the_edges_of_the_parts_of_their_own_cell() -> None:
    made = objective(subcells=2)
    window = torch.zeros(1, 1, EDGE, EDGE)
    window[0, 0, 9:11, 20:22] = 1.0  # inside the second cell down and the third across, its upper left and right part
    found = made.edges(window)[0].square()
    touched = (found > 1e-3).any(0).nonzero().tolist()
    assert touched == [[1, 2]]


def test_the_baseline_is_the_same_count_over_the_whole_film() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (56, 56), np.uint8)
    bad = Sample("bad", Radiograph(np.zeros((56, 56), np.uint8)))
    preprocessor = ImagePreprocessor(ImageConfig(edge=56, normalisation="none"))
    found = edges(preprocessor, [Sample("a", Radiograph(pixels)), bad])
    assert found.shape == (2, 392)
    assert np.isnan(found[1]).all()
    whole = gradients(torch.from_numpy(pixels / 255).float()[None, None], 8)[0]
    assert found[0].reshape(8, 7, 7)[3, 2, 5] == pytest.approx(float(whole[3, 16:24, 40:48].mean().sqrt()), rel=1e-4)


# ------------------------------------------------------------------------------------------------ loss


def test_terms_by_hand() -> None:
    made, given = objective(mask_ratio=0.5), batch()
    draws = drawn(made, given)
    said = made.said(draws["window"], draws["hidden"]).detach().double().numpy()
    goal = made.edges(draws["window"]).double().numpy()
    goal = (goal - goal.mean((0, 2, 3), keepdims=True)) / (goal.std((0, 2, 3), keepdims=True) + 1e-3)
    error = np.minimum((said[:, :32] - goal) ** 2, 25).mean(1)
    hidden = draws["hidden"][:, 0].numpy()
    found = made(given, draws)
    assert found.terms["hidden"].item() == pytest.approx(error[hidden].mean(), rel=1e-4)
    assert found.terms["seen"].item() == pytest.approx(error[~hidden].mean(), rel=1e-4)
    size = (goal**2).mean(1)[hidden].mean()
    assert float(found.metrics["explained_hidden"]) == pytest.approx(1 - error[hidden].mean() / size, rel=1e-3)
    wanted = places(draws["origin"], draws["extent"], 4).double().numpy()
    off = np.abs(said[:, 32:] - wanted)
    assert found.terms["place"].item() == pytest.approx(np.where(off < 0.2, off**2 / 0.4, off - 0.1).mean(), rel=1e-4)
    assert float(found.metrics["place_error"]) == pytest.approx(np.linalg.norm(off / 2, axis=1).mean(), rel=1e-4)
    assert {name: int(one) for name, one in found.counts.items()} == {
        "seen": (~hidden).sum(), "hidden": hidden.sum(), "place": hidden.size,
    }  # fmt: skip
    assert found.total.item() == pytest.approx(
        sum(weight * one.item() for one, weight in zip(found.terms.values(), (1, 1, 2), strict=True)),
        rel=1e-5,
    )


def test_nothing_of_a_hidden_cell_reaches_the_encoder() -> None:
    made, given = objective(mask_ratio=0.5), batch()
    draws = drawn(made, given)
    hidden = draws["hidden"].repeat_interleave(8, 2).repeat_interleave(8, 3)
    other = torch.where(hidden, torch.rand_like(draws["window"]), draws["window"])
    torch.testing.assert_close(made.said(other, draws["hidden"]), made.said(draws["window"], draws["hidden"]))
    assert (made.said(1 - draws["window"], draws["hidden"]) != made.said(draws["window"], draws["hidden"])).any()


def test_places_of_a_window_in_the_corner_and_of_a_whole_image() -> None:
    found = places(torch.tensor([[0.5, 0.0], [0.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 1.0]]), 2)
    assert found[0, 0].tolist() == [[0.25, 0.25], [0.75, 0.75]]  # down
    assert found[0, 1].tolist() == [[-0.75, -0.25], [-0.75, -0.25]]  # across
    assert found[1, 1].tolist() == [[-0.5, 0.5], [-0.5, 0.5]]


def test_unscaled_windows_are_pixels_of_their_image_at_their_place() -> None:
    made, given = objective(unscaled_share=1.0, intensity=0.0, windows=3), batch()
    draws = drawn(made, given)
    for number, (window, origin) in enumerate(zip(draws["window"], draws["origin"], strict=True)):
        top, left = (origin * 64).round().long().tolist()
        image = given.inputs["image"][number // 3, :, top : top + EDGE, left : left + EDGE]
        torch.testing.assert_close(window, image, atol=1e-5, rtol=0)


def test_scaled_windows_stay_inside_their_share() -> None:
    made = objective(unscaled_share=0.0, window_share=(0.25, 0.75), windows=40)
    draws = drawn(made, batch())
    extent = draws["extent"]
    assert 0.25 <= float(extent.min()) < 0.35
    assert 0.65 < float(extent.max()) <= 0.75
    assert float((draws["origin"] + extent).max()) <= 1.0 + 1e-6


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"gradient_weight": 0.0}, {"place"}),
        ({"place_weight": 0.0}, {"seen", "hidden"}),
        ({"mask_ratio": 0.0}, {"seen", "place"}),
    ],
)
def test_a_term_without_weight_is_not_there(settings: dict[str, float], kept: set[str]) -> None:
    made, given = objective(**settings), batch()
    assert set(made(given, drawn(made, given)).terms) == kept


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoder is one of volumes"):
        EdgesAndPlaces(EdgesAndPlacesConfig(window_edge=EDGE), convnext(spatial_dims=3))
    with pytest.raises(ConfigError, match="both 0"):
        objective(gradient_weight=0.0, place_weight=0.0)
    with pytest.raises(ConfigError, match=r"window_edge=32 is no multiple of 4 cells of 3 parts"):
        objective(subcells=3)
    with pytest.raises(ValueError, match="window_share"):
        EdgesAndPlacesConfig(window_share=(0.8, 0.2))


# --------------------------------------------------------------------------------------- vectors of a grid


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", ["convnext", "resnet"])
def test_a_grid_puts_the_means_of_its_cells_side_by_side(kind: str, axes: int) -> None:
    torch.manual_seed(0)
    encoder: AnatomyEncoder = convnext(spatial_dims=axes, pool_grid=2)
    if kind == "resnet":
        config = ResNetConfig(
            spatial_dims=axes, layers=(1, 1, 1, 1), widths=(4, 4, 8, 8), block="basic", norm="group", pool_grid=2
        )  # fmt: skip
        encoder = ResNetEncoder(config)
    edge = EDGE if kind == "convnext" else 128 if axes == 2 else 64
    given = Batch(inputs={"image" if axes == 2 else "volume": torch.rand(1, 1, *[edge] * axes)}, size=1)
    found = encoder.eval()(given)
    width, cells = encoder.token_width(), 2**axes
    assert found.pooled.shape == (1, encoder.dim) == (1, width * cells)
    side = round(found.tokens["map"].values.shape[1] ** (1 / axes))
    maps = found.tokens["map"].values[0].unflatten(0, [side] * axes)
    corner = maps[tuple(slice(side // 2, None) for _ in range(axes))].flatten(0, -2).mean(0)
    torch.testing.assert_close(found.pooled[0].view(width, cells)[:, -1], corner)
    torch.testing.assert_close(encoder.embed(next(iter(given.inputs.values()))), found.pooled)


# ------------------------------------------------------------------------------------------------ runs


def test_a_minute_of_it_explains_edges_and_knows_places(tmp_path: Path) -> None:
    result = repcore.train(
        "medical3d/edges-and-places", preset="tiny", out=tmp_path, name="run", report=False,
        **SMALL, **{"trainer.steps": 60, "trainer.validate_every": 60, "data.batch_size": 4},
    )  # fmt: skip
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [one for one in lines if one.get("split") == "validation"]
    assert last["explained_seen"] > first["explained_seen"] + 0.2
    assert last["place_error"] < 0.9 * last["middle_error"]


def test_from_the_command_line_to_vectors_that_keep_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"{name}={json.dumps(value)}" for name, value in SMALL.items()]
    code = run(
        ["medical3d", "train", "edges-and-places", "--preset", "tiny", "--out", str(tmp_path), "--name", "run",
         *settings, "trainer.steps=2", "encoder.pool_grid=2"]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    model = repcore.load(tmp_path / "run" / "model")
    reader = Radiographs(RadiographsConfig(images=3, edge=64))
    assert model.embed([reader[row].inputs.pixels for row in range(3)]).vectors.shape == (3, 64)
