"""Tiny settings and batches of the parts of Adam-v2, for conformance checks and documentation."""

from __future__ import annotations

import torch

from repcore.interfaces import Batch, Item
from repcore_medical3d.configs.adam_v2 import (
    AdamV1Config,
    AdamV2Config,
    ConvNextConfig,
    ResNetConfig,
    ViewsConfig,
)
from repcore_medical3d.configs.edges_and_places import EdgesAndPlacesConfig
from repcore_medical3d.configs.images import RadiographsConfig
from repcore_medical3d.encoders.convnext import ConvNextEncoder

VIEWS = ViewsConfig(global_size=16, local_size=16, local_views=2, smallest_part=4, blur=(0.1, 0.5))


def convnext() -> tuple[ConvNextConfig, Batch]:
    """Two stages over three grey images."""
    return ConvNextConfig(depths=(1, 1), widths=(8, 12), input_size=16, kernel=3, layer_scale=0.1), images()


def resnet() -> tuple[ResNetConfig, Batch]:
    """One block a stage, group norm."""
    config = ResNetConfig(layers=(1, 1, 1, 1), widths=(4, 4, 8, 8), block="basic", norm="group", input_size=32)
    return config, images()


def adam_v2() -> tuple[AdamV2Config, Batch]:
    """Few prototypes, small views."""
    config = AdamV2Config(
        views=VIEWS, prototypes=32, hidden_width=16, bottleneck_width=8, export="student", collapse_patience=0
    )
    return config, images()


def adam_v1() -> tuple[AdamV1Config, Batch]:
    """A short queue."""
    return AdamV1Config(size=16, width=8, queue=24, blur=(0.1, 0.5)), images()


def edges_and_places() -> tuple[EdgesAndPlacesConfig, Batch]:
    """Windows of two cells of two parts along an axis."""
    return EdgesAndPlacesConfig(window_edge=16), images()


def radiographs() -> RadiographsConfig:
    """A dozen small images."""
    return RadiographsConfig(images=12, edge=48)


def images() -> Batch:
    """Noise in 0 to 1."""
    generator = torch.Generator().manual_seed(0)
    return Batch(inputs={"image": torch.rand(3, 1, 32, 32, generator=generator)}, size=3)


def properties() -> tuple[ConvNextEncoder, list[list[Item]]]:
    """A small encoder and four noisy images."""
    config, batch = convnext()
    generator = torch.Generator().manual_seed(1)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    encoder = ConvNextEncoder(config).eval()
    torch.set_rng_state(state)
    return encoder, [[Item(torch.rand(batch.inputs["image"].shape[1:], generator=generator))] for _ in range(4)]
