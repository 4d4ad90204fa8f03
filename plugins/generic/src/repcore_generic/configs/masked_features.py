"""Settings of masked feature prediction."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class MaskedFeaturesConfig:
    """A student that sees masked tokens predicts a moving-average teacher's layers."""

    mask_share: float = setting(0.5, "share of each item's tokens that the student does not see", above=0, below=1)
    top_layers: int = setting(4, "last layers whose mean is the target; fewer where the encoder has fewer", min=1)
    momentum: float = setting(0.996, "of the teacher's moving average at the start", min=0, max=1)
    final_momentum: float = setting(1.0, "of the teacher's moving average at the end", min=0, max=1)
    beta: float = setting(1.0, "distance from which the smooth L1 loss is linear; 0 = squared error", min=0)

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_share < 1.0:
            raise ValueError(f"mask_share={self.mask_share} is outside 0 < mask_share < 1")
        if self.top_layers < 1:
            raise ValueError(f"top_layers={self.top_layers} is below 1")
        for name in ("momentum", "final_momentum"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 <= {name} <= 1")
        if self.beta < 0:
            raise ValueError(f"beta={self.beta} is negative")
