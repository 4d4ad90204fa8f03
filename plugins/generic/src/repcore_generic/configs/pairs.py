"""Settings of the objectives on two views."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class ProjectedConfig:
    """The projection head between the encoder and the loss."""

    hidden_width: int = setting(256, "width of the projection head's hidden layers", min=1)
    output_width: int = setting(128, "width of the vectors that are compared", min=1)
    layers: int = setting(2, "linear layers of the projection head", min=1, max=1000)

    def __post_init__(self) -> None:
        for name in ("hidden_width", "output_width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")


@dataclass(frozen=True, kw_only=True)
class SimclrConfig(ProjectedConfig):
    """InfoNCE between two views."""

    temperature: float = setting(0.2, "temperature of the cosine similarities", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not above 0")


@dataclass(frozen=True, kw_only=True)
class VicregConfig(ProjectedConfig):
    """Invariance, variance and covariance of two views."""

    layers: int = setting(3, "linear layers of the projection head", min=1, max=1000)
    invariance_weight: float = setting(25.0, "weight of the distance between the two views", min=0)
    variance_weight: float = setting(25.0, "weight of the hinge on each dimension's standard deviation", min=0)
    covariance_weight: float = setting(1.0, "weight of the squared covariances between dimensions", min=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("invariance_weight", "variance_weight", "covariance_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is below 0")
