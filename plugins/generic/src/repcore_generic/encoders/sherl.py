"""A frozen encoder with a side block: gradients pass through its last layer alone.

Symbols: B items, T tokens, D width of the tokens, L number of the last layer, E pooled width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.embedding.layers import can_stop
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features, Tokens
from repcore.nn.around import Around
from repcore.training.supervised import layer_depths
from repcore_generic.configs.sherl import SherlConfig
from repcore_generic.layers.side_blocks import Mix, PooledSide, TokenSide, gate

WIDE = 512
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SideTuned(Around):
    """Layers up to L - 1 without gradient; a block makes the input of layer L, or adds to the pooled vector.

    Args:
        inner: encoder with ``layers`` and, but for ``form=pooled``, ``run_from``; in eval mode for ever.
        config: settings.

    Raises:
        ConfigError: the encoder lacks one of them, or has one layer.
    """

    fresh = ("side.",)

    def __init__(self, inner: nn.Module, config: SherlConfig) -> None:
        super().__init__(inner)
        self.config = config
        self.first, self.last = _layers(inner, config)
        self.dim = int(cast(Any, inner).dim)
        width = int(cast(Any, inner).token_width())
        reduction = config.reduction or (4.0 if width >= WIDE else 2.0)
        inner.requires_grad_(False)
        self.named = _pooling_of_last(inner, config)
        if self.named:
            self.dim = width
        self.side: TokenSide | PooledSide
        if config.form == "pooled":
            count = self.last - self.first + 1
            self.side = PooledSide(width, count, self.dim, reduction=reduction, redundancy=config.redundancy)
        else:
            self.side = TokenSide(
                width, self.last - self.first, form=config.form, reduction=reduction, theta=config.theta,
                dropout=config.dropout, redundancy=config.redundancy,
            )  # fmt: skip
            for name in learning_names(inner, config.train_last):
                inner.get_parameter(name).requires_grad_(True)
        self.seen: Mix | None = None  # of the last pass, for figures

    def train(self, mode: bool = True) -> SideTuned:
        """The encoder inside stays in eval mode."""
        super().train(mode)
        self.inner.eval()
        return self

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """``until``: an earlier layer of the frozen encoder."""
        if until is not None and until < self.last:
            early: Features = self.inner(batch, layers, until=until)
            return early
        pooled = self.config.form == "pooled"
        wanted = range(self.first, self.last + pooled)
        with torch.no_grad():
            stops = can_stop(self.inner) and not pooled
            trunk: Features = self.inner(batch, wanted, until=self.last - 1) if stops else self.inner(batch, wanted)
        tokens = [trunk.layers[number] for number in wanted]
        found = self._pooled(trunk, tokens) if pooled else self._through_last(tokens, batch, layers)
        kept = {number: trunk.layers[number] for number in layers if number in trunk.layers}
        return replace(found, layers={**kept, **{k: v for k, v in found.layers.items() if k not in kept}})

    def _through_last(self, tokens: list[Tokens], batch: Batch, layers: Sequence[int]) -> Features:
        last = tokens[-1]
        out, self.seen = self.side([one.values for one in tokens])
        if last.valid is not None:  # what the last layer would have read stays in empty slots
            out = torch.where(last.valid[..., None], out, last.values)
        asked = [number for number in layers if number == self.last]
        features: Features = cast(Any, self.inner).run_from(self.last - 1, replace(last, values=out), batch, asked)
        if self.named:
            features.pooled = cast(Any, self.inner).pool(features, self.named)
        if features.pooled.shape[1] != self.dim:
            raise ConfigError(
                f"the encoder's pooling gives {features.pooled.shape[1]} numbers from its last layer alone, {self.dim} "
                "from all",
                hint="encoder.pooling of the last layer, or method.form=pooled",
            )
        return features

    def _pooled(self, trunk: Features, tokens: list[Tokens]) -> Features:
        mask, owner = tokens[0].valid, tokens[0].owner
        values, self.seen = self.side([one.values for one in tokens], trunk.pooled, mask, owner=owner)
        return replace(trunk, pooled=values)

    def figures(self) -> dict[str, Tensor]:
        """Of the last pass: what the gate lets through, mean weight of each layer, share of rows without a weight, and
        mean redundancy."""
        if self.seen is None:
            return {}
        weights = self.seen.weights.detach().flatten(0, -2)
        found = {f"weight_of_layer_{self.first + number}": one for number, one in enumerate(weights.mean(0))}
        found |= {
            "rows_without_weights": (weights.sum(1) == 0).float().mean(),
            "redundancy": self.seen.redundancy.detach().mean(),
        }
        if isinstance(self.side, TokenSide):
            found["gate"] = gate(self.side.theta.detach())[0]
        return found


def _layers(inner: nn.Module, config: SherlConfig) -> tuple[int, int]:
    """Numbers of the first and the last layer."""
    name = type(inner).__name__
    depth = getattr(inner, "depth", None)
    if depth is None or not hasattr(inner, "token_width"):
        raise ConfigError(
            f"sherl mixes layers, and {name} gives none of one width",
            expected="an encoder with the capability 'layers'",
        )
    if config.form != "pooled" and not hasattr(inner, "run_from"):
        raise ConfigError(
            f"sherl runs the last layer alone, and {name} has no method run_from(layer, hidden, batch)",
            hint="method.form=pooled, which adds to the pooled vector",
        )
    first, last = int(getattr(inner, "first_layer", 0)), int(depth)
    if last - first < 2:
        raise ConfigError(f"{name} has layers {first} to {last}: nothing to merge before the last one")
    return first, last


def _pooling_of_last(inner: nn.Module, config: SherlConfig) -> str:
    """Name of the pooling to take where the encoder's own is over all layers, of which the last alone runs here."""
    names = tuple(getattr(inner, "poolings", ()))
    if config.form == "pooled" or not names or not hasattr(inner, "pool"):
        return ""
    return "" if int(cast(Any, inner).dim) == int(cast(Any, inner).token_width()) else str(names[0])


def learning_names(inner: nn.Module, which: str) -> list[str]:
    """Names of the parameters of the last layer, and what follows it, that learn."""
    if which == "none":
        return []
    depths, deepest = layer_depths(inner)
    names = [name for name, depth in depths.items() if depth == deepest]
    if which == "all":
        return names
    return [name for name in names if isinstance(inner.get_submodule(name.rpartition(".")[0]), NORMS)]


def side_tuned(config: SherlConfig, encoder: nn.Module) -> nn.Module:
    """The encoder with its side block; one that has it keeps it.

    Raises:
        ConfigError: the block that is there has another form.
    """
    if isinstance(encoder, SideTuned):
        if (encoder.config.form, encoder.config.reduction) != (config.form, config.reduction):
            raise ConfigError(
                f"the model has a side block of form {encoder.config.form}",
                hint=f"method.form={encoder.config.form} with the same method.reduction, or start from its base model",
            )
        return encoder
    return SideTuned(encoder, config)
