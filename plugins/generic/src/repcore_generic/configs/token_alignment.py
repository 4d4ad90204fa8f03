"""Settings of token alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class TokenAlignmentConfig:
    """A student's tokens towards those of a frozen model."""

    teacher: str = setting("", "model or run folder of the teacher; it reads the same prepared input")
    layer: int | None = setting(
        None, "student's layer; null = a third of the way up (0.3 x depth), the output tokens without layers", min=0
    )
    level: str = setting("", "token level of both; empty = the first of each")
    align: Literal["auto", "order", "position"] = setting(
        "auto", "which tokens belong together: as many in the same order, or the nearest position; auto = what fits"
    )
    mean_over: Literal["tokens", "items"] = setting(
        "tokens", "mean over valid tokens of the batch, or of each item first (published)"
    )
    projector_width: int = setting(256, "hidden width of the projector (published: 2048)", min=1)
    weight: float = setting(0.5, "weight of the term", above=0)

    @property
    def preprocessor_from(self) -> str:
        """The teacher's fitted preprocessor is the run's."""
        return self.teacher
