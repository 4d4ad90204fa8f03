"""The task of a fine-tuned model: what it predicts, its tensors, and the facts that turn outputs into answers.

In a model folder the task's tensors lie under ``task.`` in ``weights.safetensors``; ``config.json`` holds, under
``task``, the task's name and settings, its target (kind, level, classes, units) and its facts:

    thresholds      multilabel: probability above which a task is answered with yes, one a task
    temperature     class and multilabel: outputs are divided by it before they become probabilities
    conformal       scores of the validation rows from which intervals and sets of any coverage follow
    members         number of further networks of an ensemble, in ``members/<number>.safetensors``
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from repcore.config.plain import to_plain
from repcore.errors import CheckpointError
from repcore.specs import TargetSpec

PREFIX = "task."
ENCODER = "encoder."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPart:
    """A trained task on its way into a model folder.

    Args:
        name: registered full name.
        config: its config dataclass.
        target: what it predicts; names of classes or tasks, unit.
        module: the task, whose attribute ``encoder`` is the model's encoder.
        facts: see the module's head; JSON values.
        members: further tasks of an ensemble, each with an encoder of its own.
    """

    name: str
    config: Any  # the author's own dataclass
    target: TargetSpec
    module: nn.Module
    facts: Mapping[str, Any] = field(default_factory=dict)
    members: Sequence[nn.Module] = ()

    def record(self) -> dict[str, Any]:
        """What ``config.json`` says about the task."""
        return {
            "name": self.name,
            "settings": to_plain(self.config),
            "target": to_plain(dataclasses.asdict(self.target)),
            "facts": {**self.facts, "members": len(self.members)},
        }


def own_state(task: nn.Module) -> dict[str, Tensor]:
    """Tensors of a task without those of its encoder."""
    return {name: value for name, value in task.state_dict().items() if not name.startswith(ENCODER)}


def target_of(record: Mapping[str, Any]) -> TargetSpec:
    """The target from a record of :meth:`TaskPart.record`.

    Raises:
        CheckpointError: a field is missing or unknown.
    """
    try:
        fields = dict(record["target"])
        fields["names"] = tuple(fields.get("names", ()))
        fields["ids"] = tuple(fields.get("ids", ()))
        return TargetSpec(**fields)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"config.json describes the target of its task in an unknown way: {error}") from error


def load_own_state(task: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy a task's own tensors into it.

    Raises:
        CheckpointError: names or shapes differ.
    """
    own = own_state(task)
    wrong = [name for name in {*own, *state} if name not in own or name not in state]
    wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
    if wrong:
        raise CheckpointError(
            f"task tensors in {origin} do not fit the task of its config.json", differ=", ".join(sorted(set(wrong))[:6])
        )
    for name, value in own.items():
        value.copy_(state[name])
