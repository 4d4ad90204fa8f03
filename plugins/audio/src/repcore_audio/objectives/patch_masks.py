"""Which patches of a clip to hide: unbiased samplers for whole batches, and the published one for reproduction.

Source: method card of SSAMBA, section 3; public repository `YuanGongND/ssast`, `ast_models.py` (gen_maskid_patch).

Differs: the published cluster sampler never hides the first and hardly ever the last patches, lets blocks wrap into the
next mel band, and loops in Python. ``cluster_order`` gives every patch the same chance: blocks may hang over each edge,
do not wrap, and the last one is cut at random.

Symbols: B clips, F x T patch grid, P tokens, M hidden patches.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import ConfigError
from repcore_audio.encoders.patches import PatchLayout


@dataclass(frozen=True, slots=True)
class HiddenPatches:
    """Token numbers of hidden patches, (B, M) int64, and which of them count, (B, M) bool."""

    index: Tensor
    counted: Tensor

    def mask(self, tokens: int) -> Tensor:
        """bool (B, tokens), True = hidden."""
        flags = torch.zeros(len(self.index), tokens, dtype=torch.bool, device=self.index.device)
        return flags.scatter_reduce(1, self.index, self.counted, reduce="amax")


def cluster_order(layout: PatchLayout, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """Tokens in the order in which randomly placed blocks reach them; padding comes last.

    Blocks of side c (drawn once a clip) arrive one after the other at uniform places, including places that hang over
    an edge, so that each patch lies under c x c of them. A patch's time is that of its first block, which is the
    smallest arrival noise in its window: one pooling instead of a loop. Ties, patches of the same block, are broken at
    random.

    Returns:
        int64 (B, P).
    """
    device = layout.position.device
    clips, rows, columns = len(layout.columns), layout.rows, max(layout.columns, default=1)
    largest = max(sizes)
    noise = _uniform((clips, 1, rows + largest - 1, columns + largest - 1), generator, device)
    times = [
        -F.max_pool2d(-noise[..., : rows + side - 1, : columns + side - 1], kernel_size=side, stride=1)
        for side in sizes
    ]  # (B, 1, F, T) each
    chosen = torch.randint(len(sizes), (clips,), generator=generator, device=generator.device).to(device)
    time = torch.stack(times)[chosen, torch.arange(clips, device=device), 0].flatten(1)  # (B, F * T)
    return _order(layout, layout.arrange(time[..., None])[..., 0], generator)


def random_order(layout: PatchLayout, generator: torch.Generator) -> Tensor:
    """Tokens in random order, padding last: int64 (B, P)."""
    return _order(layout, torch.zeros(layout.position.shape[:2], device=layout.position.device), generator)


def hidden_patches(order: Tensor, counts: Tensor) -> HiddenPatches:
    """The first ``counts`` (B,) tokens of each row of ``order``."""
    most = int(counts.max()) if len(counts) else 0
    return HiddenPatches(order[:, :most], torch.arange(most, device=order.device) < counts[:, None])


def legacy_cluster(patches: int, columns: int, masked: int, source: random.Random) -> list[int]:
    """One clip's hidden patches exactly as the published sampler draws them from CPython's generator.

    Args:
        patches: P of the clip, frequency-major.
        columns: T of the clip.
        masked: M.
        source: seeded as ``random.seed`` would be.

    Raises:
        ConfigError: M is so large that the sampler would never end (it cannot hide patch 0).
    """
    if masked > patches - 2:
        raise ConfigError(
            f"the published sampler cannot hide {masked} of {patches} patches",
            expected=f"at most {patches - 2}",
            hint="objective.mask_sampler=cluster",
        )
    side = source.randrange(3) + 3
    found: set[int] = set()
    while len(found) <= masked:
        start = source.randrange(patches)
        block = (start + columns * down + right for down in range(side) for right in range(side))
        found.update(place for place in block if 0 < place < patches)
    return sorted(found)[:masked]


def _uniform(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(tuple(shape), generator=generator, device=generator.device).to(device)


def _order(layout: PatchLayout, time: Tensor, generator: torch.Generator) -> Tensor:
    """Sort tokens by time, equal times at random, padding last."""
    if layout.valid is not None:
        time = time.masked_fill(~layout.valid, torch.inf)
    shuffled = torch.argsort(_uniform(time.shape, generator, time.device), dim=1)
    return shuffled.gather(1, torch.argsort(time.gather(1, shuffled), dim=1, stable=True))
