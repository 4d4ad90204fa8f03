"""An objective that sees labels, on the machinery of fine-tuning: ``finetune --method NAME``.

The method is called ``target(config, encoder, task)`` and gives the loss of training batches; whatever it does, the
task with its encoder is what is kept, validated (by the task's plain loss, so that methods and the plain fine-tuning
are chosen and compared by one figure) and exported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.checkpoints.model_folder import ModelFolder
from repcore.config.matching import check_parts, views_for
from repcore.config.resolve import ResolvedPart, resolve_part
from repcore.config.validate import build as build_config
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Objective, Preprocessor, Progress
from repcore.registry import Entry, Registry
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.objective_rules import after_step, before_step
from repcore.training.supervised import Supervised

MISSING = -1
"""Class number of an item or element without a label."""


def learns_from_labels(entry: Entry[Any], encoder: Entry[Any], registry: Registry) -> None:
    """Whether an objective is a method of fine-tuning, for this encoder.

    Raises:
        ConfigError: it sees no labels, or needs what the encoder does not offer; names both.
    """
    if entry.spec.labels == "none":
        fitting = [one.full_name for one in registry.entries("objective", encoder.domain) if one.spec.labels != "none"]
        generic = [one.full_name for one in registry.entries("objective", "generic") if one.spec.labels != "none"]
        raise ConfigError(
            f"--method {entry.full_name} learns without labels",
            methods=", ".join(dict.fromkeys([*fitting, *generic])) or "none is installed",
            hint=f"repcore {encoder.domain} train RECIPE objective={entry.full_name}",
        )
    check_parts({"encoder": encoder, "objective": entry}, registry)


def method_views(
    method: ResolvedPart, preprocessor: Entry[Any], registry: Registry, domain: str
) -> ResolvedPart | None:
    """The views that a method asks for in this domain, with their default settings; None where it asks for none, or
    its settings do without (an attribute ``needs_views`` that is False)."""
    if not getattr(method.config, "needs_views", True):
        return None
    name = views_for(method.entry, preprocessor, registry, domain)
    return resolve_part(registry, "views", name, {}, domain) if name else None


def typed_targets(batch: Batch, target: TargetSpec, values: Tensor | None) -> Batch:
    """The batch, and its views, with labels as methods get them.

    Class labels are int64, -1 = missing (NaN, or the target's ``ignore``); of elements they are numbers into
    ``values``, the class values that the task knows. All others stay as they are (float, NaN = missing).
    """
    views = {name: typed_targets(view, target, values) for name, view in batch.views.items()}
    targets = dict(batch.targets)
    if target.kind == "class" and target.name in targets:
        targets[target.name] = class_numbers(targets[target.name], target.ignore, values)
    return dataclasses.replace(batch, views=views, targets=targets)


def class_numbers(labels: Tensor, ignore: int | None, values: Tensor | None = None) -> Tensor:
    """Class labels of any type, flat, as int64 with -1 where missing."""
    flat = labels.reshape(-1)
    known = ~torch.isnan(flat) if flat.is_floating_point() else torch.ones_like(flat, dtype=torch.bool)
    if ignore is not None:
        known = known & (flat != ignore)
    numbers = torch.where(known, flat.nan_to_num(0.0) if flat.is_floating_point() else flat, 0).long()
    if values is not None:
        same = numbers[:, None] == values.long()
        known, numbers = known & same.any(1), same.long().argmax(1)
    return torch.where(known & (numbers >= 0), numbers, MISSING)


def method_columns(method: ResolvedPart | None) -> tuple[str, ...]:
    """Names of the labels that a method reads beside its own: the attribute ``columns`` of its settings."""
    return () if method is None else tuple(getattr(method.config, "columns", ()))


def further_columns(
    encoder: nn.Module, method: ResolvedPart | None, targets: Sequence[TargetSpec]
) -> tuple[TargetSpec, ...]:
    """Labels of items that the encoder or the method reads beside the one that is learned."""
    names = {*getattr(encoder, "columns", ()), *method_columns(method)}
    return tuple(one for one in targets if one.name in names and one.level == "item")


def completed_method(
    method: ResolvedPart, target: TargetSpec, model: ModelFolder, targets: Sequence[TargetSpec]
) -> ResolvedPart:
    """The method with what the data and the model say, where it has a static ``completed``.

    That is called with the settings, the label, ``earlier`` and ``targets``, and gives the settings to train with.

    Args:
        targets: all labels of the data.
        model: that is fine-tuned; ``earlier`` are the method's settings in it, None where it did not change it.
    """
    rule = getattr(method.entry.load(), "completed", None)
    if rule is None:
        return method
    own = [one for one in model.changes if one["name"] == method.entry.full_name]
    values = {key: value for key, value in own[-1].items() if key != "name"} if own else None
    earlier = None if values is None else build_config(method.entry.load("config"), values, prefix="changes")
    return ResolvedPart(method.entry, rule(method.config, target, earlier, targets))


@dataclasses.dataclass(frozen=True, slots=True)
class MethodStart:
    """Given to a method's optional ``begin`` whenever a fine-tuning is assembled.

    Args:
        preprocessor: of the model, which prepares every batch.
        model: folder of the model that is fine-tuned.
    """

    preprocessor: Preprocessor
    model: ModelFolder


class WithMethod(Supervised):
    """A task trained by a method.

    Args:
        task: with attribute ``encoder``; what is validated and exported.
        target: the label.
        config: how the encoder is treated.
        method: the objective around the same task.
        started: as in :class:`repcore.training.supervised.Supervised`.
    """

    def __init__(
        self,
        task: nn.Module,
        target: TargetSpec,
        config: FinetuneConfig,
        method: nn.Module,
        started: str | None = None,
    ) -> None:
        super().__init__(task, target.name, config, started)
        self.method, self.spec = method, target

    def _typed(self, batch: Batch) -> Batch:
        return typed_targets(batch, self.spec, getattr(self.task, "values", None))

    @property
    def answering(self) -> nn.Module:
        """The task that is validated and kept: the method's own (of averaged weights), else the one that learns."""
        return cast(nn.Module, getattr(self.method, "answering", self.task))

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """The encoder of the task that is kept."""
        if branch != "default":
            raise ConfigError(f"a fine-tuning has no branch {branch!r}", expected="default")
        return cast(nn.Module, self.answering.encoder)

    @property
    def rules(self) -> Objective:
        """The method as the contract sees it."""
        return cast(Objective, self.method)

    def lr_scale(self, name: str) -> float:
        own = getattr(self.method, "lr_scale", None)
        factor = own(name.removeprefix("method.")) if own is not None and name.startswith("method.") else 1.0
        return super().lr_scale(name) * float(factor)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        super().draw(batch, generator, progress)
        return self.rules.draw(self._typed(batch), generator, progress) if self.training else {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        if not self.training:
            return super().counts(batch, draws)
        rule = getattr(self.method, "counts", None)
        return {} if rule is None else cast(Mapping[str, Any], rule(self._typed(batch), draws))

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        if not self.training:
            return self.plain_terms(self.answering, batch, draws)
        return self.rules(self._typed(batch), draws)

    def before_step(self, progress: Progress) -> None:
        """The method's own rule."""
        before_step(self.method, progress)

    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """The method's own rule."""
        after_step(self.method, progress, carried)
