"""Methods that an objective may leave out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore.training.objective_rules import after_step, before_step, exported_encoder


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)


class Ruled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(2, 2)
        self.seen: list[object] = []

    def before_step(self, progress: Progress) -> None:
        self.seen.append(("before", progress.step))

    def after_step(self, progress: Progress, carried: object) -> None:
        self.seen.append(("after", progress.step, carried))

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        return self.teacher if branch == "teacher" else self.encoder


def test_defaults_do_nothing_and_export_the_encoder() -> None:
    objective = Plain()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    before_step(objective, Progress(0, 1))
    after_step(objective, Progress(0, 1), [{}])
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    assert exported_encoder(objective) is objective.encoder


def test_the_objectives_own_rules_are_called() -> None:
    objective = Ruled()
    before_step(objective, Progress(3, 9))
    after_step(objective, Progress(3, 9), [{"keys": 1}])
    assert objective.seen == [("before", 3), ("after", 3, [{"keys": 1}])]
    assert exported_encoder(objective, "teacher") is objective.teacher


def test_unknown_branch_and_missing_encoder_are_named() -> None:
    with pytest.raises(ConfigError, match="Plain has no branch 'teacher'"):
        exported_encoder(Plain(), "teacher")
    with pytest.raises(ConfigError, match="Linear has no encoder to export"):
        exported_encoder(nn.Linear(2, 2))
