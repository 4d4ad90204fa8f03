"""Settings of AutoTCL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class AugmenterConfig:
    """The small network that decides what a view keeps."""

    hidden: int = setting(64, "features of its inner blocks", min=1)
    depth: int = setting(2, "blocks before the last one", min=0, max=20)
    width: int = setting(16, "features of a step, from which gate and factor are read", min=1)
    kernels: tuple[int, ...] = setting((1, 2, 4), "sizes of its causal convolutions", min=1)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class AutoTCLConfig:
    """Learned gates and factors make the view; the encoder contrasts it with the series."""

    form: Literal["corrected", "published"] = setting(
        "corrected", "losses and gates as in the docs, or as the authors' code computes them (see differences)"
    )
    gates: Literal["learned", "random"] = setting(
        "learned", "what keeps values: the augmenter, or a coin (the control that shows what learning them is worth)"
    )
    keep_share: float = setting(0.5, "chance of a value to be kept by random gates", above=0, below=1)
    variant: Literal["information", "adversarial"] = setting(
        "information", "what the augmenter learns: views close to the series with few values, or views hard to match"
    )
    augmenter: AugmenterConfig = field(
        default=AugmenterConfig(), metadata={"help": "sizes of the network behind learned gates"}
    )
    augmenter_rate: float = setting(10.0, "learning rate of the augmenter as a multiple of the encoder's", above=0)
    noise_bias: float = setting(0.05, "how far the uniform noise of the gates stays from 0 and 1", above=0, below=0.5)
    stretch: float = setting(0.05, "how far gates reach beyond 0 and 1 before they are cut", above=0, max=1)
    open_threshold: float = setting(0.4, "share of kept values above which the opening term counts", min=0, max=1)
    open_weight: float = setting(0.2, "weight of the opening term", min=0)
    smooth_weight: float = setting(0.05, "weight of the smoothness of gates over time", min=0)
    local_weight: float = setting(0.1, "weight of the contrast between stretches of one series", min=0)
    local_segments: int = setting(16, "stretches that a series is cut into for that contrast", min=4, max=4096)
    mmd_kernels: int = setting(5, "widths of the kernels by which series and views are compared", min=1, max=64)
    mmd_factor: float = setting(2.0, "each of these widths as a multiple of the one before", above=1)
    temperature: float = setting(1.0, "divides the cosine similarities between series and views", above=0)
    visible_share: float = setting(1.0, "chance of a step to stay visible to the encoder", above=0, max=1)

    def __post_init__(self) -> None:
        check_bounds(self)
