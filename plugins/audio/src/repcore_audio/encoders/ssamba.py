"""SSAMBA: log-mel patches through a stack of bidirectional Mamba blocks.

Source: Shams et al. 2024 (arXiv 2405.11831); public repository `SiavashShams/ssamba`, `src/models/amba_models.py`.

Differs: clips of different lengths share a batch without touching each other; the paired wiring of the published
models, whose residual doubles at every pair, is computed on the halved residual (same values, no loss of deep blocks in
half precision); new models use the sequential wiring, one final norm and alike directions (flags of the config).

Symbols: B clips, F x T patch grid, P patches, L = 1 + P tokens (class token first), E width, k number of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.nn.drop_path import DropPath
from repcore.nn.selective_scan.selection import selective_scan_op
from repcore_audio.configs.ssamba import SsambaConfig
from repcore_audio.encoders.mamba_block import MambaBlock, make_norm, scaled_norm
from repcore_audio.encoders.patches import (
    PatchLayout,
    column_of_frames,
    grid_size,
    patch_pixels,
    plan_patches,
    regrid_positions,
)
from repcore_audio.encoders.pooling import mean_tokens, pool_segments
from repcore_audio.encoders.spectrograms import spectrogram_inputs

NAME = "audio/ssamba"
POOLINGS = ("default", "mean", "cls", "max", "segments", "band-segments")
SEGMENTS = 4  # of the poolings with segments: order in time survives, which spoken words need


class Ssamba(nn.Module):
    """Encoder ``audio/ssamba``.

    Args:
        config: sizes and flags; see :class:`SsambaConfig`.

    Call:
        batch.inputs: ``spectrogram`` float (B, frames, mel bins), normalised; ``frames`` int64 (B,), real frames of
            each clip, which may be left out when all are real.
        layers: numbers of hidden states to return as patch tokens; 0 is the embedding output, ``depth`` the last block.
    Returns:
        pooled (B, E) as ``config.pooling`` says (segments: 4E, band-segments: 4FE); token levels ``patches`` (B, P, E)
        and ``columns`` (B, T, E), the mean over mel bands, with the column of every frame as ``source``;
        ``extras["cls"]`` (B, E).

    Raises:
        ConfigError: sizes that do not fit together, or a layer that does not exist.
        ShapeError: wrong shapes, or a clip shorter than one patch.
    """

    poolings = POOLINGS

    def __init__(self, config: SsambaConfig) -> None:
        super().__init__()
        _check_config(config)
        self.config = config
        self.width = config.width
        self.patch = (config.patch_frequency, config.patch_time)
        self.stride = (config.stride_frequency or config.patch_frequency, config.stride_time or config.patch_time)
        self.position_grid = _position_grid(config, self.patch, self.stride)
        self.rows = (
            self.position_grid[0]
            if config.mel_bins is None
            else grid_size(config.mel_bins, self.patch[0], self.stride[0])
        )
        self.dim = config.width * {"segments": SEGMENTS, "band-segments": SEGMENTS * self.rows}.get(config.pooling, 1)
        self.patch_embed = nn.Conv2d(1, config.width, kernel_size=self.patch, stride=self.stride)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        places = 1 + self.position_grid[0] * self.position_grid[1]
        self.positions = nn.Parameter(torch.empty(1, places, config.width))
        scan = selective_scan_op()
        self.blocks = nn.ModuleList(MambaBlock(config, scan) for _ in range(config.depth))
        rates = [config.drop_path * max(0, number - 1) / max(1, config.depth - 1) for number in range(config.depth)]
        self.drop_paths = nn.ModuleList(DropPath(rate) for rate in rates)
        self.final_drop_path = DropPath(config.drop_path)
        self.norm = make_norm(config)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    # -------------------------------------------------------------------------------------- tokens

    def layout(self, batch: Batch) -> PatchLayout:
        """Where the patches of this batch go; reads the clip lengths back to the host when there are any."""
        spectrogram, frames = self._inputs(batch)
        rows = grid_size(spectrogram.shape[2], self.patch[0], self.stride[0])
        lengths = [spectrogram.shape[1]] * len(spectrogram) if frames is None else frames.tolist()
        columns = tuple(grid_size(length, self.patch[1], self.stride[1]) for length in lengths)
        if max(columns, default=0) < 1 or max(lengths, default=0) > spectrogram.shape[1]:
            raise ShapeError(
                f"clips of {max(lengths, default=0)} frames in a spectrogram of {spectrogram.shape[1]}",
                expected=f"{self.patch[1]} frames or more, and no more than the spectrogram has",
            )
        return plan_patches(rows, columns, spectrogram.device, tuple(lengths))

    def embed_patches(self, batch: Batch, layout: PatchLayout) -> Tensor:
        """Patch vectors without positions, (B, P, E)."""
        spectrogram, _ = self._inputs(batch)
        image = spectrogram.transpose(1, 2)[:, None]  # (B, 1, mel, frames)
        grid = self.patch_embed(image)[..., : max(layout.columns, default=1)]  # (B, E, F, T)
        return layout.arrange(grid.flatten(2).transpose(1, 2))

    def pixels(self, batch: Batch, layout: PatchLayout) -> Tensor:
        """Normalised numbers of every patch, (B, P, mel bins x frames of a patch): what objectives predict."""
        spectrogram, _ = self._inputs(batch)
        used = (max(layout.columns, default=1) - 1) * self.stride[1] + self.patch[1]
        return layout.arrange(patch_pixels(spectrogram[:, :used], self.patch, self.stride))

    def position_table(self, rows: int, columns: int) -> Tensor:
        """Positions of a clip with this grid, class token first: (1 + rows * columns, E)."""
        return regrid_positions(self.positions[0], self.position_grid, (rows, columns))

    def add_positions(self, patches: Tensor, layout: PatchLayout) -> Tensor:
        """Class token in front, positions added: (B, L, E)."""
        cls = self.cls_token.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([cls, patches], dim=1)
        if layout.valid is None:
            return tokens + self.position_table(layout.rows, max(layout.columns, default=1))
        tables = {one: self.position_table(layout.rows, one) for one in set(layout.columns)}
        length = tokens.shape[1]
        padded = {one: nn.functional.pad(table, (0, 0, 0, length - len(table))) for one, table in tables.items()}
        return tokens + torch.stack([padded[one] for one in layout.columns])

    # --------------------------------------------------------------------------------------- stack

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.blocks)

    def token_width(self, level: str = "patches") -> int:
        """Width of the tokens, the same at every layer and level."""
        del level
        return self.config.width

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        """The output projection of each block, which stands where a transformer has its feed-forward part."""
        names = [f"blocks.{number}.mixer.out_proj" for number in range(len(self.blocks))]
        return {name: self.get_submodule(name) for name in names}

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Patch vectors (B, P, E) before positions."""
        layout = self.layout(batch)
        return Tokens(self.embed_patches(batch, layout), valid=layout.valid, position=layout.position)

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of patch vectors, some of which may have been replaced."""
        return self.encode(tokens.values, self.layout(batch), layers, until)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """``until``: the last block to run, whose output is then normalised as the last one's is; None = all."""
        layout = self.layout(batch)
        return self.encode(self.embed_patches(batch, layout), layout, layers, until)

    def encode(
        self, patches: Tensor, layout: PatchLayout, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features from patch vectors (B, P, E); an objective may have replaced some of them by a mask token."""
        last_block = len(self.blocks) if until is None else until
        wrong = [number for number in (*layers, last_block) if not 0 <= number <= min(last_block, len(self.blocks))]
        if wrong:
            raise ConfigError(f"{NAME} has no layer {wrong[0]}", expected=f"0 to {len(self.blocks)}")
        tokens = self.add_positions(patches, layout)
        states: dict[int, Tensor] = {0: tokens} if 0 in layers else {}
        hidden = self.run_blocks(tokens, layout, states, layers, last_block)

        def patch_tokens(state: Tensor) -> Tokens:
            return Tokens(state[:, 1:], valid=layout.valid, position=layout.position)

        last = patch_tokens(hidden)
        columns = _columns(last, layout.rows, layout.columns)
        columns.source = column_of_frames(layout, self.patch[1], self.stride[1], last.values.device)
        features = Features(
            pooled=hidden[:, 0],  # replaced below by what the config asks for, which needs the other fields
            tokens={"patches": last, "columns": columns},
            layers={number: patch_tokens(state) for number, state in states.items()},
            extras={"cls": hidden[:, 0]},
        )
        features.pooled = self._pooled(features, self.config.pooling)
        return features

    def run_blocks(
        self,
        tokens: Tensor,
        layout: PatchLayout,
        states: dict[int, Tensor] | None = None,
        layers: Sequence[int] = (),
        until: int | None = None,
    ) -> Tensor:
        """Blocks (all, or the first ``until``) and the final norm: (B, L, E) to (B, L, E).

        Fills ``states`` with the ``layers`` asked for.
        """
        last_block = len(self.blocks) if until is None else until
        valid = None if layout.valid is None else nn.functional.pad(layout.valid, (1, 0), value=True)
        wide = torch.promote_types(tokens.dtype, torch.float32)  # the residual stream is never half precision
        paired = self.config.wiring == "paired"
        hidden, residual, scale = tokens.to(wide), None, 1.0
        collected = {} if states is None else states
        for first in range(0, last_block, 2 if paired else 1):
            members = range(first, min(last_block, first + (2 if paired else 1)))
            half = len(members) == 2 and members[0] + 1 in layers  # between the two blocks that read one residual
            entering = self._joined(hidden, residual, scale) if half and residual is not None else hidden
            outputs, residual = self._step(hidden, residual, scale, members, valid)
            if half:
                collected[members[0] + 1] = entering + outputs[0]
            hidden = sum(outputs[1:], start=outputs[0])
            scale *= len(outputs)
            if members[-1] + 1 in layers:
                collected[members[-1] + 1] = self._joined(hidden, residual, scale)
        if residual is None:  # no block at all
            residual = torch.zeros_like(hidden)
        return self.final_norms(self.final_drop_path(hidden), residual, scale)

    def _step(
        self, hidden: Tensor, residual: Tensor | None, scale: float, members: Sequence[int], valid: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """One block, or a pair that reads the same residual; returns outputs and the residual over the new scale.

        With R the published residual of pair k, ``residual`` is R / 2^k: a pair turns R into 2 (R + h).
        """
        outputs, inputs = [], []
        for order, number in enumerate(members):
            added = self.drop_paths[number](hidden) if residual is not None else hidden
            entering = added if residual is None else torch.add(residual, added, alpha=1.0 / scale)
            inputs.append(entering)
            out = self.blocks[number](entering, scale, order == 1, valid)
            outputs.append(out.to(entering.dtype))
        if len(inputs) == 1 or self.drop_paths[members[-1]].rate == 0.0 or not self.training:
            return outputs, inputs[0]
        return outputs, (inputs[0] + inputs[1]) / 2

    def _joined(self, hidden: Tensor, residual: Tensor, scale: float) -> Tensor:
        return torch.add(residual, hidden, alpha=1.0 / scale) * scale

    def final_norms(self, hidden: Tensor, residual: Tensor, scale: float) -> Tensor:
        """norm(R + h), a second time if the config says so."""
        once = scaled_norm(self.norm, torch.add(residual, hidden, alpha=1.0 / scale), scale)
        return self.norm(once) if self.config.double_final_norm else once

    # -------------------------------------------------------------------------------------- pooling

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a clip.

        Args:
            features: as ``forward`` returned them.
            name: ``default`` as configured, ``mean`` over patches (``ft_avgtok``), ``cls`` (``ft_cls``), ``max`` over
                patches, ``segments``: the mean of each of four stretches of time side by side (B, 4E), or
                ``band-segments``: the same for each of the F mel bands (B, 4FE), as the published SUPERB wrapper keeps
                bands apart.

        Raises:
            ConfigError: unknown name.
        """
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        return features.pooled if name == "default" else self._pooled(features, name)

    def _pooled(self, features: Features, name: str) -> Tensor:
        tokens = features.tokens["patches"]
        if name == "mean":
            return mean_tokens(tokens)
        if name == "cls":
            cls: Tensor = features.extras["cls"]
            return cls
        if name == "max":
            values = (
                tokens.values
                if tokens.valid is None
                else tokens.values.masked_fill(~tokens.valid[..., None], -torch.inf)
            )
            return values.amax(1)
        columns = features.tokens["columns"]
        if name == "band-segments":
            bands = band_columns(tokens, self.rows, columns.values.shape[1])  # (B, T, F, E)
            columns = Tokens(bands.flatten(2), valid=columns.valid)
        return pool_segments(columns, SEGMENTS)

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        return spectrogram_inputs(batch, NAME, self.config.mel_bins)


def _columns(tokens: Tokens, rows: int, columns: Sequence[int]) -> Tokens:
    """Mean over mel bands of each time column: (B, T, E)."""
    longest = max(columns, default=1)
    means = band_columns(tokens, rows, longest).mean(2)
    if tokens.valid is None:
        return Tokens(means)
    own = torch.tensor(columns, device=means.device)[:, None]
    return Tokens(means, valid=torch.arange(longest, device=means.device) < own)


def band_columns(tokens: Tokens, rows: int, columns: int) -> Tensor:
    """Patch tokens (B, P, E) as a grid (B, T, F, E) with time first; 0 where a clip has no token."""
    if tokens.valid is None:
        return tokens.values.unflatten(1, (rows, columns)).transpose(1, 2)
    assert tokens.position is not None
    place = tokens.position[..., 1] * rows + tokens.position[..., 0]  # (B, P)
    values = tokens.values.masked_fill(~tokens.valid[..., None], 0.0)
    grid = values.new_zeros(len(values), columns * rows, values.shape[-1])
    return grid.scatter_add(1, place[..., None].expand_as(values), values).unflatten(1, (columns, rows))


def _position_grid(config: SsambaConfig, patch: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    if config.position_grid is not None:
        return (config.position_grid[0], config.position_grid[1])
    if config.mel_bins is None or config.frames is None:
        raise ConfigError(
            "the size of the position table is not known",
            field="encoder.mel_bins, encoder.frames",
            hint="fit a preprocessor, or set both (128 and 1024 in the published models)",
        )
    grid = (grid_size(config.mel_bins, patch[0], stride[0]), grid_size(config.frames, patch[1], stride[1]))
    if min(grid) < 1:
        raise ConfigError(
            f"a spectrogram of {config.mel_bins} x {config.frames} holds no patch of {patch[0]} x {patch[1]}",
            field="encoder.frames",
        )
    return grid


def _check_config(config: SsambaConfig) -> None:
    if config.depth < 1 or (config.wiring == "paired" and config.depth % 2):
        raise ConfigError(
            f"depth={config.depth} does not suit wiring={config.wiring!r}",
            expected="an even number of blocks for pairs",
        )
    for name in ("width", "states", "expansion", "convolution_width", "patch_frequency", "patch_time"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)} is not positive", field=f"encoder.{name}")
