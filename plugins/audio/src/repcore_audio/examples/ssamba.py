"""Tiny settings and batches of every part, for conformance checks and documentation."""

from __future__ import annotations

import torch

from repcore.interfaces import Batch
from repcore_audio.configs.recordings import SoundsConfig, TakesConfig
from repcore_audio.configs.ssamba import MaskedPatchesConfig, SsambaConfig

MEL_BINS, FRAMES = 32, 48


def ssamba() -> tuple[SsambaConfig, Batch]:
    """Two blocks over three clips of different lengths."""
    config = SsambaConfig(
        width=16, depth=2, states=4, patch_frequency=16, patch_time=8, mel_bins=MEL_BINS, frames=FRAMES, drop_path=0.0
    )
    return config, batch()


def masked_patches() -> tuple[MaskedPatchesConfig, Batch]:
    """Half of the patches hidden."""
    return MaskedPatchesConfig(mask_ratio=0.5, cluster_sizes=(2,)), batch()


def sounds() -> SoundsConfig:
    """Twenty short clips."""
    return SoundsConfig(clips=20, seconds=0.5)


def takes() -> TakesConfig:
    """Ten recordings."""
    return TakesConfig(clips=10)


def batch() -> Batch:
    """Normalised spectrograms of 48, 24 and 40 frames."""
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "spectrogram": 0.5 * torch.randn(3, FRAMES, MEL_BINS, generator=generator),
        "frames": torch.tensor([48, 24, 40]),
        "normalisation": torch.tensor([[-8.0, 9.0]] * 3),
    }
    return Batch(inputs=inputs, size=3)
