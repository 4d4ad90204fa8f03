"""What objectives on two views share: the two batches of views, and their vectors.

Symbols: B items, D pooled width, P projected width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import RunError
from repcore.interfaces import Batch, Encoder, Features


def two_views(batch: Batch) -> dict[str, Batch]:
    """The two views of a batch by name, in the order that the views' spec gives.

    Raises:
        RunError: the batch has no pair of views.
    """
    if len(batch.views) != 2:
        raise RunError(
            f"this objective compares two views of each item; the batch has {len(batch.views)}",
            hint="views=NAME of a pair; repcore list views",
        )
    return dict(batch.views)


def pooled_views(encoder: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Pooled vectors (B, D) of each view, by name."""
    vectors: dict[str, Tensor] = {}
    for name, view in two_views(batch).items():
        features: Features = encoder(view)
        vectors[name] = features.pooled
    return vectors


class RowNorm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a batch of one row, which has none of its own."""

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) < 2:
            return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(rows)


def projector(width: int, hidden: int, output: int, *, layers: int) -> nn.Sequential:
    """Linear layers with BatchNorm and ReLU between, the last without bias."""
    parts: list[nn.Module] = []
    last = width
    for _ in range(layers - 1):
        parts += [nn.Linear(last, hidden, bias=False), RowNorm(hidden), nn.ReLU()]
        last = hidden
    return nn.Sequential(*parts, nn.Linear(last, output, bias=False))


def width_of(encoder: nn.Module) -> int:
    """Width of the pooled vector."""
    return int(cast(Encoder, encoder).dim)


def in_float32(vectors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The two views' vectors in float32: similarities and covariances need it under autocast."""
    one, two = vectors.values()
    return one.float(), two.float()


def no_autocast(values: Tensor) -> torch.autocast:
    """Switches autocast off for the loss."""
    return torch.autocast(values.device.type, enabled=False)
