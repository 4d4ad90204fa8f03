"""Encoder ``pointcloud/sparse-unet``: residual U-Net over active voxels, features for voxels, regions and scenes.

Source: Choy et al. 2019 (arXiv 1904.08755), Res16UNet family as in PointContrast / CSC `model/res16unet.py`; Pointcept
`SpUNet-v1m1`. Names of parameters are Pointcept's. Differs: any number of stages; voxels that share a coordinate are an
error instead of silently wrong; no spatial shape is needed; runs on CPUs with gradients.

Symbols: V voxels, B scenes, C channels of the last stage, R regions, N points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repcore.embedding.pooling import pool_tokens
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, Features, Tokens
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.encoders import scene_blocks
from repcore_pointcloud.encoders.stage_readout import READOUTS, joined_stages
from repcore_pointcloud.layers.sparse_convolution import (
    InverseConvolution,
    NormedConvolution,
    ResidualBlock,
    ResidualBlocks,
    SparseBatchNorm,
    StridedConvolution,
    SubmanifoldConvolution,
)
from repcore_pointcloud.layers.sparse_tensor import SparseTensor
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites


class SparseUNet(nn.Module):
    """Sparse residual U-Net.

    Args:
        config: widths and depths; ``RES16UNET34C``, ``SPUNET`` and ``NARROW`` in ``configs/sparse_unet.py``.

    Call:
        batch: inputs ``coordinates`` int64 (V, 4) with rows b, x, y, z, unique and in order of b, and ``features``
            float (V, F); optional ``source`` int64 (N,), the voxel of every point; ``region`` int64 (V,), region of
            every voxel over the whole batch, -1 for none, with ``region_owner`` int64 (R,), the scene of each region.
        layers: 0 = after the stem, then one number a stage, down and up.
    Returns:
        tokens ``voxel`` (V, C) and, where regions are given, ``region`` (R, C), means of their voxels; ``source`` leads
        from points to either. ``pooled`` is the mean over the voxels of a scene.

    Without gradients and out of training, more voxels than ``scene_blocks.MOST_VOXELS`` are computed in blocks.

    Raises:
        ConfigError: widths and blocks of different number, or no ``input_width``.
        DataError: no voxel at all.
    """

    readouts = READOUTS

    def __init__(self, config: SparseUNetConfig) -> None:
        super().__init__()
        if config.input_width is None or config.input_width < 1:
            raise ConfigError(f"input_width={config.input_width} is not a number of channels", field="encoder")
        stages = len(config.stage_widths)
        if stages % 2 or not stages or len(config.stage_blocks) != stages:
            raise ConfigError(
                f"{stages} stage_widths and {len(config.stage_blocks)} stage_blocks",
                expected="the same even number of both: one half down, one half up",
                field="encoder.stage_widths",
            )
        self.config, self.depth = config, stages // 2
        self.dim = config.output_width or config.stage_widths[-1]
        self.level_widths = {"voxel": self.dim, "region": self.dim}
        self.conv_input = NormedConvolution(
            SubmanifoldConvolution(
                config.input_width, config.stem_width, config.stem_kernel, initialisation=config.initialisation
            ),
            self._norm(config.stem_width),
        )
        self._build_stages()
        last = config.stage_widths[-1]
        self.final: SubmanifoldConvolution | None = None
        if config.output_width is not None:
            self.final = SubmanifoldConvolution(last, config.output_width, 1, use_bias=True)

    def _build_stages(self) -> None:
        config, widths = self.config, self.config.stage_widths
        self.down, self.enc, self.up, self.dec = (nn.ModuleList() for _ in range(4))
        skips, width = [config.stem_width, *widths[: self.depth - 1]], config.stem_width
        for stage in range(self.depth):
            lower = widths[stage] if config.width_changes_at == "down-convolution" else width
            self.down.append(NormedConvolution(StridedConvolution(width, lower, 2), self._norm(lower)))
            self.enc.append(self._blocks(lower, widths[stage], config.stage_blocks[stage]))
            width = widths[stage]
        arriving = [width, *widths[self.depth : -1]]  # from below, deepest first
        for stage in range(self.depth):  # stage 0 is the finest
            step = 2 * self.depth - 1 - stage
            upper, below = widths[step], arriving[self.depth - 1 - stage]
            self.up.append(NormedConvolution(InverseConvolution(below, upper, 2), self._norm(upper)))
            self.dec.append(self._blocks(upper + skips[stage], upper, config.stage_blocks[step]))

    def _norm(self, width: int) -> SparseBatchNorm:
        return SparseBatchNorm(width, eps=self.config.batch_norm_epsilon, momentum=self.config.batch_norm_momentum)

    def _blocks(self, width_in: int, width_out: int, count: int) -> ResidualBlocks:
        config = self.config
        return ResidualBlocks(
            [
                ResidualBlock(
                    width_in if number == 0 else width_out,
                    width_out,
                    epsilon=config.batch_norm_epsilon,
                    momentum=config.batch_norm_momentum,
                    initialisation=config.initialisation,
                )
                for number in range(count)
            ]
        )

    def stages(self, voxels: SparseTensor) -> dict[str, SparseTensor]:
        """Every intermediate result by the name of its module: conv_input, down.s, enc.s, up.s, dec.s, final."""
        found = {"conv_input": self.conv_input(voxels)}
        here, skips = found["conv_input"], []
        for stage in range(self.depth):
            skips.append(here)
            here = found[f"down.{stage}"] = self.down[stage](here)
            here = found[f"enc.{stage}"] = self.enc[stage](here)
        for stage in reversed(range(self.depth)):
            skip = skips[stage]
            here = found[f"up.{stage}"] = self.up[stage](here, skip.sites)
            joined = here.replaced(torch.cat([here.features, skip.features], dim=1))
            here = found[f"dec.{stage}"] = self.dec[stage](joined)
        if self.final is not None:
            found["final"] = self.final(here)
        return found

    def read(self, name: str, batch: Batch) -> Tokens:
        """The stages of the ``decoder``, or ``all``, side by side at the finest voxels."""
        return joined_stages(self, batch, name)

    @property
    def reach(self) -> int:
        """How far a voxel's features look, in finest voxels: every convolution on every way down and up, and what
        cutting coarse voxels at multiples of their side adds."""
        blocks = self.config.stage_blocks
        down = sum(2 * blocks[stage] * 2 ** (stage + 1) for stage in range(self.depth))
        up = sum(2 * blocks[2 * self.depth - 1 - stage] * 2**stage for stage in range(self.depth))
        return self.config.stem_kernel // 2 + down + up + 2 * 2**self.depth

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        inputs = batch.inputs
        coordinates = inputs["coordinates"].long()
        features = inputs["features"].to(next(self.parameters()).dtype)
        if not len(coordinates):
            raise DataError("the batch holds no voxel")
        names = dict(enumerate(self._layer_steps))
        last = "final" if self.final is not None else "dec.0"
        steps = {name: self._layer_steps.get(name, 1) for name in (last, *(names[number] for number in layers))}

        def compute(coordinates: Tensor, features: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
            found = self.stages(SparseTensor(features, Sites(coordinates)))
            return {name: (found[name].sites.coordinates, found[name].features) for name in steps}

        if len(coordinates) > scene_blocks.MOST_VOXELS and not (self.training or torch.is_grad_enabled()):
            found = scene_blocks.in_blocks(
                compute, coordinates, features, steps=steps, border=self.reach, coarsest=2**self.depth
            )
        else:
            found = compute(coordinates, features)
        voxel = _tokens(*found[last], inputs.get("source"))
        tokens = {"voxel": voxel}
        if "region" in inputs:
            tokens["region"] = region_tokens(voxel, inputs["region"], inputs["region_owner"])
        return Features(
            pooled=pool_tokens(voxel, "mean", batch.size),
            tokens=tokens,
            layers={number: _tokens(*found[names[number]], None) for number in layers},
        )

    @property
    def _layer_steps(self) -> dict[str, int]:
        """Stages that can be asked for, in the order of their numbers, and the side of their voxels."""
        down = {f"enc.{stage}": 2 ** (stage + 1) for stage in range(self.depth)}
        up = {f"dec.{stage}": 2**stage for stage in reversed(range(self.depth))}
        return {"conv_input": 1, **down, **up}


def region_tokens(voxel: Tokens, region: Tensor, owner: Tensor) -> Tokens:
    """Mean of the voxels of every region (R, C); zeros for a region without voxels."""
    inside = region >= 0
    values = voxel.values
    if bool(inside.all()):  # no copy of a whole tile
        sums = values.new_zeros(len(owner), values.shape[1]).index_add(0, region, values)
    else:
        sums = values.new_zeros(len(owner), values.shape[1]).index_add(0, region[inside], values[inside])
    count = torch.bincount(region[inside], minlength=len(owner)).clamp(min=1)
    source = None if voxel.source is None else region[voxel.source]
    return Tokens(sums / count[:, None].to(sums.dtype), owner=owner, source=source)


def _tokens(coordinates: Tensor, features: Tensor, source: Tensor | None) -> Tokens:
    return Tokens(features, owner=coordinates[:, 0], position=coordinates[:, 1:], source=source)
