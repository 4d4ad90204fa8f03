"""Projection head of self-distillation: MLP, unit-length bottleneck, weight-normalised prototypes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError


class WeightNormLinear(nn.Module):
    """Linear map without bias whose rows are ``weight_g * weight_v / |weight_v|``.

    Args:
        width: input width.
        rows: output width.
        is_scale_frozen: keep every ``weight_g`` at 1.
    """

    def __init__(self, width: int, rows: int, *, is_scale_frozen: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(rows, 1), requires_grad=not is_scale_frozen)
        self.weight_v = nn.Parameter(torch.empty(rows, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight_g * (self.weight_v / self.weight_v.norm(dim=1, keepdim=True)))


class DinoHead(nn.Module):
    """Source: Caron et al. 2021 (arXiv 2104.14294), section 3.1 and appendix C.

    Args:
        width: of the features that come in.
        hidden_width: of the MLP.
        bottleneck_width: of the unit vectors.
        prototypes: K, number of logits.
        layers: linear layers of the MLP, at least 1.
        use_batch_norm: BatchNorm after each hidden layer.
        is_scale_frozen: keep the length of every prototype at 1.

    Call:
        features: float (..., width); (N, width) with BatchNorm.
    Returns:
        logits (..., K) and unit vectors (..., bottleneck_width).
    """

    def __init__(
        self,
        width: int,
        *,
        hidden_width: int = 2048,
        bottleneck_width: int = 256,
        prototypes: int = 65_536,
        layers: int = 3,
        use_batch_norm: bool = False,
        is_scale_frozen: bool = True,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"layers={layers} leaves the head without any layer", hint="layers: 3")
        widths = [width, *[hidden_width] * (layers - 1), bottleneck_width]
        parts: list[nn.Module] = []
        for index, (wide_in, wide_out) in enumerate(itertools.pairwise(widths)):
            parts.append(nn.Linear(wide_in, wide_out))
            if index < layers - 1:
                parts.extend([nn.BatchNorm1d(wide_out), nn.GELU()] if use_batch_norm else [nn.GELU()])
        self.mlp = nn.Sequential(*parts)
        self.last_layer = WeightNormLinear(bottleneck_width, prototypes, is_scale_frozen=is_scale_frozen)
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """MLP normal(0, 0.02) cut off at two standard deviations; prototypes uniform(-1, 1) / sqrt(width)."""
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02, a=-0.04, b=0.04, generator=generator)
                nn.init.zeros_(part.bias)
        bound = self.last_layer.weight_v.shape[1] ** -0.5
        nn.init.uniform_(self.last_layer.weight_v, -bound, bound, generator=generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        unit = F.normalize(self.mlp(features), dim=-1)
        return self.last_layer(unit), unit
