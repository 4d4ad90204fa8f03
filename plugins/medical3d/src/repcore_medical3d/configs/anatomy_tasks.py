"""Settings of the supervised tasks on anatomy encoders, with the published protocols as defaults."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RadiographTaskConfig:
    """Classification of radiographs: random-resized crops, flips and turns in training, ten crops in the test."""

    crop_area: tuple[float, float] = field(
        default=(0.08, 1.0), metadata={"help": "range of the area of a crop", "above": 0, "max": 1}
    )
    flip: float = field(
        default=0.5,
        metadata={"help": "chance of a mirrored image (published; swaps left and right)", "min": 0, "max": 1},
    )
    degrees: float = field(default=7.0, metadata={"help": "largest turn", "unit": "degrees", "min": 0})
    ten_crops: bool = field(
        default=True, metadata={"help": "predict from four corners, the centre and their mirror images"}
    )
    crop_share: float = field(
        default=448 / 512, metadata={"help": "edge of a test crop, of the image", "above": 0, "max": 1}
    )
    dropout: float = field(default=0.0, metadata={"help": "dropout before the linear layer", "min": 0, "below": 1})
