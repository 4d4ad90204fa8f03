"""Tiny settings and batches of SpecMaskGIT, for conformance checks and documentation."""

from __future__ import annotations

import torch

from repcore.interfaces import Batch
from repcore_audio.configs.spec_mask_git import MaskedCodesConfig, SpecMaskGitConfig


def spec_mask_git() -> tuple[SpecMaskGitConfig, Batch]:
    """Two blocks over three clips on a grid of 3 x 5 tokens."""
    config = SpecMaskGitConfig(width=16, depth=2, heads=2, rows=3, columns=5, codes=11, patch_size=4)
    return config, batch()


def masked_codes() -> tuple[MaskedCodesConfig, Batch]:
    """Shares by the cosine."""
    return MaskedCodesConfig(), batch()


def batch() -> Batch:
    """Clips of 5, 2 and 4 columns."""
    ids = torch.randint(11, (3, 15), generator=torch.Generator().manual_seed(0))
    valid = torch.arange(15) % 5 < torch.tensor([5, 2, 4])[:, None]
    return Batch(inputs={"ids": ids.masked_fill(~valid, 0), "valid": valid}, size=3)
