"""Where views lie, how they are cut, turned and changed: against slow loops, in two and three dimensions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore_medical3d.configs.adam_v2 import ViewsConfig
from repcore_medical3d.layers.boxes import (
    Boxes,
    CropRange,
    anchor_boxes,
    branching_for,
    centred_origin,
    centred_sides,
    check_branching,
    part_boxes,
    random_crops,
    usable_granularity,
)
from repcore_medical3d.layers.intensity import Jitter, blurred, jittered, smoothed
from repcore_medical3d.layers.sampling import resized, rotations, sample_views
from repcore_medical3d.views.anatomy import AnatomyViews, concentric_ranges, stage_fraction

SMALL = ViewsConfig(global_size=24, local_size=12, local_views=3, smallest_part=4, saturation=0.0, hue=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(rows: list[list[float]]) -> Boxes:
    """Boxes of one image, (1, V, s), from origin + extent."""
    table = torch.tensor(rows)
    axes = table.shape[1] // 2
    return Boxes(table[None, :, :axes], table[None, :, axes:])


# ------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("branching", [(2, 2), (1, 3), (2, 2, 2), (1, 2, 2), (4, 1, 2)])
def test_parts_tile_the_whole_with_the_last_axis_fastest(branching: tuple[int, ...]) -> None:
    extent = [17.0, 23.0, 12.0][: len(branching)]
    origin = [3.0, 1.0, 5.0][: len(branching)]
    parts = part_boxes(Boxes(torch.tensor(origin), torch.tensor(extent)), branching)
    for number, place in enumerate(itertools.product(*(range(one) for one in branching))):
        side = [e // b for e, b in zip(extent, branching, strict=True)]
        wanted = [o + i * s for o, i, s in zip(origin, place, side, strict=True)]
        assert parts.extent[number].tolist() == side
        assert parts.origin[number].tolist() == wanted
    assert len(parts.origin) == math.prod(branching)


@pytest.mark.parametrize("parts", [8, 12, 2, 5])
def test_part_counts_that_do_not_split_evenly_are_refused(parts: int) -> None:
    with pytest.raises(ConfigError, match=f"parts={parts} cannot be split evenly along 2 axes"):
        branching_for(parts, 2)
    assert branching_for(8, 3) == (2, 2, 2)
    assert branching_for(9, 2) == (3, 3)


@pytest.mark.parametrize(("branching", "axes"), [((2, 2), 3), ((1, 1), 2), ((5, 2), 2), ((0, 2), 2)])
def test_branching_outside_its_range_is_refused(branching: tuple[int, ...], axes: int) -> None:
    with pytest.raises(ConfigError, match="branching"):
        check_branching(branching, axes)


@pytest.mark.parametrize("edges", [(100, 80), (40, 56, 24)])
@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_anchors_lie_inside_and_reach_every_allowed_place(edges: tuple[int, ...], exponent: int) -> None:
    found = anchor_boxes(edges, exponent, 4000, margin=0.1, generator=seeded())
    sides = [edge // 2**exponent for edge in edges]
    assert found.extent[0, 0].tolist() == sides
    for axis, (edge, side) in enumerate(zip(edges, sides, strict=True)):
        places, room, border = found.origin[:, 0, axis], edge - side, round(0.1 * edge)
        has_margin = room - 2 * border > border
        low, high = (border, room - border) if has_margin else (0, room)
        assert (places.min(), places.max()) == (low, high)
        assert len(places.unique()) == high - low + 1


def test_square_anchors_have_the_shortest_edge() -> None:
    found = anchor_boxes((60, 90), 1, 5, margin=0.0, generator=seeded(), square=True)
    assert found.extent.unique().tolist() == [30.0]


def test_centred_crops_follow_the_published_rule() -> None:
    whole = Boxes(torch.zeros(2), torch.tensor([163.0, 187.0]))
    for area, aspect in ((0.05, 0.8), (0.35, 0.7), (0.75, 1.0), (0.9, 1.3)):
        half = torch.tensor(math.log(aspect) / 2)
        sides, fits = centred_sides(whole.extent, torch.tensor(area), torch.stack([-half, half]))
        wide, tall = round(math.sqrt(163 * 187 * area * aspect)), round(math.sqrt(163 * 187 * area / aspect))
        assert sides.tolist() == [tall, wide]
        assert bool(fits) == (wide <= 187 and tall <= 163)
        assert centred_origin(whole, sides).tolist() == [(163 - tall) // 2, (187 - wide) // 2]


@pytest.mark.parametrize("extent", [[40.0, 50.0], [16.0, 96.0], [30.0, 44.0, 20.0]])
@pytest.mark.parametrize("is_centred", [True, False])
def test_random_crops_stay_inside_and_have_the_asked_area(extent: list[float], is_centred: bool) -> None:
    origin = torch.arange(1.0, len(extent) + 1).expand(300, 1, -1)
    whole = Boxes(origin, torch.tensor(extent).expand_as(origin))
    ranges = [CropRange((0.3, 0.5)), CropRange((0.1, 0.2), (1.0, 1.5))]
    found = random_crops(whole, ranges, is_centred=is_centred, generator=seeded())
    assert (found.origin >= whole.origin).all()
    assert (found.origin + found.extent <= whole.origin + whole.extent).all()
    if len(extent) == 2 and extent[0] > 20:  # the flat box falls back to a clamped shape
        share = (found.extent.prod(-1) / whole.extent.prod(-1)).T
        for row, one in zip(share, ranges, strict=True):  # edges are rounded to whole pixels
            assert one.area[0] - 0.06 <= float(row.min()) <= float(row.max()) <= one.area[1] + 0.06
        aspect = found.extent[:, 1, 1] / found.extent[:, 1, 0]
        assert 0.9 <= float(aspect.min()) <= float(aspect.max()) <= 1.65
    if is_centred:
        middle = found.origin + found.extent / 2 - (whole.origin + whole.extent / 2)
        assert (middle.abs() <= 0.5).all()


def test_granularity_stops_where_parts_would_be_too_small() -> None:
    assert usable_granularity((224, 224), (2, 2), 8) == 3
    assert usable_granularity((40, 224), (2, 2), 8) == 1
    assert usable_granularity((12, 12), (2, 2), 8) == 0
    views = AnatomyViews(SMALL, 2)
    assert views.exponent(0.99, (64, 64), is_warmup=False) == 2
    assert views.exponent(0.99, (20, 64), is_warmup=False) == 1


def test_the_curriculum_goes_from_coarse_to_fine() -> None:
    views = AnatomyViews(SMALL, 2)
    joint = [views.exponent(epoch / 265, (256, 256), is_warmup=False) for epoch in (0, 9, 10, 99, 100, 264)]
    assert joint == [0, 0, 1, 1, 2, 2]
    warm = [views.exponent(epoch / 500, (256, 256), is_warmup=True) for epoch in (199, 200, 399, 400)]
    assert warm == [0, 1, 1, 2]
    assert stage_fraction(Progress(25, 100), 0.5) == (True, 0.5)
    assert stage_fraction(Progress(75, 100), 0.5) == (False, 0.5)
    assert stage_fraction(Progress(99, 100), 1.0)[0]


def test_eight_local_views_are_the_published_ones() -> None:
    found = concentric_ranges(8)
    assert [one.area for one in found][:3] == [(0.05, 0.1), (0.1, 0.2), (0.2, 0.3)]
    assert found[-1].area == (0.7, 0.8)
    assert [one.aspect[0] for one in found] == [2 / 3, 1.0] * 4


# ---------------------------------------------------------------------------------------- sampling


def slow_view(image: Tensor, box: list[float], size: list[int], turn: Tensor) -> Tensor:
    """One view of (C, *E), voxel by voxel, by linear interpolation with repeated borders, 0 outside the image."""
    axes = len(size)
    edges = image.shape[1:]
    result = torch.zeros(image.shape[0], *size, dtype=torch.float64)
    for place in itertools.product(*(range(one) for one in size)):
        offset = torch.tensor(
            [((i + 0.5) / n - 0.5) * box[axes + a] for a, (i, n) in enumerate(zip(place, size, strict=True))]
        )
        point = turn.double() @ offset.double()
        point = [float(point[a]) + box[a] + box[axes + a] / 2 for a in range(axes)]
        if any(p < -1e-3 or p > e + 1e-3 for p, e in zip(point, edges, strict=True)):
            continue
        total = torch.zeros(image.shape[0], dtype=torch.float64)
        for corner in itertools.product((0, 1), repeat=axes):
            weight, index = 1.0, []
            for axis, side in enumerate(corner):
                low = math.floor(point[axis] - 0.5)
                share = point[axis] - 0.5 - low
                weight *= share if side else 1 - share
                index.append(min(max(low + side, 0), edges[axis] - 1))
            total += weight * image[(slice(None), *index)].double()
        result[(slice(None), *place)] = total
    return result


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_views_equal_a_slow_loop(axes: int, degrees: float) -> None:
    image = torch.rand(1, 2, *[9, 11, 7][:axes], generator=seeded())
    box = [[1.0, 2.0, 1.0][:axes] + [6.0, 8.0, 5.0][:axes], [0.0] * axes + [9.0, 11.0, 7.0][:axes]]
    size = [6, 8, 5][:axes]
    turn = rotations((1, 2), degrees, axes, seeded(3))
    found = sample_views(image, boxes(box), size, turn)
    for view in range(2):
        wanted = slow_view(image[0], box[view], size, turn[0, view])
        assert torch.allclose(found[0, view].double(), wanted, atol=1e-5)  # float32 coordinates


def test_a_box_of_the_view_size_is_a_plain_crop() -> None:
    image = torch.rand(2, 1, 20, 30, generator=seeded())
    chosen = Boxes(torch.tensor([[[3.0, 4.0]], [[7.0, 11.0]]]), torch.full((2, 1, 2), 8.0))
    found = sample_views(image, chosen, [8, 8])
    assert torch.allclose(found[0, 0], image[0, :, 3:11, 4:12], atol=1e-5)
    assert torch.allclose(found[1, 0], image[1, :, 7:15, 11:19], atol=1e-5)


def test_large_reductions_are_means_and_not_samples() -> None:
    """A fine checkerboard becomes grey; without a pyramid it would alias to 0 or 1."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows + columns) % 2).float()[None, None]
    found = resized(board, 8)
    assert torch.allclose(found, torch.full_like(found, 0.5), atol=1e-4)
    smooth = F.avg_pool2d(torch.rand(1, 1, 64, 64, generator=seeded()), 8)
    big = F.interpolate(smooth, scale_factor=8, mode="bicubic", align_corners=False)
    reference = F.interpolate(big, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    assert (resized(big, 16) - reference).abs().max() < 0.05  # of a range of 1: two smoothing kernels differ a little


def test_views_of_one_image_do_not_depend_on_the_order_or_on_others() -> None:
    image = torch.rand(1, 1, 64, 64, generator=seeded())
    rows = [[0.0, 0.0, 64.0, 64.0], [10.0, 12.0, 8.0, 8.0], [0.0, 30.0, 32.0, 32.0]]
    together = sample_views(image, boxes(rows), [8, 8])
    for number, row in enumerate(rows):
        assert torch.equal(together[:, number], sample_views(image, boxes([row]), [8, 8])[:, 0])


def test_corners_of_a_turned_view_are_black_only_on_request() -> None:
    image = torch.ones(1, 1, 40, 40)
    turn = rotations((1, 1), 10.0, 2, seeded(1)) @ rotations((1, 1), 20.0, 2, seeded(4))
    inner = boxes([[10.0, 10.0, 20.0, 20.0]])
    assert (sample_views(image, inner, [16, 16], turn) > 0.99).all()
    cut = sample_views(image, inner, [16, 16], turn, fill="zero")
    assert (cut == 0).any()
    assert float(cut[0, 0, 0, 8, 8]) > 0.99


def test_a_quarter_turn_turns_the_view() -> None:
    image = torch.rand(1, 1, 8, 8, generator=seeded())
    turn = torch.tensor([[[[0.0, 1.0], [-1.0, 0.0]]]])
    found = sample_views(image, boxes([[0.0, 0.0, 8.0, 8.0]]), [8, 8], turn)
    assert torch.allclose(found[0, 0, 0], torch.rot90(image[0, 0], -1), atol=1e-5) or torch.allclose(
        found[0, 0, 0], torch.rot90(image[0, 0], 1), atol=1e-5
    )


@pytest.mark.parametrize("axes", [2, 3])
def test_rotations_are_rotations(axes: int) -> None:
    found = rotations((50,), 30.0, axes, seeded())
    assert torch.allclose(found @ found.mT, torch.eye(axes).expand_as(found), atol=1e-6)
    assert torch.allclose(torch.linalg.det(found), torch.ones(50), atol=1e-6)
    trace = found.diagonal(dim1=-2, dim2=-1).sum(-1)
    angle = torch.rad2deg(torch.arccos(((trace - (axes - 2)) / 2).clamp(-1, 1)))
    assert float(angle.max()) <= 30.01


# --------------------------------------------------------------------------------------- intensity


def test_smoothing_is_the_gaussian_of_each_view() -> None:
    views = torch.rand(3, 2, 9, 11, generator=seeded())
    sigma = torch.tensor([0.5, 1.0, 1.7])
    found = smoothed(views, sigma, largest=1.7)
    radius = math.ceil(3 * 1.7)
    for number in range(3):
        steps = torch.arange(-radius, radius + 1).float()
        kernel = torch.exp(-steps.square() / (2 * sigma[number] ** 2))
        plane = (kernel / kernel.sum())[:, None] * (kernel / kernel.sum())[None]
        padded = F.pad(views[number][:, None], [radius] * 4, mode="replicate")
        wanted = F.conv2d(padded, plane[None, None])[:, 0]
        assert torch.allclose(found[number], wanted, atol=1e-5)


def test_views_that_are_not_chosen_stay_as_they_are() -> None:
    views = torch.rand(6, 1, 12, 12, generator=seeded())
    assert torch.equal(blurred(views, [0.0] * 6, (0.1, 2.0), seeded()), views)
    assert torch.allclose(jittered(views, Jitter(chance=0.0), seeded()), views, atol=1e-6)  # mean off and on again
    some = blurred(views, [1.0, 0.0] * 3, (0.8, 2.0), seeded())
    assert torch.equal(some[1::2], views[1::2])
    assert (some[::2] != views[::2]).flatten(1).any(1).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_intensities_stay_between_0_and_1(channels: int) -> None:
    views = torch.rand(40, channels, 6, 6, generator=seeded())
    strong = Jitter(1.0, 0.9, 0.9, 0.5, 0.9, 0.5)
    found = jittered(views, strong, seeded())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert (found != views).flatten(1).any(1).all()


def test_grey_images_have_no_hue_to_turn() -> None:
    grey = torch.rand(5, 1, 6, 6, generator=seeded()).expand(-1, 3, -1, -1)
    found = jittered(grey, Jitter(1.0, 0.0, 0.0, 0.0, 0.5, 0.5), seeded())
    assert torch.allclose(found, grey, atol=1e-5)


# --------------------------------------------------------------------------------------- the whole


@pytest.mark.parametrize("axes", [2, 3])
def test_a_seed_gives_the_same_views_and_another_gives_others(axes: int) -> None:
    config = ViewsConfig(
        global_size=16, local_size=8, part_size=8 if axes == 3 else None, local_views=2, branching=(2,) * axes,
        smallest_part=4, saturation=0.0, hue=0.0,
    )  # fmt: skip
    views = AnatomyViews(config, axes)
    images = torch.rand(2, 1, *[40] * axes, generator=seeded())
    for cut in (views.joint, views.warmup):
        first, second, third = cut(images, 1, seeded(5)), cut(images, 1, seeded(5)), cut(images, 1, seeded(6))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert all((first[name] != third[name]).any() for name in first)
    joint = views.joint(images, 1, seeded())
    shapes = {name: tuple(one.shape[1:2]) + tuple(one.shape[3:4]) for name, one in joint.items() if one.ndim > 3}
    assert shapes == {"whole": (1, 16), "global": (1, 16), "local": (2, 8), "parts": (2**axes, 8 if axes == 3 else 16)}


def test_parts_show_their_quarter_of_the_whole() -> None:
    """Without augmentation, the parts of a granularity-0 whole are the quarters of the image."""
    plain = ViewsConfig(
        global_size=16, local_size=8, local_views=1, rotation_degrees=0.0, jitter_chance=0.0, blur=(1e-3, 1e-3),
        saturation=0.0, hue=0.0,
    )  # fmt: skip
    image = torch.rand(1, 1, 32, 32, generator=seeded())
    found = AnatomyViews(plain, 2).joint(image, 0, seeded())["parts"][0, :, 0]
    quarters = [image[0, 0, :16, :16], image[0, 0, :16, 16:], image[0, 0, 16:, :16], image[0, 0, 16:, 16:]]
    assert torch.allclose(found, torch.stack(quarters), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"granularity_shares": (1.0,)}, "granularity_shares"),
        ({"granularity": (0, -1, 2)}, "negative exponent"),
        ({"local_views": 0}, "local_views=0"),
        ({"blur": (2.0, 1.0)}, "blur"),
        ({"branching": (2, 2, 2)}, "branching"),
    ],
)
def test_settings_outside_their_range_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AnatomyViews(ViewsConfig(**change), 2)  # type: ignore[arg-type]


def test_colour_changes_are_refused_for_volumes() -> None:
    with pytest.raises(ConfigError, match="colour"):
        AnatomyViews(ViewsConfig(branching=(2, 2, 2)), 3)
