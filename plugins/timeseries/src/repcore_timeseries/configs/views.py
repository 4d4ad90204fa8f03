"""Settings of the random views of series."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class SeriesChange:
    """What a view changes."""

    noise: float = setting(0.1, "standard deviation of added noise, in standard deviations of the channel", min=0)
    scale: float = setting(0.2, "standard deviation of the logarithm of a factor on each channel", min=0, max=5)
    kept_share: tuple[float, float] = setting(
        (0.6, 1.0), "smallest and largest share of the steps, one stretch of them, that the view keeps", above=0, max=1
    )
    hidden_share: float = setting(0.1, "share of the steps that are hidden, each for itself", min=0, below=1)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.kept_share[0] > self.kept_share[1]:
            raise ValueError(f"kept_share={self.kept_share} is not low <= high")


@dataclass(frozen=True, kw_only=True)
class SeriesPairConfig:
    """Two views alike."""

    change: SeriesChange = field(default=SeriesChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class SeriesWeakStrongConfig:
    """A series that is changed a little, and one that is cut, drowned and hidden in part."""

    weak: SeriesChange = field(
        default=SeriesChange(noise=0.02, scale=0.05, kept_share=(1.0, 1.0), hidden_share=0.0),
        metadata={"help": "changes of the weak view"},
    )
    strong: SeriesChange = field(
        default=SeriesChange(noise=0.3, scale=0.4, kept_share=(0.4, 0.8), hidden_share=0.25),
        metadata={"help": "changes of the strong view"},
    )
