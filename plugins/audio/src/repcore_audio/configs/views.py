"""Settings of the random views of recordings."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class SoundChange:
    """What a view changes in a window of sound."""

    kept_share: tuple[float, float] = setting(
        (0.5, 1.0), "smallest and largest share of the window, one stretch of it, that the view hears", above=0, max=1
    )
    speed: tuple[float, float] | None = setting(
        None,
        "range of a factor by which the stretch is played faster, which moves pitch and formants, too; null = 1",
        min=0.1,
        max=10,
    )
    shift_share: float = setting(0.5, "furthest shift in time, round the end, as a share of the stretch", min=0, max=1)
    gain_db: float = setting(6.0, "largest change of loudness either way", "dB", min=0, max=300)
    filter_db: float = setting(
        0.0, "furthest a random filter raises or lowers a frequency, as another room or microphone would", "dB",
        min=0, max=100,
    )  # fmt: skip
    noise_db: tuple[float, float] | None = setting(
        (10.0, 40.0),
        "range of the signal-to-noise ratio of added white noise; null = no noise",
        "dB",
        min=-300,
        max=300,
    )
    masked_bands: int = setting(2, "groups of mel bands that are hidden (SpecAugment)", min=0)
    band_share: float = setting(0.2, "widest group, as a share of the mel bands", min=0, max=1)
    masked_stretches: int = setting(2, "stretches of frames that are hidden (SpecAugment)", min=0)
    stretch_share: float = setting(0.2, "longest stretch, as a share of the frames", min=0, max=1)

    def __post_init__(self) -> None:
        low, high = self.kept_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"kept_share={self.kept_share} is not 0 < low <= high <= 1")
        for name in ("shift_share", "band_share", "stretch_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 <= {name} <= 1")
        for name in ("gain_db", "masked_bands", "masked_stretches"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if self.speed is not None and not 0.1 <= self.speed[0] <= self.speed[1] <= 10.0:
            raise ValueError(f"speed={self.speed} is not 0.1 <= low <= high <= 10")
        if self.noise_db is not None and not self.noise_db[0] <= self.noise_db[1]:
            raise ValueError(f"noise_db={self.noise_db} is no range")


@dataclass(frozen=True, kw_only=True)
class SoundPairConfig:
    """Two views alike."""

    change: SoundChange = field(default=SoundChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class SoundWeakStrongConfig:
    """A view that is moved a little, and one that is cut, drowned and hidden in part."""

    weak: SoundChange = field(
        default=SoundChange(
            kept_share=(1.0, 1.0), shift_share=0.1, gain_db=3.0, noise_db=None, masked_bands=0, masked_stretches=0
        ),
        metadata={"help": "changes of the weak view"},
    )
    strong: SoundChange = field(
        default=SoundChange(kept_share=(0.4, 0.8), noise_db=(0.0, 20.0), band_share=0.3, stretch_share=0.3),
        metadata={"help": "changes of the strong view"},
    )
