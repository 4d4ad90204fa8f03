"""Settings of predicting edges by direction, and places, of the cells of windows of images."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class EdgesAndPlacesConfig:
    """Edges by direction in every cell of a window, and where in its image the cell lies."""

    windows: int = field(default=2, metadata={"help": "windows of each image in a step", "min": 1})
    window_edge: int = field(
        default=112, metadata={"help": "edge of a window as the encoder sees it", "unit": "pixels", "min": 8}
    )
    window_share: tuple[float, float] = field(
        default=(0.25, 1.0),
        metadata={
            "help": "least and largest share of the image's edges that a scaled window shows",
            "above": 0,
            "max": 1,
        },
    )
    unscaled_share: float = field(
        default=1.0,
        metadata={"help": "share of windows that are cut out pixel by pixel, without scaling", "min": 0, "max": 1},
    )
    mask_ratio: float = field(
        default=0.0, metadata={"help": "chance that a cell is hidden from the encoder", "min": 0, "below": 1}
    )
    directions: int = field(default=8, metadata={"help": "directions of edges that are told apart", "min": 2})
    subcells: int = field(
        default=2, metadata={"help": "parts of a cell along each axis, each with its edges", "min": 1}
    )
    gradient_weight: float = field(default=1.0, metadata={"help": "factor of the error of edges", "min": 0})
    place_weight: float = field(default=1.0, metadata={"help": "factor of the error of places", "min": 0})
    intensity: float = field(
        default=0.1,
        metadata={
            "help": "largest relative change of brightness and of contrast; of the logarithm of gamma, twice as much",
            "min": 0,
            "max": 1,
        },
    )

    def __post_init__(self) -> None:
        low, high = self.window_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"window_share={self.window_share} is not 0 < low <= high <= 1")
