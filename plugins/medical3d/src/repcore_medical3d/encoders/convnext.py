"""ConvNeXt in two and three dimensions, with the key layout of the published Adam-v2 weights.

Source: Liu et al. 2022 (arXiv 2201.03545); layout of keys as in the public Adam-v2 checkpoints. Differs: any number of
axes, kernel and stem; drop path is honoured (the published flag is ignored).

Symbols: N views, D channels, s axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.nn.drop_path import DropPath
from repcore.nn.feed_forward import gelu_between
from repcore_medical3d.configs.adam_v2 import ConvNextConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map (N, D, *S)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, maps: Tensor) -> Tensor:
        last = F.layer_norm(maps.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.epsilon)
        return last.movedim(-1, 1)


class ConvNextBlock(nn.Module):
    """Depthwise convolution, layer norm, two linear layers with GELU between, scaled and added."""

    def __init__(self, width: int, config: ConvNextConfig, rate: float) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[config.spatial_dims]
        self.dwconv = convolution(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.pwconv1 = nn.Linear(width, config.mlp_ratio * width)
        self.pwconv2 = nn.Linear(config.mlp_ratio * width, width)
        self.gamma = nn.Parameter(torch.full((width,), config.layer_scale))
        self.drop_path = DropPath(rate)

    def forward(self, maps: Tensor) -> Tensor:
        branch = self.norm(self.dwconv(maps).movedim(1, -1))  # (N, *S, D)
        branch = self.gamma * gelu_between(branch, self.pwconv1, self.pwconv2)
        return maps + self.drop_path(branch.movedim(-1, 1))


class ConvNext(nn.Module):
    """The backbone: a stem, then stages with a halving between them; see :class:`.anatomy.Backbone`."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.dim = config.widths[-1]
        convolution = CONVOLUTIONS[config.spatial_dims]
        stem, epsilon = config.stem_stride, config.norm_epsilon
        layers = [
            nn.Sequential(
                convolution(input_channels(config), config.widths[0], stem, stride=stem),
                ChannelNorm(config.widths[0], epsilon),
            )
        ]
        for before, after in zip(config.widths[:-1], config.widths[1:], strict=True):
            layers.append(nn.Sequential(ChannelNorm(before, epsilon), convolution(before, after, 2, stride=2)))
        self.downsample_layers = nn.ModuleList(layers)
        blocks = sum(config.depths)
        rates = [config.drop_path * number / max(1, blocks - 1) for number in range(blocks)]
        stages = []
        for width, depth in zip(config.widths, config.depths, strict=True):
            stages.append(nn.Sequential(*(ConvNextBlock(width, config, rates.pop(0)) for _ in range(depth))))
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(self.dim, eps=epsilon)
        self.apply(_initialise)

    def stages_of(self, images: Tensor) -> list[Tensor]:
        """Maps after the stem and after each stage."""
        return self.stages_from(self.stem(images))

    @property
    def stem_width(self) -> int:
        """Channels after the stem."""
        return self.config.widths[0]

    def stem(self, images: Tensor) -> Tensor:
        """Map after the stem."""
        first: Tensor = self.downsample_layers[0](images)
        return first

    def stages_from(self, stem: Tensor, until: int | None = None) -> list[Tensor]:
        """The stem's map, and maps after each stage (all, or the first ``until``)."""
        maps = [stem]
        chosen = list(zip(self.downsample_layers, self.stages, strict=True))[:until]
        for number, (reduce, stage) in enumerate(chosen):
            maps.append(stage(maps[-1] if number == 0 else reduce(maps[-1])))
        return maps

    def pooled(self, last: Tensor) -> Tensor:
        """Layer norm of the spatial mean."""
        normed: Tensor = self.norm(last.flatten(2).mean(-1))
        return normed

    def dense(self, last: Tensor) -> Tensor:
        """Layer norm of every position."""
        normed: Tensor = self.norm(last.movedim(1, -1))
        return normed.movedim(-1, 1)


class ConvNextEncoder(AnatomyEncoder):
    """Encoder ``medical3d/convnext``."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__(config, ConvNext(config))


def _initialise(part: nn.Module) -> None:
    """Truncated normal(0, 0.02) for convolutions and linear layers, zero biases."""
    if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.trunc_normal_(part.weight, std=0.02)
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def _check(config: ConvNextConfig) -> None:
    if len(config.depths) != len(config.widths) or min(config.depths, default=0) < 1:
        raise ConfigError(
            f"depths={config.depths} and widths={config.widths} are not one number a stage", field="encoder.depths"
        )
    if config.kernel % 2 == 0:
        raise ConfigError(f"kernel={config.kernel} is even, so that a map would shift", hint="encoder.kernel=7")
