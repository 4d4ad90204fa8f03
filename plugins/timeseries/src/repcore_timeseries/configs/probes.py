"""Settings of the forecast probe."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """What is forecast from what, and on which part of time it is judged."""

    horizons: tuple[int, ...] = setting(
        (24, 48, 168, 336, 720), "steps ahead; those that do not fit into the parts are left out", "steps", min=1
    )
    context: int = setting(200, "steps before a moment that its features see", "steps", min=1, max=100_000)
    raw_steps: int = setting(168, "last steps that the ridge on raw values sees", "steps", min=1, max=100_000)
    day: int = setting(0, "steps of a day for the second naive forecast; 0 = by time stamps, else 24", "steps", min=0)
    parts: tuple[float, ...] = setting(
        (0.6, 0.2, 0.2),
        "train, validation and test part of the time of each series: shares, or numbers of steps",
        min=0,
    )
    strengths: tuple[float, ...] = setting(
        (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        "strengths of the ridge, of which the validation part chooses one", above=0,
    )  # fmt: skip
    most_moments: int = setting(2000, "moments of each part that are used, evenly spaced", min=8, max=10_000_000)
    channels: tuple[int, ...] = setting((), "numbers of the channels that are forecast; all when empty", min=0)

    def __post_init__(self) -> None:
        check_bounds(self)
        if len(self.parts) != 3 or not all(self.parts):
            raise ValueError(f"parts={self.parts} are not a train, a validation and a test part")
        if not self.horizons or not self.strengths:
            raise ValueError("horizons and strengths name at least one each")
