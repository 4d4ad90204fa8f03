"""MONAI's ResNet in two and three dimensions; with the defaults the same network and key names as torchvision's.

Source: He et al. 2015 (arXiv 1512.03385), MONAI `ResNet`. Differs from MONAI's defaults: stem stride 2, downsampling
without bias. MONAI passes ``norm`` to the stem only, so other norms are put in afterwards.

Symbols: N views, D channels.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repcore_medical3d.configs.adam_v2 import ResNetConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels

MOST_GROUPS, LEAST_GROUP = 32, 4  # groups of a norm, channels of a group


class StagedResNet(nn.Module):
    """The backbone; see :class:`.anatomy.Backbone`."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        # here and not above: importing MONAI takes seconds and touches the process (environment, random state)
        from monai.networks.nets.resnet import ResNet

        net = ResNet(
            block=config.block,
            layers=list(config.layers),
            block_inplanes=list(config.widths),
            spatial_dims=config.spatial_dims,
            n_input_channels=input_channels(config),
            conv1_t_size=7,
            conv1_t_stride=config.stem_stride,
            shortcut_type="B",
            feed_forward=False,
            bias_downsample=False,
        )
        self.conv1, self.bn1, self.act, self.maxpool = net.conv1, net.bn1, net.act, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.dim = config.widths[-1] * (4 if config.block == "bottleneck" else 1)
        if config.norm != "batch":
            _replace_norms(self, config.norm)

    def stages_of(self, images: Tensor) -> list[Tensor]:
        """Maps after the stem and after each stage."""
        return self.stages_from(self.stem(images))

    @property
    def stem_width(self) -> int:
        """Channels after the stem."""
        return int(self.conv1.out_channels)

    def stem(self, images: Tensor) -> Tensor:
        """Map after the stem."""
        first: Tensor = self.maxpool(self.act(self.bn1(self.conv1(images))))
        return first

    def stages_from(self, stem: Tensor, until: int | None = None) -> list[Tensor]:
        """The stem's map, and maps after each stage (all, or the first ``until``)."""
        maps = [stem]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4)[:until]:
            maps.append(stage(maps[-1]))
        return maps

    def pooled(self, last: Tensor) -> Tensor:
        """Spatial mean."""
        return last.flatten(2).mean(-1)

    def dense(self, last: Tensor) -> Tensor:
        """The map as it is."""
        return last


class ResNetEncoder(AnatomyEncoder):
    """Encoder ``medical3d/resnet``."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config, StagedResNet(config))


def _replace_norms(part: nn.Module, kind: str) -> None:
    """Every BatchNorm inside becomes a norm that does not look at other items."""
    for name, child in part.named_children():
        if isinstance(child, _BatchNorm):
            width = child.num_features
            groups = width if kind == "instance" else math.gcd(width, min(MOST_GROUPS, max(1, width // LEAST_GROUP)))
            setattr(part, name, nn.GroupNorm(groups, width))
        else:
            _replace_norms(child, kind)
