"""An encoder whose feed-forward blocks are there once a domain.

Symbols: B items, S tokens of a ragged batch, N experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, Features
from repcore.nn.around import Around
from repcore.specs import TargetSpec
from repcore_generic.configs.experts import ExpertsConfig
from repcore_generic.layers.expert_blocks import UNKNOWN, Experts, Router, low_rank_experts, put


class WithExperts(Around):
    """Every item passes through the experts of its domain; where that is not known, through the mean of all.

    Which domain a row is of says the column ``config.domain`` of its data, by name; or :meth:`choose` for all rows.

    Args:
        inner: encoder with ``feed_forward_blocks() -> {name: module}``, each called with (B, T, D), or with (S, D)
            whose items ``token_owner(batch)`` gives.
        config: settings, with the names of the domains.

    Raises:
        ConfigError: the encoder names no such blocks, or there is no domain.
    """

    def __init__(self, inner: nn.Module, config: ExpertsConfig) -> None:
        super().__init__(inner)
        self._chosen: int | None = None
        self.config, self.router = config, Router()
        self.dim = int(cast(Any, inner).dim)
        told = getattr(inner, "feed_forward_blocks", None)
        if told is None:
            raise ConfigError(
                f"experts copy feed-forward blocks, and {type(inner).__name__} has no method feed_forward_blocks()",
                expected="an encoder with the capability 'feed-forward-blocks'",
            )
        if not config.domains:
            raise ConfigError("experts need the names of their domains", hint="method.domain=COLUMN")
        names = list(cast(Mapping[str, nn.Module], told()))
        self.names = names if config.blocks == "all" else names[-1:]
        count = len(config.domains)
        for name in self.names:
            block = inner.get_submodule(name)
            if config.rank is None:
                put(inner, name, Experts(block, count, self.router))
            else:
                put(inner, name, low_rank_experts(block, count, config.rank, config.alpha, self.router))
        self._experts_of_numbers: Tensor | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels of the data that batches are to carry; none where one domain is chosen for all rows."""
        return self.config.columns if self._chosen is None else ()

    @property
    def expected_columns(self) -> tuple[TargetSpec, ...]:
        """The domains by name: a column of few rows, or of new names, is read with their numbers, too."""
        return (TargetSpec(self.config.domain, "class", names=self.config.domains),) if self.config.domain else ()

    def sees(self, targets: Sequence[TargetSpec]) -> None:
        """What the numbers in the domain column of coming batches mean: names, compared with those of the experts."""
        own = [one for one in targets if one.name == self.config.domain]
        places = {name: number for number, name in enumerate(self.config.domains)}
        names = own[0].names if own else ()
        self._experts_of_numbers = torch.tensor([places.get(one, UNKNOWN) for one in names]) if names else None

    def doubts(self, targets: Sequence[TargetSpec], empty: Mapping[str, int]) -> list[str]:
        """Which rows take the mean of the experts (or are refused) for want of a known domain."""
        column, known = self.config.domain, ", ".join(self.config.domains)
        fate = "refused" if self.config.unknown == "error" else "taken through the mean of all experts"
        if self._chosen is not None:
            return []
        own = [one for one in targets if one.name == column and one.level == "item"]
        if not own:
            return [f"the data have no column {column!r} with the domains {known}: every row is {fate}"]
        new = [one for one in own[0].names if one not in self.config.domains]
        said = []
        if new:
            others = ", ".join(new)
            said.append(f"column {column!r}: the model has experts for {known}, not for {others}: such rows are {fate}")
        if empty.get(column):
            said.append(f"column {column!r} is empty in {empty[column]:,} rows: they are {fate}")
        return said

    def choose(self, name: str | None) -> None:
        """Take one domain's experts for all rows; None = as the data says.

        Raises:
            ConfigError: no such domain.
        """
        if name is not None and name not in self.config.domains:
            raise ConfigError(f"no domain {name!r}", domains=", ".join(self.config.domains))
        self._chosen = None if name is None else self.config.domains.index(name)

    def forward(self, batch: Batch, layers: Sequence[int] = (), **rest: Any) -> Features:
        self.router.experts = self.experts_of(batch)
        owner = getattr(self.inner, "token_owner", None)
        self.router.owner = None if owner is None else owner(batch)
        try:
            features: Features = self.inner(batch, layers, **rest)
        finally:
            self.router.experts = self.router.owner = None
        return features

    def experts_of(self, batch: Batch) -> Tensor | None:
        """Expert of each item int64 (B,), -1 = unknown; None where nothing says so for any.

        Raises:
            DataError: an unknown domain, with ``unknown=error``.
        """
        if self._chosen is not None:
            device = next(self.inner.parameters()).device
            return torch.full((batch.size,), self._chosen, device=device)
        numbers = batch.targets.get(self.config.domain)
        found = None
        if numbers is not None and self._experts_of_numbers is not None:
            flat = numbers.reshape(-1).float().nan_to_num(-1.0).long()
            table = self._experts_of_numbers.to(flat.device)
            inside = (flat >= 0) & (flat < len(table))
            found = torch.where(inside, table[flat.clamp(0, len(table) - 1)], UNKNOWN)
        if self.config.unknown == "error" and (found is None or bool((found < 0).any())):
            raise DataError(
                f"a row has no domain '{self.config.domain}' that the model knows",
                domains=", ".join(self.config.domains),
                hint="method.unknown=mean, or rows of these domains",
            )
        return found


def with_experts(config: ExpertsConfig, encoder: nn.Module) -> nn.Module:
    """The encoder with its experts; one that has them gets experts for new domains: means of those that are there.

    Raises:
        ConfigError: experts of another kind, or low-rank ones beside a new domain.
    """
    if not isinstance(encoder, WithExperts):
        return WithExperts(encoder, config)
    own = encoder.config
    if (own.rank, own.blocks, own.domains) != (config.rank, config.blocks, config.domains[: len(own.domains)]):
        raise ConfigError(
            f"the model has experts for {', '.join(own.domains)} of another kind or order",
            hint=f"method.rank={own.rank or 'null'} method.blocks={own.blocks}, or its base model",
        )
    extra = len(config.domains) - len(own.domains)
    if extra and config.rank is not None:
        raise ConfigError("low-rank experts take no new domain", hint="fine-tune the base model on all domains")
    for name in encoder.names:
        _extend(cast(Experts, encoder.inner.get_submodule(name)), extra)
    encoder.config = config
    return encoder


def _extend(experts: Experts, extra: int) -> None:
    import copy

    known = [dict(one.named_parameters()) for one in experts.experts]
    for _ in range(extra):
        new = copy.deepcopy(experts.experts[0])
        with torch.no_grad():
            for name, value in new.named_parameters():
                value.copy_(torch.stack([one[name] for one in known]).mean(0))
        experts.experts.append(new)
