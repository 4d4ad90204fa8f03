"""Settings of experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting
from repcore.errors import ConfigError, closest
from repcore.specs import TargetSpec


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """One copy of every feed-forward block a domain (assay, site, kind of sound); everything else is shared."""

    domain: str = setting("", "class column that says which domain a row is of")
    domains: tuple[str, ...] = setting(
        (), "names of the domains in the order of their experts; filled in from the data"
    )
    rank: int | None = setting(None, "low-rank changes of the shared block instead of copies; null = copies", min=1)
    alpha: float = setting(4.0, "scale of a low-rank change, over its rank", above=0)
    blocks: Literal["all", "last"] = setting("all", "which feed-forward blocks get experts")
    unknown: Literal["mean", "error"] = setting("mean", "a row of no known domain: mean of all experts, or an error")
    loss: Literal["contrast", "mnr", "mnr_plus"] = setting(
        "contrast",
        "of pairs of a class within a domain: unit vectors with a learned scale, or raw products as published",
    )
    weight: float = setting(0.1, "weight of that loss beside the task's own; classes of items only", min=0)

    @property
    def columns(self) -> tuple[str, ...]:
        """Further labels that batches carry."""
        return (self.domain,) if self.domain else ()

    def completed(
        self, target: TargetSpec, earlier: ExpertsConfig | None, targets: Sequence[TargetSpec]
    ) -> ExpertsConfig:
        """With the domains of the model, then those of the data that are new.

        Raises:
            ConfigError: no such class column, or it is the label itself, or the model's experts are of another column.
        """
        if earlier is not None and earlier.domain not in ("", self.domain):
            raise ConfigError(
                f"the model has experts of the column {earlier.domain!r}, not of {self.domain!r}",
                hint=f"method.domain={earlier.domain}, or fine-tune the model that they were made from",
            )
        known = earlier.domains if earlier else self.domains
        found = {one.name: one for one in targets if one.kind == "class" and one.level == "item"}
        if self.domain not in found or self.domain == target.name:
            others = [one for one in found if one != target.name]
            raise ConfigError(
                f"method.domain={self.domain!r} is no class column beside the label '{target.name}'",
                did_you_mean=closest(self.domain, others),
                columns=", ".join(others) or "none",
                hint="method.domain=NAME of the column that tells domains apart",
            )
        names = found[self.domain].names
        return dataclasses.replace(self, domains=(*known, *(one for one in names if one not in known)))
