"""Nearest codes, with the gradient passed straight through.

Source: van den Oord et al. 2017 (VQ-VAE, arXiv 1711.00937), section 3.2, with means over elements in both losses.

Symbols: N vectors, V codes, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 16_384  # bounds memory: that many vectors against 1024 codes are 64 MiB


def nearest_code(vectors: Tensor, codes: Tensor) -> Tensor:
    """Number of the nearest code (V, C) of every vector (N, C), int64 (N,); of equals the lowest."""
    squares = codes.square().sum(1)
    parts = [(squares - 2 * part @ codes.T).argmin(1) for part in vectors.split(AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=vectors.device)


def quantise(latents: Tensor, codes: Tensor, commitment: float) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers (N,), codes with the latents' gradient (N, C), and mean (e - sg z)^2 + commitment mean (z - sg e)^2."""
    with torch.no_grad():
        ids = nearest_code(latents, codes)
    chosen = codes[ids]
    loss = (chosen - latents.detach()).square().mean() + commitment * (latents - chosen.detach()).square().mean()
    return ids, latents + (chosen - latents).detach(), loss
