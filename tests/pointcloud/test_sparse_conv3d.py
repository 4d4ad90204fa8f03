"""Sparse convolution against dense convolution gathered at the sites; degenerate voxel sets; bits that repeat."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import weakref
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from repcore import ops
from repcore.errors import ConfigError, DataError, ShapeError
from repcore.nn.compiled_loops import numba_unusable
from repcore_pointcloud.ops.sparse_conv3d import selection
from repcore_pointcloud.ops.sparse_conv3d.cases import random_coordinates
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites

OP = "pointcloud/sparse-conv3d"
FORMS = ("torch", "stationary", "compiled")
FLOAT64 = 1e-11  # a few thousand float64 products in another order


def convolve(form: str, *arguments: Tensor | None, **options: object) -> Tensor:
    if form == "compiled":
        pytest.importorskip("numba", reason="the compiled form needs numba")
    module = importlib.import_module(f"repcore_pointcloud.ops.sparse_conv3d.{form}")
    result: Tensor = module.sparse_conv3d(*arguments, **options)
    return result


def batch_places(items: Tensor, coordinates: Tensor) -> Tensor:
    """Places (V, 1) of the batch numbers of voxels among the sorted ones that occur."""
    return torch.searchsorted(items, coordinates[:, :1].contiguous())


def dense(features: Tensor, coordinates: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Grids (items, C, X, Y, Z) with a margin of zeros, and where each row stands in them."""
    low = coordinates[:, 1:].amin(0)
    items = torch.unique(coordinates[:, 0])
    place = torch.cat([batch_places(items, coordinates), coordinates[:, 1:] - low + margin], dim=1)
    size = (coordinates[:, 1:].amax(0) - low + 1 + 2 * margin).tolist()
    grid = features.new_zeros(len(items), *size, features.shape[1])
    return grid.index_put(tuple(place.T), features).movedim(-1, 1), place


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000), voxels=st.integers(1, 60), side=st.integers(1, 9), kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 2), width=st.integers(1, 9),
)  # fmt: skip
def test_submanifold_equals_dense(
    form: str, seed: int, voxels: int, side: int, kernel: int, dilation: int, width: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_coordinates(voxels, side, generator)
    weight = torch.randn(4, kernel, kernel, kernel, width, generator=generator, dtype=torch.float64).requires_grad_()
    features = torch.randn(len(coordinates), width, generator=generator, dtype=torch.float64).requires_grad_()
    bias = torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_()
    book = Sites(coordinates).submanifold((kernel,) * 3, (dilation,) * 3)
    margin = kernel // 2 * dilation
    grid, place = dense(features, coordinates, margin)
    full = F.conv3d(grid, weight.permute(0, 4, 1, 2, 3), bias, padding=margin, dilation=dilation)
    expected = full.movedim(1, -1)[tuple(place.T)]
    got = convolve(form, features, weight, bias, rulebook=book)
    assert (got - expected).abs().max() < FLOAT64
    mixed = torch.randn(got.shape, generator=generator, dtype=torch.float64)
    leaves = (features, weight, bias)
    for one, two in zip(
        torch.autograd.grad(got, leaves, mixed), torch.autograd.grad(expected, leaves, mixed), strict=True
    ):
        assert (one - two).abs().max() < FLOAT64


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), voxels=st.integers(1, 50), side=st.integers(1, 8),
    geometry=st.sampled_from([(2, 2, 0), (3, 2, 1), (3, 2, 0), (2, 1, 0), (3, 3, 0)]),
)  # fmt: skip
def test_strided_and_inverse_equal_dense(
    form: str, seed: int, voxels: int, side: int, geometry: tuple[int, int, int]
) -> None:
    kernel, stride, padding = geometry
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_coordinates(voxels, side, generator)
    coordinates[:, 1:] += 2  # the dense grid starts at 0, so that borders are the same
    book, coarse = Sites(coordinates).strided((kernel,) * 3, (stride,) * 3, (padding,) * 3)
    weight = torch.randn(3, kernel, kernel, kernel, 5, generator=generator, dtype=torch.float64)
    features = torch.randn(len(coordinates), 5, generator=generator, dtype=torch.float64)
    items = torch.unique(coordinates[:, 0])
    grid = torch.zeros(len(items), 24, 24, 24, 5, dtype=torch.float64)
    ahead = kernel * stride  # zeros in front, a whole number of strides, so that negative outputs are seen too
    place = torch.cat([batch_places(items, coordinates), coordinates[:, 1:] + ahead], dim=1)
    grid[tuple(place.T)] = features
    full = F.conv3d(grid.movedim(-1, 1), weight.permute(0, 4, 1, 2, 3), stride=stride, padding=padding).movedim(1, -1)
    out = torch.cat([batch_places(items, coarse.coordinates), coarse.coordinates[:, 1:] + kernel], dim=1)
    got = convolve(form, features, weight, rulebook=book)
    assert (got - full[tuple(out.T)]).abs().max() < FLOAT64
    reached = torch.zeros(full.shape[:-1], dtype=torch.bool)
    reached[tuple(out.T)] = True
    assert full[~reached].abs().max() == 0  # no output is missing
    keys = [tuple(row) for row in coarse.coordinates.tolist()]
    assert all(one < two for one, two in pairwise(keys))
    up = torch.randn(5, kernel, kernel, kernel, 3, generator=generator, dtype=torch.float64)
    back = convolve(form, got, up, rulebook=book.reversed)
    spread = torch.zeros((*full.shape[:-1], 3), dtype=torch.float64)
    spread[tuple(out.T)] = got
    whole = F.conv_transpose3d(spread.movedim(-1, 1), up.permute(4, 0, 1, 2, 3), stride=stride).movedim(1, -1)
    shifted = place + torch.tensor([0, padding, padding, padding])
    assert (back - whole[tuple(shifted.T)]).abs().max() < FLOAT64


