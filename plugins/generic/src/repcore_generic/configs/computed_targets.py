"""Settings of targets that are computed from the input."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class ComputedTargetsConfig:
    """The pooled vector predicts what the domain can compute from each input, beside another objective or alone."""

    targets: tuple[str, ...] = setting(
        (), "baselines of the preprocessor that are predicted, such as descriptors; empty = all of them"
    )
    beside: str = setting(
        "", "full name of an objective that is minimised with it, such as molecules/masked-language; empty = none"
    )
    beside_settings: tuple[str, ...] = setting((), "settings of that objective, NAME=VALUE each")
    weight: float = setting(1.0, "weight of this term; that of the other objective is 1", above=0)
    hidden_width: int = setting(0, "width of the head's hidden layer; 0 = a linear head", min=0)
    components: int = setting(
        256, "a baseline wider than this is replaced by so many principal components of the training rows", min=1
    )
    clip: float = setting(4.0, "standard deviations from the mean at which targets are cut off", above=0)

    def __post_init__(self) -> None:
        for name, least in (("hidden_width", 0), ("components", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} is below {least}")
        for name in ("weight", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} is not above 0")
