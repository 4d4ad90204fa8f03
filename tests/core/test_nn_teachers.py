"""External teachers (Frozen) and moving-average teachers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from repcore.errors import ConfigError, RunError
from repcore.nn.ema import cosine_momentum, make_teacher, update_teacher
from repcore.nn.frozen import Frozen


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
        self.teacher = Frozen(network, "tiny", "ab" * 32)
        self.own = nn.Linear(3, 3)


def test_frozen_is_in_no_checkpoint_and_no_optimiser() -> None:
    student = Student()
    assert set(student.state_dict()) == {"own.weight", "own.bias"}
    assert len(list(student.parameters())) == 2
    assert [name for name, _ in student.named_modules()] == ["", "teacher", "own"]
    student.load_state_dict(copy.deepcopy(student.state_dict()), strict=True)
    assert student.teacher.identity() == {"name": "tiny", "sha256": "ab" * 32}


def test_frozen_stays_in_eval_and_without_gradient() -> None:
    student = Student().train()
    assert not student.teacher.module.training
    x = torch.randn(4, 3, requires_grad=True)
    first, second = student.teacher(x), student.teacher(x)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert all(not p.requires_grad for p in student.teacher.module.parameters())


def test_frozen_follows_dtype_device_and_copies() -> None:
    student = Student().to(torch.float64)
    assert student.teacher.module[0].weight.dtype == torch.float64
    assert student.to("meta").teacher.module[0].weight.device.type == "meta"
    twin = copy.deepcopy(Student())
    assert twin.teacher.module[0].weight.dtype == torch.float32


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("float_buffers", ["copy", "lerp"])
def test_teacher_update_equals_formula(float_buffers: str) -> None:
    torch.manual_seed(0)
    student, teacher = network(), network()
    student(torch.randn(8, 4))  # moves the statistics
    old = copy.deepcopy(teacher.state_dict())
    update_teacher(teacher, student, 0.9, float_buffers=float_buffers)  # type: ignore[arg-type]
    for name, value in teacher.state_dict().items():
        new = student.state_dict()[name]
        if name == "1.num_batches_tracked":
            assert int(value) == 1
        elif "running" in name and float_buffers == "copy":
            assert torch.equal(value, new)
        else:
            torch.testing.assert_close(value, 0.9 * old[name] + 0.1 * new, rtol=0, atol=1e-6)  # float32


def test_teacher_limits_and_determinism() -> None:
    torch.manual_seed(0)
    student = network()
    teacher = make_teacher(student)
    assert all(not p.requires_grad for p in teacher.parameters())
    with torch.no_grad():
        student[0].weight.add_(1.0)
    stay, follow = copy.deepcopy(teacher), copy.deepcopy(teacher)
    update_teacher(stay, student, 1.0)
    update_teacher(follow, student, 0.0)
    assert torch.equal(stay[0].weight, teacher[0].weight)
    assert torch.equal(follow[0].weight, student[0].weight)
    twice = [copy.deepcopy(teacher) for _ in range(2)]
    for one in twice:
        update_teacher(one, student, 0.37)
    assert torch.equal(twice[0][0].weight, twice[1][0].weight)


def test_teacher_must_be_a_twin() -> None:
    with pytest.raises(RunError, match=r"differ in 2 tensors"):
        update_teacher(nn.Linear(4, 4, bias=False), nn.Sequential(nn.Linear(4, 4, bias=False)), 0.5)
    with pytest.raises(ConfigError, match=r"momentum=1\.5"):
        update_teacher(network(), network(), 1.5)


def test_cosine_momentum() -> None:
    assert cosine_momentum(0.9, 1.0, 0.0) == pytest.approx(0.9)
    assert cosine_momentum(0.9, 1.0, 1.0) == pytest.approx(1.0)
    assert cosine_momentum(0.9, 1.0, 0.25) == pytest.approx(1.0 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)
    assert cosine_momentum(0.9, 1.0, 7.0) == pytest.approx(1.0)
