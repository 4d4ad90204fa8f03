"""The encoder: independence of batch mates and padding, wirings, grids, poolings, sizes, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Tokens
from repcore_audio.configs.ssamba import (
    PUBLISHED_BASE,
    PUBLISHED_SMALL,
    PUBLISHED_TINY,
    SsambaConfig,
)
from repcore_audio.encoders import mamba_block
from repcore_audio.encoders.mamba_block import MambaBlock
from repcore_audio.encoders.patches import patch_pixels, plan_patches, regrid_positions
from repcore_audio.encoders.ssamba import Ssamba, pool_segments

TINY = SsambaConfig(width=16, depth=4, states=4, patch_frequency=8, patch_time=4, mel_bins=16, frames=32, drop_path=0.0)
SAME = 2e-6  # the same sums in another order, values of order 1


def encoder(config: SsambaConfig = TINY, seed: int = 0) -> Ssamba:
    torch.manual_seed(seed)
    return Ssamba(config).eval()


def clip(frames: int, seed: int = 0, mel_bins: int = 16) -> torch.Tensor:
    return torch.randn(frames, mel_bins, generator=torch.Generator().manual_seed(seed))


def padded_batch(clips: list[torch.Tensor], filler: float = 0.0) -> Batch:
    longest = max(len(one) for one in clips)
    rows = [torch.nn.functional.pad(one, (0, 0, 0, longest - len(one)), value=filler) for one in clips]
    lengths = torch.tensor([len(one) for one in clips])
    return Batch(inputs={"spectrogram": torch.stack(rows), "frames": lengths}, size=len(clips))


@pytest.mark.parametrize("wiring", ["sequential", "paired"])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(4, 40), min_size=2, max_size=4), filler=st.sampled_from([0.0, 50.0, -3.0]))
def test_features_do_not_depend_on_mates_or_padding(wiring: str, lengths: list[int], filler: float) -> None:
    model = encoder(replace(TINY, wiring=wiring))  # type: ignore[arg-type]
    clips = [clip(length, seed) for seed, length in enumerate(lengths)]
    with torch.no_grad():
        together = model(padded_batch(clips, filler))
        for row, one in enumerate(clips):
            alone = model(padded_batch([one]))
            assert (together.pooled[row] - alone.pooled[0]).abs().max() < SAME
            count = alone.tokens["patches"].values.shape[1]
            values = together.tokens["patches"].values[row, :count]
            assert (values - alone.tokens["patches"].values[0]).abs().max() < SAME
            for name in ("cls", "max", "segments", "band-segments"):
                assert (model.pool(together, name)[row] - model.pool(alone, name)[0]).abs().max() < SAME


def test_padding_gets_no_gradient() -> None:
    model = encoder()
    batch = padded_batch([clip(32), clip(12, 1)])
    batch.inputs["spectrogram"].requires_grad_()
    model(batch).pooled[1].sum().backward()
    gradient = batch.inputs["spectrogram"].grad
    assert gradient[1, :12].abs().max() > 0
    assert gradient[1, 12:].abs().max() == 0
    assert gradient[0].abs().max() == 0


def test_batch_order_does_not_matter() -> None:
    model = encoder()
    clips = [clip(32), clip(8, 1), clip(20, 2)]
    with torch.no_grad():
        straight, turned = model(padded_batch(clips)), model(padded_batch(clips[::-1]))
    assert (straight.pooled - turned.pooled.flip(0)).abs().max() < SAME


def test_reading_backwards_is_reading_the_flipped_tokens() -> None:
    torch.manual_seed(0)
    block = MambaBlock(TINY)
    tokens = torch.randn(2, 9, 16)
    with torch.no_grad():
        assert (block(tokens, 1.0, True) - block(tokens.flip(1)).flip(1)).abs().max() < SAME


@pytest.mark.parametrize("tokens", [17, 32, 33, 50])  # 16 and 1, two full pieces, and rests of other sizes
@pytest.mark.parametrize("is_flipped", [False, True])
def test_long_clips_are_read_piece_by_piece_with_the_same_values(
    tokens: int, is_flipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mamba_block, "PIECE", 16)
    mixer = MambaBlock(TINY).mixer.eval()
    hidden = torch.randn(2, tokens, TINY.width)
    for lengths in (None, (tokens, tokens - 9), (tokens, 2)):
        valid = None if lengths is None else torch.arange(tokens) < torch.tensor(lengths)[:, None]
        whole = mixer(hidden, is_flipped, valid)
        assert whole.requires_grad, "training keeps all tokens together"
        with torch.no_grad():
            pieces = mixer(hidden, is_flipped, valid)
        known = slice(None) if valid is None else valid
        torch.testing.assert_close(pieces[known], whole[known].detach(), rtol=1e-4, atol=1e-6)  # sums of float32


def test_long_clips_take_no_tensor_of_all_channels_and_tokens_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no gradient is asked for, what all tokens take is one (B, L, D) sum; whole clips take (2, B, L, D)."""
    mixer, tokens = MambaBlock(TINY).mixer.eval(), 400
    hidden = torch.randn(1, tokens, TINY.width)
    largest = {}
    for piece in (16, tokens):
        monkeypatch.setattr(mamba_block, "PIECE", piece)
        with torch.no_grad(), SizesOfResults() as sizes:
            mixer(hidden)
        largest[piece] = max(sizes.found)
    channels = TINY.expansion * TINY.width
    assert largest[16] == tokens * channels
    assert largest[tokens] >= 2 * tokens * channels


