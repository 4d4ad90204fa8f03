"""Settings of the class-Gaussian contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class ClassGaussiansConfig:
    """Vectors or tokens are contrasted with running statistics of their classes."""

    loss: Literal["distribution", "prototype", "bank"] = setting(
        "distribution", "against Gaussians of the classes in closed form, their means, or means of recent batches"
    )
    weight: float = setting(1.0, "weight of the contrast", min=0)
    regulariser: float = setting(0.0, "weight of the term that evens the batch's mean out over classes", min=0)
    temperature: float = setting(
        0.5, "softmax temperature; published 100, which is nearly flat on unit vectors", above=0
    )
    projection: int = setting(256, "width in which classes are described", min=1)
    bank: int = setting(100, "means of recent batches that are kept of each class", min=1)
    least_share: float = setting(
        0.75, "share of a token's elements that must have one class, or it has none", min=0, max=1
    )
    warm_steps: int = setting(
        0, "steps in which statistics are gathered and the contrast counts nothing", "steps", min=0
    )