@pytest.mark.parametrize("form", FORMS)
def test_gradients_by_finite_differences(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    sites = Sites(random_coordinates(14, 3, generator))
    book, _ = sites.strided((3, 3, 3), (2, 2, 2))
    for rulebook in (sites.submanifold((3, 3, 3)), book, book.reversed):
        features = torch.randn(rulebook.num_inputs, 3, dtype=torch.float64, generator=generator).requires_grad_()
        weight = torch.randn(2, 3, 3, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()
        bias = torch.randn(2, dtype=torch.float64, generator=generator).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, w, b, book=rulebook: convolve(form, x, w, b, rulebook=book), (features, weight, bias)
        )


def test_all_usable_implementations_agree() -> None:
    results = list(ops.compare(OP, repeats=1))
    assert {one.implementation for one in results} >= {"output-stationary"}
    assert all(one.agrees for one in results), [one for one in results if not one.agrees]


THREADS = """
import hashlib, torch
from repcore.nn.compiled_loops import numba_unusable
from repcore_pointcloud.ops.sparse_conv3d import compiled, stationary, torch as plain
from repcore_pointcloud.ops.sparse_conv3d.cases import random_coordinates
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites
for voxels, width_in, width_out in ((700, 7, 5), (9000, 33, 20), (9000, 32, 64)):
    sites = Sites(random_coordinates(voxels, 24, torch.Generator().manual_seed(1)))
    book, _ = sites.strided((2, 2, 2), (2, 2, 2))
    for rulebook, kernel in ((sites.submanifold((3, 3, 3)), 3), (book, 2), (book.reversed, 2)):
        draw = torch.Generator().manual_seed(2)
        inputs = torch.randn(rulebook.num_inputs, width_in, generator=draw)
        weight = torch.randn(width_out, kernel, kernel, kernel, width_in, generator=draw)
        grad = torch.randn(rulebook.num_outputs, width_out, generator=draw)
        for form in (plain, stationary, *(() if numba_unusable() else (compiled,))):
            prints = set()
            for threads in (1, 2, 4, 2, 1):
                torch.set_num_threads(threads)
                x, w = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
                y = form.sparse_conv3d(x, w, rulebook=rulebook)
                found = (y, *torch.autograd.grad(y, (x, w), grad))
                prints.add(tuple(hashlib.sha256(one.detach().numpy().tobytes()).hexdigest() for one in found))
            assert len(prints) == 1, (voxels, width_in, width_out, kernel, form.__name__)
print("same bits")
"""


def test_bits_repeat_with_any_number_of_threads() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    run = subprocess.run(
        [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "same bits" in run.stdout


KERNELS = """
from repcore import ops
results = [one for one in ops.compare("pointcloud/sparse-conv3d", repeats=1) if one.implementation == "triton"]
assert len(results) >= 13, len(results)
assert all(one.agrees for one in results), [one for one in results if not one.agrees]
print("kernels agree")
"""


def test_triton_kernels_agree_under_the_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", KERNELS], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "kernels agree" in run.stdout


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_rounds_once(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    book = Sites(random_coordinates(80, 5, generator)).submanifold((3, 3, 3))
    features = torch.randn(book.num_inputs, 8, generator=generator).bfloat16()
    weight = torch.randn(4, 3, 3, 3, 8, generator=generator).bfloat16()
    got = convolve(form, features, weight, rulebook=book)
    exact = convolve("torch", features.double(), weight.double(), rulebook=book)
    assert got.dtype == torch.bfloat16
    assert ((got.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-5).all()  # one rounding to eight bits


def test_order_of_voxels_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(3)
    coordinates = random_coordinates(90, 6, generator)
    features = torch.randn(len(coordinates), 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(coordinates), generator=generator)
    one = convolve("torch", features, weight, rulebook=Sites(coordinates).submanifold((3, 3, 3)))
    two = convolve("torch", features[order], weight, rulebook=Sites(coordinates[order]).submanifold((3, 3, 3)))
    assert (one[order] - two).abs().max() < FLOAT64


def test_rulebooks_are_kept() -> None:
    sites = Sites(random_coordinates(30, 4, torch.Generator().manual_seed(0)))
    assert sites.submanifold((3, 3, 3)) is sites.submanifold((3, 3, 3))
    assert sites.strided((2, 2, 2), (2, 2, 2))[1] is sites.strided((2, 2, 2), (2, 2, 2))[1]
    assert sites.submanifold((3, 3, 3)) is not sites.submanifold((3, 3, 3), (2, 2, 2))


def test_bad_coordinates_are_named() -> None:
    with pytest.raises(DataError, match="stand twice"):
        Sites(torch.tensor([[0, 1, 1, 1], [0, 2, 1, 1], [0, 1, 1, 1]]))
    with pytest.raises(DataError, match="too many for 64-bit keys"):
        Sites(torch.tensor([[0, 0, 0, 0], [0, 2**40, 2**40, 5]]))
    with pytest.raises(DataError, match="negative"):
        Sites(torch.tensor([[-1, 0, 0, 0]]))
    with pytest.raises(ShapeError, match="whole numbers"):
        Sites(torch.zeros(3, 4))
    with pytest.raises(ConfigError, match="no centre"):
        Sites(torch.zeros(1, 4, dtype=torch.long)).submanifold((2, 2, 2))


def test_sizes_that_do_not_fit_are_named() -> None:
    book = Sites(torch.zeros(1, 4, dtype=torch.long)).submanifold((3, 3, 3))
    with pytest.raises(ShapeError, match="features"):
        convolve("torch", torch.zeros(2, 3), torch.zeros(4, 3, 3, 3, 3), rulebook=book)
    with pytest.raises(ShapeError, match="125 kernel offsets"):
        convolve("torch", torch.zeros(1, 3), torch.zeros(4, 5, 5, 5, 3), rulebook=book)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), voxels=st.integers(1, 90), side=st.integers(1, 12), dilation=st.integers(1, 3),
    kernel=st.sampled_from([(3, 3, 3), (5, 5, 5), (3, 1, 3), (1, 1, 5), (7, 3, 1)]),
)  # fmt: skip
def test_the_walk_finds_the_neighbours_that_search_finds(
    seed: int, voxels: int, side: int, dilation: int, kernel: tuple[int, int, int]
) -> None:
    pytest.importorskip("numba", reason="the walk is compiled by numba")
    coordinates = random_coordinates(voxels, side, torch.Generator().manual_seed(seed))
    walked = Sites(coordinates).submanifold(kernel, (dilation,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repcore_pointcloud.ops.sparse_conv3d.sites.numba_unusable", lambda: "not here")
        searched = Sites(coordinates).submanifold(kernel, (dilation,) * 3)
    assert torch.equal(walked.by_offset, searched.by_offset)
    assert torch.equal(walked.reversed.by_offset, Rulebook(searched.by_offset, len(coordinates)).reversed.by_offset)


def test_the_choice_on_a_cpu_is_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selection.priority("cpu", "float32", {}) == ("compiled", "output-stationary")
    large = {"narrow": 0, "small": 0, "filled": 0}
    assert selection.priority("cpu", "float32", large) == ("compiled", "spconv", "torch")
    assert selection.priority("cpu", "float64", {**large, "filled": 1}) == ("compiled", "output-stationary")
    monkeypatch.setitem(sys.modules, "numba", None)
    numba_unusable.cache_clear()
    try:
        assert "pip install repcore[fast]" in numba_unusable()
        assert ops.choose(OP, device="cpu", dtype="float64", sizes=large) == "torch"
        assert Sites(random_coordinates(30, 4, torch.Generator().manual_seed(0))).submanifold((3, 3, 3)).num_pairs > 30
    finally:
        numba_unusable.cache_clear()


def test_spconv_is_not_used_by_threads_that_came_after_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spconv")
    from repcore_pointcloud.ops.sparse_conv3d import spconv

    book = Sites(random_coordinates(60, 5, torch.Generator().manual_seed(0))).submanifold((3, 3, 3))
    features, weight = torch.randn(book.num_inputs, 8), torch.randn(4, 3, 3, 3, 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(spconv._Spconv, "apply", lambda *_: pytest.fail("the library ran with two threads"))
    assert torch.equal(
        spconv.sparse_conv3d(features, weight, rulebook=book), convolve("torch", features, weight, rulebook=book)
    )


def test_a_cache_that_cannot_be_written_or_read_does_not_matter(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="the cache is numba's")
    kept = tmp_path / "kept"
    for _ in range(2):
        assert "agrees" in run_compiled(kept)
        damaged = list(kept.rglob("*.nb*"))
        assert damaged
        for one in damaged:
            one.write_bytes(one.read_bytes()[:20])
    assert "agrees" in run_compiled(Path("/proc/no-place"))


COMPILED = """
import torch
from repcore_pointcloud.ops.sparse_conv3d import compiled, torch as plain
from repcore_pointcloud.ops.sparse_conv3d.cases import random_coordinates
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites
book = Sites(random_coordinates(50, 5, torch.Generator().manual_seed(0))).submanifold((3, 3, 3))
x, w = torch.randn(book.num_inputs, 4), torch.randn(3, 3, 3, 3, 4)
assert torch.allclose(compiled.sparse_conv3d(x, w, rulebook=book), plain.sparse_conv3d(x, w, rulebook=book), atol=1e-4)
print("agrees")
"""


def run_compiled(cache: Path) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_spconv_on_a_cpu_needs_one_thread_and_says_so() -> None:
    pytest.importorskip("spconv")
    from repcore_pointcloud.ops.sparse_conv3d import spconv

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert "race" in spconv.unusable() or torch.cuda.is_available()
        assert ops.choose(OP, device="cpu") != "spconv"
        torch.set_num_threads(1)
        assert spconv.unusable() == ""
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("form", FORMS)
def test_the_memory_of_a_weight_can_be_given_back(form: str) -> None:
    """As it is where parameters are shared out between processes; numpy's view of a tensor takes that away."""
    sites = Sites(random_coordinates(40, 6, torch.Generator().manual_seed(0)))
    book = sites.submanifold((3, 3, 3), (1, 1, 1))
    weight = torch.randn(4, 3, 3, 3, 2, requires_grad=True)
    convolve(form, torch.randn(len(sites.coordinates), 2), weight, rulebook=book).sum().backward()
    assert weight.untyped_storage().resizable()


def test_rulebooks_of_a_scene_end_with_it() -> None:
    sites = Sites(random_coordinates(80, 6, torch.Generator().manual_seed(0)))
    book, _ = sites.strided((2, 2, 2), (2, 2, 2))
    back = book.reversed
    assert back.reversed is book
    assert book.reversed is back
    alive = weakref.ref(book)
    pairs = book.pairs
    gc.disable()
    try:
        del sites, book, _
        assert alive() is None  # without the collector: no circle holds the tables of scenes that are done
    finally:
        gc.enable()
    assert all(torch.equal(*both) for both in zip(back.reversed.pairs, pairs, strict=True))