class SizesOfResults(TorchDispatchMode):
    """Numbers in every tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.found += [one.numel() for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        return out


def test_paired_wiring_equals_the_published_recurrence() -> None:
    """The doubling residual, written out with flips and a plain layer norm."""
    model = encoder(replace(TINY, wiring="paired", double_final_norm=True))
    torch.manual_seed(1)
    hidden, residual = torch.randn(2, 9, 16), None
    layout = plan_patches(2, (4, 4), torch.device("cpu"))
    with torch.no_grad():
        got = model.run_blocks(hidden, layout)
        for first in range(0, 4, 2):
            outputs, residuals = [], []
            for number in (first, first + 1):
                turn = (1,) if number % 2 else ()
                entering = hidden.flip(turn) if residual is None else residual.flip(turn) + hidden.flip(turn)
                block = model.blocks[number]
                outputs.append(block.mixer(block.norm(entering)).flip(turn))
                residuals.append(entering.flip(turn))
            hidden, residual = outputs[0] + outputs[1], residuals[0] + residuals[1]
        expected = model.norm(model.norm(residual + hidden))
    assert (got - expected).abs().max() < 5e-6  # the same values at another scale


def test_residual_stays_in_float32_under_autocast() -> None:
    """In the published form it doubles at every pair, so that bfloat16 would round deep blocks away."""
    model = encoder(replace(TINY, depth=24, wiring="paired"))
    seen: list[tuple[torch.dtype, float]] = []
    model.blocks[23].register_forward_hook(
        lambda _, arguments, __: seen.append((arguments[0].dtype, float(arguments[0].abs().max())))
    )
    batch = padded_batch([clip(32)])
    with torch.no_grad():
        exact = model(batch).pooled
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(batch).pooled
    assert [dtype for dtype, _ in seen] == [torch.float32] * 2
    assert max(size for _, size in seen) < 10  # the published residual would be 2048 times that
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()  # rounding of products to 8 bits


@pytest.mark.parametrize(
    ("config", "layers", "total"),
    [
        (PUBLISHED_TINY, 6_773_760, 7_288_298),
        (PUBLISHED_SMALL, 25_049_088, 26_224_106),
        (PUBLISHED_BASE, 96_104_448, 99_042_794),
    ],
)
def test_published_sizes(config: SsambaConfig, layers: int, total: int) -> None:
    """Parameter counts of the method card; ours has neither the unused 1000-way head nor the two size counters."""
    with torch.device("meta"):
        model = Ssamba(config)
    assert sum(one.numel() for one in model.blocks.parameters()) == layers
    heads = 2 * (config.width**2 + config.width + config.width * 256 + 256) + config.width
    unused = config.width * 1000 + 1000 + 2
    assert sum(one.numel() for one in model.parameters()) + heads + unused == total


def test_both_directions_start_with_the_same_memory_unless_published() -> None:
    def steps(legacy: bool) -> tuple[float, float]:
        torch.manual_seed(0)
        block = MambaBlock(replace(TINY, width=64, legacy_dt_b_init=legacy))
        found = [torch.nn.functional.softplus(bias).mean().item() for bias in block.mixer.delta_bias]
        return found[0], found[1]

    forward, backward = steps(legacy=False)
    assert 0.005 < forward < 0.05
    assert 0.005 < backward < 0.05
    forward, backward = steps(legacy=True)
    assert 0.005 < forward < 0.05
    assert backward == pytest.approx(0.693, abs=1e-3)  # softplus(0): method card, section 2.5


def test_positions_crop_about_the_centre_and_interpolate_linearly() -> None:
    table = torch.arange(1 + 2 * 6, dtype=torch.float32)[:, None].repeat(1, 3)
    assert regrid_positions(table, (2, 6), (2, 6)) is table
    cropped = regrid_positions(table, (2, 6), (2, 3))  # columns 3 - 1 = 2, 3, 4
    assert cropped[:, 0].tolist() == [0, 3, 4, 5, 9, 10, 11]
    wider = regrid_positions(table, (2, 6), (2, 12))
    # align_corners false: sample i lies at (i + 0.5) / 2 - 0.5, clamped to the ends
    first_row = [1 + min(max((i + 0.5) / 2 - 0.5, 0), 5) for i in range(12)]
    torch.testing.assert_close(wider[1:13, 0], torch.tensor(first_row))
    lower = regrid_positions(table, (2, 6), (1, 6))
    assert lower[:, 0].tolist() == [0, 7, 8, 9, 10, 11, 12]  # row 1 - 0 = 1


def test_patches_run_along_time_in_the_lowest_band_first() -> None:
    image = torch.arange(4 * 6, dtype=torch.float32).reshape(1, 6, 4)  # (B, frames, mel)
    pixels = patch_pixels(image, (2, 3), (2, 3))
    assert pixels.shape == (1, 4, 6)
    # frames 0 to 2 of mel bins 0 and 1, bin by bin
    assert pixels[0, 0].tolist() == [0, 4, 8, 1, 5, 9]
    assert pixels[0, 1].tolist() == [12, 16, 20, 13, 17, 21]
    assert pixels[0, 2].tolist() == [2, 6, 10, 3, 7, 11]


def test_overlapping_strides_change_the_grid_only() -> None:
    model = encoder()
    finer = encoder(replace(TINY, stride_frequency=4, stride_time=2, position_grid=model.position_grid))
    finer.load_state_dict(model.state_dict())
    with torch.no_grad():
        features = finer(padded_batch([clip(20), clip(9, 1)]))
    assert features.tokens["patches"].values.shape[1] == 3 * 9
    assert features.tokens["columns"].valid.sum(1).tolist() == [9, 3]


def test_segments_keep_order_and_repeat_columns_of_short_clips() -> None:
    columns = Tokens(
        torch.arange(6.0)[None, :, None].repeat(2, 1, 1), valid=torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    )
    pooled = pool_segments(columns, 4)
    assert pooled[0].tolist() == [0.5, 1.5, 3.5, 4.5]  # columns 0-1, 1-2, 3-4, 4-5
    assert pooled[1].tolist() == [0, 0, 1, 1]


def test_band_segments_are_segments_of_each_mel_band() -> None:
    model = encoder(replace(TINY, pooling="band-segments"))  # two bands of eight bins
    with torch.no_grad():
        features = model(padded_batch([clip(32), clip(12, 1)]))
    for row, columns in enumerate((8, 3)):
        own = features.tokens["patches"].values[row, : 2 * columns].unflatten(0, (2, columns))  # band, time, width
        pieces = []
        for number in range(4):
            stretch = own[:, number * columns // 4 : -(-(number + 1) * columns // 4)]
            pieces += [stretch[band].mean(0) for band in range(2)]
        torch.testing.assert_close(features.pooled[row], torch.cat(pieces))


@pytest.mark.parametrize("pooling", ["mean", "segments", "band-segments", "cls", "max"])
def test_clip_vectors_follow_the_configured_pooling(pooling: str) -> None:
    model = encoder(replace(TINY, pooling=pooling))  # type: ignore[arg-type]
    features = model(padded_batch([clip(32), clip(12, 1)]))
    assert features.pooled.shape == (2, model.dim)
    assert model.dim == {"segments": 4 * 16, "band-segments": 4 * 2 * 16}.get(pooling, 16)
    assert torch.equal(features.pooled, model.pool(features, pooling))
    assert torch.equal(features.pooled, model.pool(features, "default"))
    with pytest.raises(ConfigError, match="no pooling 'median'"):
        model.pool(features, "median")


def test_layers_are_counted_from_the_embedding() -> None:
    model = encoder()
    features = model(padded_batch([clip(16)]), layers=(0, 4))
    assert set(features.layers) == {0, 4}
    layout = model.layout(padded_batch([clip(16)]))
    embedded = model.add_positions(model.embed_patches(padded_batch([clip(16)]), layout), layout)
    torch.testing.assert_close(features.layers[0].values, embedded[:, 1:])
    normed = model.norm(features.layers[4].values)  # the last state before the final norm
    assert (normed - features.tokens["patches"].values).abs().max() < SAME
    with pytest.raises(ConfigError, match="no layer 5"):
        model(padded_batch([clip(16)]), layers=(5,))


def test_drop_path_acts_in_training_only() -> None:
    model = encoder(replace(TINY, wiring="paired", drop_path=0.5))
    batch = padded_batch([clip(16)])
    with torch.no_grad():
        assert torch.equal(model(batch).pooled, model(batch).pooled)
        model.train()
        torch.manual_seed(0)
        seen = {tuple(model(batch).pooled[0].tolist()) for _ in range(6)}
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3, "wiring": "paired"}, "depth=3"),
        ({"width": 0}, "width=0"),
        ({"frames": 2}, "holds no patch"),
        ({"mel_bins": None}, "position table is not known"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ssamba(replace(TINY, **change))  # type: ignore[arg-type]


def test_wrong_batches_are_named() -> None:
    model = encoder()
    with pytest.raises(ShapeError, match=r"expects batch\.inputs with 'spectrogram'"):
        model(Batch(inputs=torch.zeros(1, 8, 16), size=1))
    with pytest.raises(ShapeError, match="8 mel bins"):
        model(padded_batch([clip(16, mel_bins=8)]))
    with pytest.raises(ShapeError, match="shorter than one patch"):
        model(padded_batch([clip(16), clip(3)]))
    with pytest.raises(ShapeError, match="40 frames in a spectrogram of 16"):
        model(Batch(inputs={"spectrogram": clip(16)[None], "frames": torch.tensor([40])}, size=1))
