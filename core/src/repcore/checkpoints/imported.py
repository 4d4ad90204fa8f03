"""What a converter of published weights returns (see ``CheckpointSpec.target``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from repcore.checkpoints.keymap import LoadReport
from repcore.checkpoints.task_part import ENCODER, PREFIX, TaskPart, load_own_state, own_state
from repcore.errors import ConfigError
from repcore.registry import Registry
from repcore.specs import TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """A fine-tuned head of a published file, which becomes the task of the model.

    Args:
        name: registered task, of the layout's domain or core's.
        config: its config dataclass.
        target: what the head answers. Names that the file does not hold stay empty: classes are then numbered from 0.
        outputs: K, the number of classes, labels or values.
        state: tensors by the task's own names, without the encoder's. All parameters are needed; buffers (class
            weights, means and scales of labels) may be left out and stay as the task makes them.
        facts: see :mod:`repcore.checkpoints.task_part`.
    """

    name: str
    config: Any  # the task's own dataclass
    target: TargetSpec
    outputs: int
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Published weights in this project's form.

    Args:
        encoder_config: the encoder's config dataclass.
        state: complete state of ``encoder(encoder_config)``.
        report: what happened to every published key.
        preprocessor: a ready preprocessor that feeds the encoder as the checkpoint wants it; None when the plugin's
            default needs nothing from the file.
        preprocessor_name: registered name of that preprocessor.
        preprocessor_config: its config dataclass.
        heads: further states by part, as published: ``{"objective": {...}, "task": {...}}``. They are not written.
        task: the fine-tuned head as a task; it is written, and the model predicts.
        task_missing: why a head of the file did not become a task, and what would help.
        notices: licence and attribution of the weights, for the model card.
    """

    encoder_config: Any  # the plugin's own dataclass
    state: Mapping[str, Tensor]
    report: LoadReport
    preprocessor: Any = None  # the plugin's own class
    preprocessor_name: str = ""
    preprocessor_config: Any = None  # the plugin's own dataclass
    heads: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    task: ImportedTask | None = None
    task_missing: str = ""
    notices: str = ""


def task_part(
    given: ImportedTask,
    encoder: nn.Module,
    registry: Registry,
    domain: str,
    *,
    label: str = "",
    classes: Sequence[str] = (),
) -> TaskPart:
    """The task around its encoder, with the file's tensors.

    Args:
        label: name of what is predicted, in place of the converter's.
        classes: names of classes or labels in the order of the outputs, in place of the file's.

    Raises:
        ConfigError: another number of names than outputs. CheckpointError: tensors do not fit the task.
    """
    entry = registry.task(given.name, domain)
    target = replace(given.target, name=label or given.target.name)
    if target.kind in ("class", "multilabel"):
        names = tuple(classes) or target.names or tuple(str(number) for number in range(given.outputs))
        if len(names) != given.outputs or len(set(names)) != len(names):
            raise ConfigError(
                f"{len(names)} names of classes ({len(set(names))} different) for a head of {given.outputs} outputs",
                hint="--classes FILE with one name a line, in the order of the outputs",
            )
        target = replace(target, names=names)
    elif classes:
        raise ConfigError(f"--classes names classes, but the head of this file gives {target.kind} values")
    module: nn.Module = entry.load()(given.config, encoder, target)
    _fill(module, given.state)
    return TaskPart(name=entry.full_name, config=given.config, target=target, module=module.eval(), facts=given.facts)


def _fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """The file's tensors; buffers that it lacks stay."""
    buffers = {name for name, _ in module.named_buffers()}
    kept = {name: value for name, value in own_state(module).items() if name in buffers and name not in state}
    with torch.no_grad():
        load_own_state(module, {**kept, **state}, "the published file")


def account(imported: Imported) -> LoadReport:
    """The report of the conversion, with every converted tensor that the model folder does not hold."""
    report, names = imported.report, set(imported.state)
    prefixed = any(new.startswith(ENCODER) and new.removeprefix(ENCODER) in names for new in report.renamed.values())
    written = {f"{ENCODER}{name}" for name in names} if prefixed else names
    head = set() if imported.task is None else set(imported.task.state)
    written |= head | {f"{PREFIX}{name}" for name in head}
    for old, new in report.renamed.items():
        if new not in written:
            is_head = imported.task_missing and new.startswith((PREFIX, "classifier."))
            report.unwritten[old] = imported.task_missing if is_head else "of another part than encoder and task"
    return report
