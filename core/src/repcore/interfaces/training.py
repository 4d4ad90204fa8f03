"""Objectives: what they draw, compute and keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from repcore.errors import RunError
from repcore.interfaces.data import Batch
from repcore.interfaces.progress import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Draws = Mapping[str, Any]
"""All random decisions of one forward pass as device tensors (masks, noise, negatives), by name."""


@dataclass(slots=True)
class LossTerms:
    """What an objective's forward returns.

    Args:
        terms: name -> scalar tensor, each the mean over its items.
        weights: name -> factor in the total.
        total: scalar, sum of weight x term.
        counts: name -> number of items in the mean (masked tokens, pairs, ...); terms not named count ``batch.size``.
        carry: tensors for ``after_step`` (queue entries, centre statistics), without graph.
        metrics: name -> scalar to log, no gradient.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    total: Tensor
    counts: Mapping[str, Any] = field(default_factory=dict)
    carry: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, terms: Mapping[str, Tensor], weights: Mapping[str, float] | None = None, **rest: Any) -> LossTerms:
        """Terms with their weighted sum as total; weights default to 1."""
        full = {name: 1.0 if weights is None else float(weights[name]) for name in terms}
        total = sum((full[name] * value for name, value in terms.items() if full[name] != 0.0), start=0.0)
        if isinstance(total, float):
            raise RunError("an objective returned no loss term with a weight other than 0", got=", ".join(terms))
        return cls(terms=terms, weights=full, total=total, **rest)


class Objective(Protocol):
    """``nn.Module``, called as ``target(config, encoder)``; holds the encoder, heads and any teacher.

    An EMA teacher is an ordinary submodule without gradients; an external one sits in :class:`repcore.nn.Frozen`.
    Optional methods, looked for by name:

    * ``begin(start)``: once, when a new run is assembled, with :class:`repcore.training.start.RunStart`: what must be
      known of the training rows before the first step (clusters). What it finds belongs into the objective's state: a
      resumed run does not call it. (Settings with a property ``preprocessor_from``, a model folder, make a new run take
      that model's fitted preprocessor: a teacher reads what is prepared as it learned it.)
    * ``before_step(progress)``: after the backward passes, before the optimiser: gradient rules such as a frozen
      last layer.
    * ``after_step(progress, carried)``: after the optimiser: EMA, centres, queues, from what each micro-batch of the
      step carried (a sequence of ``LossTerms.carry``, those of all processes in the order of their ranks, so that
      every process keeps the same state; buffers are those of rank 0 after a step).
    * ``encoder_for_export(branch="default")``: the module that becomes the model, an EMA branch by name for example;
      without it the model is the attribute ``encoder``.
    * ``counts(batch, draws) -> Mapping[str, Tensor | int]``: ``LossTerms.counts`` before the forward pass, which makes
      gradient accumulation and multi-GPU means exact for losses over a varying number of items (without it every
      micro-batch weighs ``batch.size``).
    * ``lr_scale(name) -> float``: factor on the learning rate of one of its parameters.
    * ``parameters_by_name = True``, an attribute: its pass takes parameters by name (``torch.func.functional_call``).
      With ``trainer.strategy=fsdp`` all are whole while it computes, those of repeated blocks too, which otherwise
      would be put back in place of the given ones.
    * ``picture(batch, draws) -> Picture``: what the trained objective makes of one item (a batch of size 1, eval mode,
      no gradient): masked beside restored, matched regions. A few held-out rows of every run are drawn for its report,
      with draws as in the last step.
    """

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """ALL randomness except dropout and drop path, as tensors on the batch's device."""
        ...

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Changes no buffer except BatchNorm statistics."""
        ...

    def __call__(self, batch: Batch, draws: Draws) -> LossTerms: ...
