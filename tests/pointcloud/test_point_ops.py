"""Point operations against slow independent forms, on random, tied and degenerate inputs; Triton by the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from repcore import ops
from repcore.errors import ShapeError
from repcore_pointcloud.ops.chamfer.torch import chamfer
from repcore_pointcloud.ops.depth_views.torch import depth_views
from repcore_pointcloud.ops.farthest_points.torch import farthest_points
from repcore_pointcloud.ops.group_maximum import tiles
from repcore_pointcloud.ops.group_maximum.torch import group_maximum
from repcore_pointcloud.ops.group_points.torch import group_points
from repcore_pointcloud.ops.interpolate_points.torch import interpolate_points
from repcore_pointcloud.ops.map_lookup.taps import map_lookup
from repcore_pointcloud.ops.nearest_points import blocks
from repcore_pointcloud.ops.nearest_points.torch import nearest_points

OPS = (
    "farthest-points", "nearest-points", "group-points", "chamfer", "depth-views", "map-lookup", "interpolate-points",
    "group-maximum",
)  # fmt: skip


def cloud(seed: int, *shape: int, steps: int = 0) -> Tensor:
    """Random points; on a grid of ``steps`` a unit when it is positive, so that there are ties."""
    points = torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))
    return (points * steps).round() / steps if steps else points


def slow_farthest(points: Tensor, count: int, excluded: float) -> list[int]:
    rows = points.tolist()
    chosen = [0]
    while len(chosen) < count:
        best, farthest = 0, -1.0
        for number, row in enumerate(rows):
            if sum(one * one for one in row) <= excluded:
                continue
            nearest = min(float((points[number] - points[other]).square().sum()) for other in chosen)
            if nearest > farthest:
                best, farthest = number, nearest
        chosen.append(best)
    return chosen


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), number=st.integers(1, 14), count=st.integers(1, 9), steps=st.sampled_from([0, 1, 2]))
def test_farthest_points_equal_a_search_over_all_pairs(seed: int, number: int, count: int, steps: int) -> None:
    points = cloud(seed, 1, number, steps=steps)
    for excluded in (-1.0, 0.3):
        assert farthest_points(points, count, excluded=excluded)[0].tolist() == slow_farthest(
            points[0], count, excluded
        )


@pytest.mark.parametrize(("steps", "excluded"), [(0, -1.0), (0, 0.2), (2, -1.0)])
def test_coarser_choices_are_the_beginning_of_finer_ones(steps: int, excluded: float) -> None:
    points = cloud(0, 3, 90, steps=steps)
    fine = farthest_points(points, 40, excluded=excluded)
    centres = points.gather(1, fine[..., None].expand(-1, -1, 3))
    again = farthest_points(centres, 15, excluded=excluded)
    assert torch.equal(centres.gather(1, again[..., None].expand(-1, -1, 3)), centres[:, :15])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), number=st.integers(3, 600), count=st.integers(1, 20), steps=st.sampled_from([0, 1, 3]))
def test_nearest_points_are_sorted_by_distance_then_index(seed: int, number: int, count: int, steps: int) -> None:
    points, queries = cloud(seed, 1, number, steps=steps), cloud(seed + 1, 1, 3, steps=steps)
    count = min(count, number)
    found = blocks.nearest_points(queries, points, count)
    assert torch.equal(found, nearest_points(queries, points, count))
    for query, row in zip(queries[0], found[0], strict=True):
        difference = query - points[0]
        distances = (difference[:, 0] ** 2 + difference[:, 1] ** 2 + difference[:, 2] ** 2).tolist()
        assert row.tolist() == sorted(range(number), key=lambda j: (distances[j], j))[:count]


def test_a_point_is_its_own_nearest() -> None:
    points = cloud(3, 2, 500) + 1000.0  # far from the origin, where expanded distances lose it
    assert torch.equal(blocks.nearest_points(points[:, :50], points, 1)[..., 0], torch.arange(50).expand(2, -1))


def test_chamfer_is_a_double_loop_with_gradients_along_nearest_pairs() -> None:
    first, second = cloud(0, 3, 5).double().requires_grad_(), cloud(1, 3, 4).double().requires_grad_()
    for number, value in enumerate(chamfer(first, second)):
        rows, columns = first[number].detach(), second[number].detach()
        pairs = [[float((a - b).square().sum()) for b in columns] for a in rows]
        both = sum(map(min, pairs)) / 5 + sum(min(row[j] for row in pairs) for j in range(4)) / 4
        assert float(value) == pytest.approx(both, rel=1e-12)
    assert torch.autograd.gradcheck(chamfer, (first, second))


def test_chamfer_of_a_set_with_itself_in_another_order_is_zero() -> None:
    points = cloud(0, 2, 8)
    assert float(chamfer(points, points.flip(1)).abs().max()) == 0.0


def test_group_points_gathers_and_subtracts() -> None:
    values, index, centres = cloud(0, 2, 7), torch.tensor([[[0, 3], [6, 6]]] * 2), cloud(1, 2, 2)
    found = group_points(values, index, centres)
    for b in range(2):
        for g in range(2):
            for k in range(2):
                assert torch.equal(found[b, g, k], values[b, index[b, g, k]] - centres[b, g])


@pytest.mark.parametrize("with_inner", [False, True])
def test_tiles_of_group_maxima_have_the_gradients_of_finite_differences(with_inner: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    shapes = [(3, 4, 2), (5, 6), (5,), (6, 2), (3, 6)] if with_inner else [(3, 4, 2), (5, 2), (5,)]
    given = [torch.randn(*one, generator=generator, dtype=torch.float64).requires_grad_() for one in shapes]
    assert torch.autograd.gradcheck(tiles.group_maximum, given)


def test_the_first_of_members_that_tie_is_the_maximum() -> None:
    values = torch.tensor([[[1.0, -2.0], [3.0, -2.0], [3.0, -2.0]]])
    highest, place = tiles.maxima(values)
    assert highest.tolist() == [[3.0, -2.0]]
    assert place.tolist() == [[1, 0]]


def test_group_maxima_under_autocast_are_those_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(5)
    given = [torch.randn(*one, generator=generator) for one in [(3, 4, 2), (5, 2), (5,)]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = tiles.group_maximum(*given), group_maximum(*given)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


def test_depth_views_add_up_the_depth_of_every_splat() -> None:
    points = cloud(5, 1, 30)
    images, pixels = depth_views(points, 32, 5)
    for view, (a, b, d) in enumerate(((0, 1, 2), (2, 0, 1), (1, 2, 0))):
        row, column, depth = points[0, :, a], points[0, :, b], points[0, :, d]
        cell = max(float(row.max() - row.min()), float(column.max() - column.min())) / 29
        r, c = (((one - one.min()) / torch.tensor(cell)).floor().long() + 1 for one in (row, column))
        image = torch.zeros(32, 32)
        shift = [16 - (int(one.max()) + 2 + int(one.min()) - 2) // 2 - 1 for one in (r, c)]
        for n in range(30):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    y = min(31, max(0, int(r[n]) + down + shift[0]))
                    x = min(31, max(0, int(c[n]) + right + shift[1]))
                    image[y, x] += depth[n]
        assert torch.allclose(images[0, view], image, atol=1e-5)  # sums in another order
        assert torch.equal(pixels[0, view], (r + shift[0]) * 32 + c + shift[1])


@pytest.mark.parametrize("shape", ["one point", "line of sight"])
def test_depth_views_of_clouds_without_extent_stay_finite(shape: str) -> None:
    points = (
        torch.zeros(1, 4, 3) if shape == "one point" else torch.arange(4.0)[None, :, None] * torch.tensor([0, 0, 1.0])
    )
    images, pixels = depth_views(points, 32, 5)
    assert torch.isfinite(images).all()
    assert ((pixels >= 0) & (pixels < 32 * 32)).all()


@pytest.mark.parametrize(("height", "width", "size"), [(14, 14, 224), (5, 7, 40), (1, 1, 8)])
def test_map_lookup_reads_what_upsampling_would_give(height: int, width: int, size: int) -> None:
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    full = F.interpolate(maps, (size, size), mode="bicubic", align_corners=False)
    pixels = torch.randint(size * size, (2, 50), generator=torch.Generator().manual_seed(1))
    expected = full.flatten(2).gather(2, pixels[:, None].expand(-1, 3, -1)).transpose(1, 2)
    assert torch.allclose(map_lookup(maps, pixels, size), expected, atol=2e-5)  # torch's own weights are rounded


def test_interpolation_keeps_values_at_known_points_and_averages_between() -> None:
    known, values = cloud(0, 2, 9), torch.randn(2, 9, 4)
    assert torch.allclose(interpolate_points(values, known, known), values, atol=1e-5)  # 1e-8 against real distances
    middle = (known[:, :1] + known[:, :1]) / 2
    constant = torch.full((2, 9, 1), 3.0)
    assert torch.allclose(interpolate_points(constant, known, middle + 0.1), torch.tensor(3.0))


@pytest.mark.parametrize("name", OPS)
def test_twins_agree_with_the_definition(name: str) -> None:
    rows = list(ops.compare(f"pointcloud/{name}", repeats=1))
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


def test_wrong_arguments_are_named() -> None:
    points = cloud(0, 1, 5)
    for call in (
        lambda: farthest_points(points[..., :2], 3),
        lambda: farthest_points(points, 0),
        lambda: nearest_points(points, points, 6),
        lambda: group_points(points, torch.zeros(2, 1, 1, dtype=torch.long)),
        lambda: group_maximum(points, torch.zeros(4, 2), torch.zeros(4)),
        lambda: group_maximum(points, torch.zeros(4, 3), torch.zeros(4), inner=torch.zeros(3, 3)),
        lambda: group_maximum(points[:, :0], torch.zeros(4, 3), torch.zeros(4)),
        lambda: chamfer(points, points[:, :0]),
        lambda: depth_views(points, 4, 5),
        lambda: depth_views(points, 32, 4),
        lambda: map_lookup(torch.zeros(1, 1, 2, 2), torch.zeros(2, 3, dtype=torch.long), 4),
        lambda: interpolate_points(points, points[:, :4], points),
    ):
        with pytest.raises(ShapeError):
            call()


SCRIPT = """
from repcore import ops
seen = 0
for name in {names!r}:
    for row in ops.compare("pointcloud/" + name, repeats=1):
        assert row.agrees, row
        seen += row.implementation == "triton"
print("agreed", seen)
"""


def test_triton_kernels_agree_under_the_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(names=OPS)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) >= 40  # all cases of all kernels ran
