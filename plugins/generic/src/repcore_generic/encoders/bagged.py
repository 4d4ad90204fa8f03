"""A frozen encoder below an aggregator: one vector for all windows of an item.

Symbols: B bags, S instances of all bags, D width of an instance, W of the aggregator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features, Tokens
from repcore.nn.around import Around
from repcore_generic.configs.mamba_mil import MambaMilConfig
from repcore_generic.layers.bag_pooling import BagPooling, Pooled

LEVEL = "instances"


class Bagged(Around):
    """Reads bags (:mod:`repcore.data.bags`); a plain batch is one of bags of one item.

    Args:
        inner: the encoder; in eval mode and without gradients for ever.
        config: of the aggregator.

    Raises:
        ConfigError: tokens are asked for, and the encoder does not say how wide they are.
    """

    fresh = ("bag.",)

    def __init__(self, inner: nn.Module, config: MambaMilConfig) -> None:
        super().__init__(inner)
        self.config = config
        inner.requires_grad_(False)
        self.bag = BagPooling(config, _instance_width(inner, config))
        self.dim = config.width
        self.pooling = config.aggregate
        self.seen: Pooled | None = None  # of the last pass, for figures

    @property
    def instance_facts(self) -> str:
        """What decides, beside the encoder, what an instance is."""
        return self.config.of

    @property
    def larger_bags(self) -> str:
        """How a bag that holds one instance gets more."""
        longer = "longer items, such as whole recordings in place of single windows"
        return f"Use method.of=tokens or {longer}" if self.config.of == "windows" else f"Use {longer}"

    def sees_instances(self, mean: Tensor, deviation: Tensor) -> None:
        """What core tells of the windows of the training rows before a new aggregator learns: (D,) each."""
        if self.config.standardise and not self.config.reference_compat:
            self.bag.standardise(mean, deviation)

    def train(self, mode: bool = True) -> Bagged:
        """The encoder inside stays in eval mode."""
        super().train(mode)
        self.inner.eval()
        return self

    @torch.no_grad()
    def instances(self, batch: Batch) -> Tokens:
        """Vectors of the instances (S, D) with their bags ``owner`` (S,), in their order, without gradients."""
        given = batch.inputs if isinstance(batch.inputs, dict) else {}
        if "vectors" in given:
            return Tokens(given["vectors"], owner=given["owner"])
        if "passes" not in given:
            return self._of_items(batch, torch.arange(batch.size))
        found, first = [], 0
        for one in given["passes"]:
            owner = given["owner"][first : first + one.size]
            first += one.size
            found.append(self._of_items(self._with_labels(one, batch, owner), owner))
        return Tokens(
            torch.cat([one.values for one in found]), owner=torch.cat([cast(Tensor, one.owner) for one in found])
        )

    def _with_labels(self, items: Batch, batch: Batch, owner: Tensor) -> Batch:
        """Labels of the bags, for encoders that read some (``columns``)."""
        columns = [name for name in getattr(self.inner, "columns", ()) if name in batch.targets]
        return replace(items, domain=batch.domain, targets={name: batch.targets[name][owner] for name in columns})

    def _of_items(self, batch: Batch, owner: Tensor) -> Tokens:
        """Instances of items whose bags are ``owner``."""
        features: Features = self.inner(batch)
        if self.config.of == "windows":
            return Tokens(features.pooled, owner=owner.to(features.pooled.device))
        tokens = next(iter(features.tokens.values()))
        owner = owner.to(tokens.values.device)
        if tokens.owner is not None:
            return Tokens(tokens.values, owner=owner[tokens.owner])
        slots = tokens.values.shape[1]
        spread = owner[:, None].expand(-1, slots)
        if tokens.valid is None:
            return Tokens(tokens.values.flatten(0, 1), owner=spread.flatten())
        return Tokens(tokens.values[tokens.valid], owner=spread[tokens.valid])

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """``pooled`` (B, W), NaN in eval mode for a bag without a finite instance; level ``instances`` (S, W); extra
        ``attention`` (S,)."""
        del layers  # those of the encoder are of items, not of bags
        found = self.instances(batch)
        owner = cast(Tensor, found.owner)
        finite = torch.isfinite(found.values).all(1)
        values, owner = found.values[finite], owner[finite]
        self.seen = pooled = self.bag(values, owner, batch.size)
        vectors = pooled.vectors
        if not self.training:
            empty = torch.bincount(owner, minlength=batch.size) == 0
            vectors = vectors.masked_fill(empty[:, None], float("nan"))
        return Features(vectors, {LEVEL: Tokens(pooled.hidden, owner=owner)}, {}, {"attention": pooled.attention})

    def pool(self, features: Features, name: str) -> Tensor:
        """The aggregator's vector under its own name.

        Raises:
            ConfigError: another pooling, which would be of the encoder inside.
        """
        if name == self.pooling:
            return features.pooled
        raise ConfigError(
            f"--pool {name}: the windows of this model are pooled by {self.pooling}, which was trained for it",
            hint="leave --pool out, or embed with the model that it was fine-tuned from",
        )


def _instance_width(inner: nn.Module, config: MambaMilConfig) -> int:
    if config.of == "windows":
        return int(cast(Any, inner).dim)
    if not hasattr(inner, "token_width"):
        raise ConfigError(
            f"{type(inner).__name__} does not say how wide its tokens are",
            expected="an encoder with the capability 'layers'",
            hint="method.of=windows",
        )
    return int(cast(Any, inner).token_width())


def bagged(config: MambaMilConfig, encoder: nn.Module) -> nn.Module:
    """The encoder below an aggregator; one that has such an aggregator keeps it.

    Raises:
        ConfigError: the aggregator that is there is another one.
    """
    if not isinstance(encoder, Bagged):
        return Bagged(encoder, config)
    own = replace(encoder.config, dropout=config.dropout, keep=config.keep)
    if own != config:
        raise ConfigError(
            f"the model has an aggregator already ({encoder.config.aggregate})",
            hint="the same method settings, or start from its base model",
        )
    return encoder
