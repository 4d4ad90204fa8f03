"""Tiny settings of Alice's parts, for conformance checks and documentation."""

from __future__ import annotations

from repcore.interfaces import Batch
from repcore_medical3d.configs.alice import AliceConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig, SwinUnetrConfig, VolumeVitConfig
from repcore_medical3d.examples.volumes import cubes

EDGE = 16


def nnformer() -> tuple[NnFormerConfig, Batch]:
    """Four stages over cubes of 16 voxels."""
    return NnFormerConfig(crop_edge=EDGE, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0), cubes(
        edge=EDGE
    )


def swin_unetr() -> tuple[SwinUnetrConfig, Batch]:
    """The smallest cube that five levels and their norms allow."""
    return SwinUnetrConfig(crop_edge=64, width=12, heads=(1, 2, 2, 4), window=4), cubes(edge=64)


def volume_vit() -> tuple[VolumeVitConfig, Batch]:
    """Two blocks over patches of 8 voxels."""
    return VolumeVitConfig(crop_edge=EDGE, patch=8, width=24, mlp_width=48, depth=2, heads=2), cubes(edge=EDGE)


def alice() -> tuple[AliceConfig, Batch]:
    """Cells of 8 voxels, narrow head."""
    config = AliceConfig(
        output_width=16, hidden_width=24, bottleneck_width=8, alignment_heads=2, alignment_key_width=8,
        alignment_hidden_width=24, alignment_dropout=0.0, mask_patch=8, mask_ratio=0.5, ema_start=0.9, ema_end=0.9,
    )  # fmt: skip
    views = {"query": cubes(edge=EDGE), "key": cubes(edge=EDGE)}
    views["key"].inputs["volume"] = views["key"].inputs["volume"].flip(0)
    return config, Batch(inputs=None, size=views["query"].size, views=views)
