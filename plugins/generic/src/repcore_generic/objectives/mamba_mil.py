"""Method ``generic/mamba-mil``: the task's plain loss on one vector a bag, from a frozen encoder and an aggregator.

Yang, Wang, Chen 2024 (MICCAI), "MambaMIL: Enhancing Long Sequence Modeling with Sequence Reordering in Computational
Pathology", arXiv 2403.06800. The aggregators are in :mod:`repcore_generic.layers.bag_pooling`.

Differs: several bags a step, each with its own order and mask; real instances alone are scanned; scan steps start as
Mamba's do; attention is given back (``Features.extras``); no weight decay on decay rates, skips, biases and norms.

Symbols: B bags, S instances of all bags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Progress, Task, Tokens
from repcore_generic.configs.mamba_mil import MambaMilConfig
from repcore_generic.encoders.bagged import Bagged
from repcore_generic.objectives.sherl import plain_labels


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and kernels decay; decay rates of the scan, norms and biases do not."""
    return parameter.ndim >= 2 and not name.endswith("A_log")


class MambaMil(nn.Module):
    """See the module's text.

    Args:
        config: settings.
        encoder: a :class:`repcore_generic.encoders.bagged.Bagged`.
        task: any task of items.

    Raises:
        ConfigError: the encoder has no aggregator, or the label is of elements.
    """

    def __init__(self, config: MambaMilConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__()
        target = getattr(task, "target", None)
        if getattr(target, "level", "item") != "item":
            raise ConfigError(
                f"mamba-mil learns labels of items; '{getattr(target, 'name', '')}' is one of elements",
                hint="fine-tune the encoder without a method that reads bags",
            )
        if not isinstance(encoder, Bagged):
            raise ConfigError(f"mamba-mil needs an encoder with an aggregator, not {type(encoder).__name__}")
        self.config, self.task = config, task

    @property
    def encoder(self) -> Bagged:
        """The encoder with its aggregator."""
        return cast(Bagged, self.task.encoder)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``shown`` uniform (S,): instances below ``keep`` are seen, and the smallest of each bag in any case."""
        del progress
        if self.config.keep == 1.0:
            return {}
        owner = cast(Tensor, self.encoder.instances(batch).owner)
        shown = torch.rand(len(owner), generator=generator, device=generator.device)
        return {"shown": shown.to(owner.device)}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled bags that hold an instance."""
        del draws
        return {"supervised": self._usable(batch, self.encoder.instances(batch)).sum()}

    def _usable(self, batch: Batch, found: Tokens) -> Tensor:
        """Bool (B,) or (B, K): which labels count."""
        labels = batch.targets[cast(Any, self.task).target.name]
        known = ~torch.isnan(labels) if labels.is_floating_point() else labels >= 0
        finite = torch.isfinite(found.values).all(1)
        filled = torch.bincount(cast(Tensor, found.owner)[finite], minlength=batch.size) > 0
        return known & filled.reshape(-1, *[1] * (known.ndim - 1))

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        found = self.encoder.instances(batch)
        values, owner = found.values, cast(Tensor, found.owner)
        usable = self._usable(batch, found)
        seen = torch.isfinite(values).all(1)
        if "shown" in draws:
            seen = seen & shown_instances(draws["shown"].masked_fill(~seen, 2.0), owner, batch.size, self.config.keep)
        outputs = self.task(replace(batch, inputs={"vectors": values[seen], "owner": owner[seen]}))
        labels = plain_labels(self.task, batch, outputs.dtype)
        loss = cast(Task, self.task).loss(outputs, labels.masked_fill(~usable.reshape(labels.shape), float("nan")))
        return LossTerms.of(
            {"supervised": loss}, counts={"supervised": usable.sum()}, metrics=self._figures(owner[seen])
        )

    def _figures(self, owner: Tensor) -> dict[str, Tensor]:
        """Windows a bag, and the share of them that attention is spread over (exponent of its entropy)."""
        pooled = self.encoder.seen
        if pooled is None or not len(owner):
            return {}
        counts = torch.bincount(owner).clamp(min=1).float()
        weights = pooled.attention.detach().float()
        entropy = torch.zeros_like(counts).index_add(0, owner, torch.special.entr(weights))
        return {"windows": counts.mean(), "attended_share": (entropy.exp() / counts).mean()}


def shown_instances(draws: Tensor, owner: Tensor, bags: int, keep: float) -> Tensor:
    """Bool (S,): draws below ``keep``, and the smallest of each bag."""
    least = torch.full((bags,), float("inf"), device=draws.device).scatter_reduce(0, owner, draws, "amin")
    return (draws < keep) | (draws == least[owner])
