"""The nnFormer-shaped backbone of Alice: encoder ``medical3d/nnformer``.

Source: `alibaba-damo-academy/alice` (commit d45cfcd), backbone; nnFormer (arXiv 2109.03201).
Differs by default: a sinusoid of the three axes as position table, the same in student and teacher and saved with the
weights (published: random, unsaved, different everywhere); the right relative index; no reconstruction heads on the two
coarser decoder stages, which no loss uses; callers ask for the decoder stages that they need.

Symbols: B cubes, S edge of a cube, E = ``width``; stage i has (S / 2^(i+1))^3 tokens of width E * 2^i. Maps are
channels last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.encoders.nnformer_blocks import Downsample, PatchStem, Upsample, WindowBlock
from repcore_medical3d.encoders.volume_backbone import (
    LEVELS,
    READOUTS,
    channels_of,
    pyramid_features,
    sinusoid_table,
    stages_together,
)

NAME = "medical3d/nnformer"
STAGES = 4


class NnFormer(nn.Module):
    """Encoder of four stages and decoder of three.

    Args:
        config: sizes.

    Call:
        batch: ``inputs["volume"]`` float (B, 1, S, S, S), S = ``crop_edge``, values about 0 to 1.
    Returns:
        Features: pooled (B, 8E), the mean over the tokens of the last stage; levels ``stage3`` (default) to ``stage0``,
        with each token's centre in voxels as position.

    Raises:
        ConfigError: sizes that do not fit together.
        ShapeError: another input size.
    """

    readouts = READOUTS

    def __init__(self, config: NnFormerConfig) -> None:
        super().__init__()
        edges = _stage_edges(config)
        self.config = config
        self.stage_edges = edges
        self.widths = tuple(config.width * 2**stage for stage in range(STAGES))
        self.dim = self.widths[-1]
        self.stem_stride = 2
        rates = torch.linspace(0, config.drop_path, sum(config.depths)).tolist()
        stage_rates = [rates[sum(config.depths[:i]) : sum(config.depths[: i + 1])] for i in range(STAGES)]
        self.stem = PatchStem(channels_of(config), config.width, config.norm_epsilon)
        self.register_buffer("positions", sinusoid_table(edges[0], config.width))
        self.positions: Tensor
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.stages = nn.ModuleList(self._blocks(i, stage_rates[i]) for i in range(STAGES))
        self.downsamples = nn.ModuleList(Downsample(width, config.norm_epsilon) for width in self.widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=config.norm_epsilon) for width in self.widths)
        # decoder stages from coarse to fine: stage 2, 1, 0
        self.upsamples = nn.ModuleList(Upsample(width, config.norm_epsilon) for width in self.widths[:0:-1])
        self.decoder_stages = nn.ModuleList(
            self._blocks(i, stage_rates[i], has_skip=True) for i in range(STAGES - 2, -1, -1)
        )
        self.reconstruction = nn.ConvTranspose3d(config.width, channels_of(config), 2, stride=2)
        self._initialise()

    def _blocks(self, stage: int, rates: Sequence[float], *, has_skip: bool = False) -> nn.ModuleList:
        """Blocks of one stage; every second window is shifted unless it covers the map."""
        config, edge = self.config, self.stage_edges[stage]
        window = min(config.windows[stage], edge)
        shift = window // 2 if window < edge else 0
        return nn.ModuleList(
            WindowBlock(
                self.widths[stage], window, config.heads[stage], shift=shift if number % 2 else 0,
                mlp_ratio=config.mlp_ratio, drop_path=rate, norm_epsilon=config.norm_epsilon,
                use_bias=config.use_qkv_bias, legacy_index=config.legacy_relative_index,
                is_skip=has_skip and number == 0,
            )
            for number, rate in enumerate(rates)
        )  # fmt: skip

    def _initialise(self) -> None:
        """Linear weights, bias tables: normal(0, 0.02) cut off at two standard deviations; convolutions as in torch."""
        for name, parameter in self.named_parameters():
            if name.endswith("position_bias") or (parameter.ndim == 2 and name.endswith("weight")):
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
            elif name.endswith("bias") and parameter.ndim == 1 and "stem" not in name:
                nn.init.zeros_(parameter)

    # ------------------------------------------------------------------------------------ backbone interface

    @property
    def decoder_width(self) -> int:
        """Width of the first decoder stage."""
        return self.widths[-2]

    def pyramid(self, volume: Tensor, hidden: Tensor | None = None) -> list[Tensor]:
        """Normed maps of all stages from fine to coarse, (B, d, h, w, C).

        Args:
            volume: (B, 1, S, S, S).
            hidden: bool (B, S/2, S/2, S/2): tokens that become the learned mask token; None = none.

        Raises:
            ShapeError: another size than the model is made for.
        """
        self._check(volume)
        tokens = self.stem(volume)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], self.mask_token.flatten().to(tokens.dtype), tokens)
        edge = self.stage_edges[0]
        tokens = tokens + self.positions.view(1, edge, edge, edge, -1).to(tokens.dtype)
        maps = []
        for number, (blocks, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                tokens = block(tokens)
            maps.append(norm(tokens))
            if number < STAGES - 1:
                tokens = self.downsamples[number](tokens)
        return maps

    def decode(self, pyramid: Sequence[Tensor], stages: int = STAGES - 1) -> list[Tensor]:
        """Decoder maps from coarse to fine, only as many as asked for, (B, d, h, w, C)."""
        tokens, found = pyramid[-1], []
        for number in range(stages):
            tokens = self.decode_stage(tokens, pyramid, number)
            found.append(tokens)
        return found

    def decode_stage(self, tokens: Tensor, pyramid: Sequence[Tensor], number: int) -> Tensor:
        """One decoder stage, 0 the coarsest, from what the stage before gave."""
        raised, skip = self.upsamples[number](tokens), pyramid[STAGES - 2 - number]
        blocks = self.decoder_stages[number]
        assert isinstance(blocks, nn.ModuleList)
        for place, block in enumerate(blocks):
            raised = block(raised, skip) if place == 0 else block(raised)
        return raised

    def first_decoder_map(self, pyramid: Sequence[Tensor]) -> Tensor:
        """The coarsest decoder stage, (B, d, h, w, 4E): all that the teacher needs of the decoder."""
        return self.decode(pyramid, 1)[0]

    def finest_decoder_map(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        """The last decoder stage, channels first (B, E, S/2, S/2, S/2); ``volume`` is not needed."""
        del volume
        tokens = first
        for number in range(1, STAGES - 1):
            tokens = self.decode_stage(tokens, pyramid, number)
        return tokens.movedim(-1, 1)

    def reconstruct(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        """The cube redrawn, (B, 1, S, S, S), from the pyramid and the first decoder stage."""
        out: Tensor = self.reconstruction(self.finest_decoder_map(pyramid, first, volume))
        return out

    # --------------------------------------------------------------------------------------- encoder contract

    def read(self, name: str, batch: Batch) -> Tokens:
        """All stages side by side, see :func:`stages_together`."""
        return stages_together(self, name, batch)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        if layers:
            raise ConfigError(f"layers={list(layers)}: stages are token levels here", levels=", ".join(LEVELS))
        return pyramid_features(self.pyramid(batch.inputs["volume"]), self.stem_stride)

    def _check(self, volume: Tensor) -> None:
        edge = int(self.config.crop_edge or 0)
        check_shape(volume, f"B {channels_of(self.config)} _ _ _", name="volume", owner=NAME)
        if tuple(volume.shape[2:]) != (edge,) * 3:
            raise ShapeError(
                f"volume has shape {tuple(volume.shape)}; this model takes cubes of {edge} voxels",
                meaning="windows and position table are made for one size",
                hint=f"preprocessor.crop_edge={edge}, or train with encoder.crop_edge={volume.shape[2]}",
            )


def _stage_edges(config: NnFormerConfig) -> tuple[int, ...]:
    """Edges of the four maps.

    Raises:
        ConfigError: settings that do not fit together.
    """
    edge = config.crop_edge
    if edge is None:
        raise ConfigError("crop_edge is not known", field="encoder.crop_edge", hint="64")
    for name in ("depths", "heads", "windows"):
        if len(getattr(config, name)) != STAGES:
            raise ConfigError(f"{name}={getattr(config, name)} is not one number a stage", field=f"encoder.{name}")
    if edge % 16:
        raise ConfigError(f"crop_edge={edge} is no multiple of 16", field="encoder.crop_edge", hint="64")
    edges = tuple(edge // 2 ** (stage + 1) for stage in range(STAGES))
    for stage, (size, window) in enumerate(itertools.zip_longest(edges, config.windows)):
        if size > window and size % window:
            raise ConfigError(
                f"windows[{stage}]={window} does not divide the {size} tokens along a map of stage {stage}",
                field="encoder.windows",
            )
        width = config.width * 2**stage
        if width % config.heads[stage]:
            raise ConfigError(
                f"heads[{stage}]={config.heads[stage]} does not divide the width {width}", field="encoder.heads"
            )
    if config.width % 2:
        raise ConfigError(f"width={config.width} is odd", field="encoder.width")
    return edges
