"""Settings of the supervised tasks on anatomy encoders, with the published protocols as defaults."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RadiographTaskConfig:
    """Classification of radiographs: random-resized crops, flips and turns in training, ten crops in the test."""

    crop_area: tuple[float, float] = field(default=(0.08, 1.0), metadata={"help": "range of the area of a crop"})
    flip: float = field(default=0.5, metadata={"help": "chance of a mirrored image (published; swaps left and right)"})
    degrees: float = field(default=7.0, metadata={"help": "largest turn", "unit": "degrees"})
    ten_crops: bool = field(
        default=True, metadata={"help": "predict from four corners, the centre and their mirror images"}
    )
    crop_share: float = field(default=448 / 512, metadata={"help": "edge of a test crop, of the image"})
    dropout: float = field(default=0.0, metadata={"help": "dropout before the linear layer"})


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """Segmentation with a U-shaped decoder from a few labelled images."""

    shots: tuple[int, ...] = field(default=(3, 6, 12, 24), metadata={"help": "labelled training images"})
    steps: int = field(default=200, metadata={"help": "optimiser steps of each training", "unit": "steps"})
    batch_size: int = field(default=32, metadata={"help": "images of a step; all of them if there are fewer"})
    lr: float = field(default=2e-4, metadata={"help": "peak learning rate of AdamW"})
    warmup_share: float = field(default=0.04, metadata={"help": "share of the steps with a rising learning rate"})
    width: int = field(default=16, metadata={"help": "channels of the decoder"})
    brightness: float = field(default=0.2, metadata={"help": "largest relative change of brightness and contrast"})
    gamma: float = field(default=0.2, metadata={"help": "largest change of the logarithm of gamma"})
    jitter_chance: float = field(default=0.3, metadata={"help": "chance that an image's intensities are changed"})
    crop_chance: float = field(default=0.25, metadata={"help": "chance of a random sized crop"})
