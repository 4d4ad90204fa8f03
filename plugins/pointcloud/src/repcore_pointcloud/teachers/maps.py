"""What a 2D teacher gives: the seam between depth images and the objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TeacherMaps:
    """Features (M, C, h, w) and saliency (M, h, w) of M images; larger saliency = more worth keeping visible."""

    features: Tensor
    saliency: Tensor


class Teacher(Protocol):
    """A frozen module from depth images (M, S, S), sums of depths with 0 where nothing is drawn, to maps.

    ``channels`` is C; ``standardised_targets`` says whether features are brought to unit variance before they are
    predicted.
    """

    channels: int
    standardised_targets: bool

    def __call__(self, depth: Tensor) -> TeacherMaps: ...
