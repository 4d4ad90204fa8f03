"""Checks of masks and teachers: the share that is hidden, and what an update of a moving average does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws
from repcore.nn.frozen import Frozen
from repcore.testing.check import NotJudgedError, fail
from repcore.testing.subjects import STEPS, ObjectiveSubject, as_encoder, draw, progress, rules
from repcore.testing.tensors import leaves
from repcore.training.objective_rules import after_step, before_step, exported_encoder

TEACHER_WORDS = ("teacher", "ema", "momentum_encoder", "target_encoder")
RATE_WORDS = ("momentum", "ema", "decay")
RATE_TOLERANCE = 0.02
MASK_WORDS = ("hidden", "mask", "masked")
MASK_SEEDS = 16
NUDGE = 1e-2  # random change of the student before an update, so that old and new students can be told apart
BLEND_TOLERANCE = 1e-3  # of the largest distance between teacher and student: float32 rounding of small differences


def teachers(objective: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that must not train: external ones, copies of the encoder that learns, and what is called a teacher."""
    student = _student(objective)
    for name, module in objective.named_modules():
        if isinstance(module, Frozen) or _is_copy(module, student) or _is_called_teacher(name):
            yield name, module


def _student(objective: nn.Module) -> nn.Module:
    """The exported encoder; where an average of states is exported, the module that it is the average of."""
    exported = exported_encoder(objective)
    if any(one.requires_grad for one in exported.parameters()):
        return exported
    learning = (one for one in objective.modules() if any(each.requires_grad for each in one.parameters()))
    return next((one for one in learning if _is_copy(one, exported)), exported)


def _is_copy(module: nn.Module, student: nn.Module) -> bool:
    """Of the same class and sizes, with parameters of its own: another network of the class is none."""
    if type(module) is not type(student) or module is student or _shares(module, student):
        return False
    sizes, theirs = ({name: one.shape for name, one in each.named_parameters()} for each in (module, student))
    return sizes == theirs


def _is_called_teacher(name: str) -> bool:
    last = name.rpartition(".")[2].lower()
    return any(last == one or last.startswith(f"{one}_") for one in TEACHER_WORDS)


def _shares(one: nn.Module, other: nn.Module) -> bool:
    return bool({id(part) for part in one.parameters()} & {id(part) for part in other.parameters()})


def teacher_has_no_grad(subject: ObjectiveSubject) -> None:
    """Teachers do not train: EMA copies and external ones have no trainable parameter; external ones stay in eval."""
    for name, module in teachers(subject.build()):
        if isinstance(module, Frozen):
            if module.module.training:
                fail(f"external teacher {name} is in training mode")
            continue
        training = [one for one, parameter in module.named_parameters() if parameter.requires_grad]
        if training:
            fail(f"teacher {name} has {len(training)} trainable parameters, for example {training[0]}")


def ema_update_value(subject: ObjectiveSubject) -> None:
    """``after_step`` moves a teacher to a blend of itself and the student as the optimiser left it, one share for all.

    An update before the optimiser's step, or one that lags a step behind, is no such blend.
    """
    objective, batch = subject.build(), subject.batch()
    pairs = {name: _pairs(objective, module) for name, module in teachers(objective) if not isinstance(module, Frozen)}
    rates = _rates(subject)
    shares: dict[str, list[float]] = {name: [] for name, found in pairs.items() if found}
    for step in (0, 1, STEPS // 2):
        if step > 1 and all(any(moved) for moved in shares.values()):
            break  # the last step is for those that begin late
        draws = draw(objective, batch, seed=step, step=step)
        terms = rules(objective)(batch, draws)
        objective.zero_grad(set_to_none=True)
        terms.total.backward()
        old = {name: [teacher.detach().clone() for teacher, _ in found] for name, found in pairs.items()}
        before_step(objective, progress(step))
        for name, found in pairs.items():
            if any(not torch.equal(teacher, kept) for (teacher, _), kept in zip(found, old[name], strict=True)):
                fail(f"teacher {name} changes before the optimiser's step: it follows an old student")
        _nudge(objective)
        after_step(objective, progress(step), [terms.carry])
        for name, found in pairs.items():
            if found:
                shares[name].append(_check_blend(name, old[name], found))
    for name, moved in shares.items():
        if not any(moved) and _is_called_teacher(name):
            fail(
                f"teacher {name} never moves, after steps at the beginning and in the middle of a run; one that is to "
                "stay as it is belongs into repcore.nn.frozen.Frozen"
            )
        _check_rate(name, moved[0], rates)


def _rates(subject: ObjectiveSubject) -> dict[str, float]:
    """Settings that say how much of a teacher is kept in a step, by name."""
    config = subject.config
    named = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
    return {
        name: float(value)
        for name, value in named.items()
        if isinstance(value, float) and 0.5 < value < 1.0 and any(word in name for word in RATE_WORDS)
    }


def _check_rate(name: str, share: float, rates: Mapping[str, float]) -> None:
    """A teacher with a momentum m goes the share 1 - m of the way to the student, not m."""
    for setting, value in rates.items():
        if abs(share - value) < RATE_TOLERANCE and not any(
            abs(1 - one - share) < RATE_TOLERANCE for one in rates.values()
        ):
            fail(
                f"teacher {name} goes {share:.4g} of the way to the student in a step, but {setting}={value:g} is what "
                "it keeps of itself"
            )


def _pairs(objective: nn.Module, teacher: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Parameters of a teacher beside those of the trainable module it is a copy of; empty if there is none."""
    shapes = {name: one.shape for name, one in teacher.named_parameters()}
    for module in objective.modules():
        theirs = dict(module.named_parameters())
        alike = {name: one.shape for name, one in theirs.items()} == shapes
        if alike and module is not teacher and any(one.requires_grad for one in theirs.values()):
            return [(one, theirs[name]) for name, one in teacher.named_parameters()]
    return []


@torch.no_grad()
def _nudge(objective: nn.Module) -> None:
    """As if an optimiser had made a step."""
    for one in objective.parameters():
        if one.requires_grad:
            one.add_(torch.randn_like(one), alpha=NUDGE)


def _check_blend(name: str, old: list[Tensor], pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Share of the way to the student that a teacher went; 0 if it stayed."""
    moved = [teacher.detach() - kept for (teacher, _), kept in zip(pairs, old, strict=True)]
    if not any(bool((one != 0).any()) for one in moved):
        return 0.0
    way = [student.detach() - kept for (_, student), kept in zip(pairs, old, strict=True)]
    length = sum(float(one.double().square().sum()) for one in way)
    share = sum(float((a.double() * b.double()).sum()) for a, b in zip(moved, way, strict=True)) / max(length, 1e-30)
    largest = max(float(one.abs().max()) for one in way if one.numel())
    off = max(float((a - share * b).abs().max()) for a, b in zip(moved, way, strict=True) if a.numel())
    if not -BLEND_TOLERANCE <= share <= 1.0 + BLEND_TOLERANCE or off > BLEND_TOLERANCE * largest:
        fail(
            f"teacher {name} is no blend of itself and the student after the optimiser's step: best share {share:.4g}, "
            f"largest error {off:.1e} where they are {largest:.1e} apart"
        )
    return share


def mask_ratio_as_configured(subject: ObjectiveSubject) -> None:
    """The share of True in the draw called ``hidden`` (or ``mask``) is the config's ``mask_ratio``.

    Where the encoder gives a token level of the mask's shape, only its valid tokens count.
    """
    objective, batch = subject.build(), subject.batch()
    wanted = subject.setting("mask_ratio")
    shares, tolerance = [], 0.02
    for seed in range(MASK_SEEDS):
        for value in _masks(draw(objective, batch, seed)):
            places = _places(objective, batch, value)
            shares.append(float(value.sum()) / places)
            # one element of a row by rounding, and four standard deviations of independent draws
            noise = 4.0 * (wanted * (1.0 - wanted) / (places * MASK_SEEDS)) ** 0.5
            tolerance = max(tolerance, noise, 0.5 * len(value) / places if value.ndim > 1 else 1.0 / places)
    if not shares:
        raise NotJudgedError(f"draw() gives no bool tensor called {' or '.join(MASK_WORDS)}")
    share = sum(shares) / len(shares)
    if abs(share - wanted) > tolerance:
        fail(f"{share:.3f} of the places are hidden; mask_ratio says {wanted:g} (tolerance {tolerance:.3f})")


def _masks(draws: Draws) -> list[Tensor]:
    """Bool tensors of a draw that are called masks."""
    found = [value for path, value in leaves(draws) if path.rpartition(".")[2] in MASK_WORDS]
    return [one for one in found if isinstance(one, Tensor) and one.dtype == torch.bool and one.numel()]


@torch.no_grad()
def _places(objective: nn.Module, batch: Batch, mask: Tensor) -> int:
    """How many places could be hidden: without padding where the encoder says what is padding."""
    if batch.inputs is None or mask.ndim != 2:
        return mask.numel()
    features = as_encoder(exported_encoder(objective)).forward(batch)
    for tokens in features.tokens.values():
        if tokens.valid is not None and tokens.valid.shape == mask.shape:
            return int(tokens.valid.sum())
    return mask.numel()


def mask_differs_per_item(subject: ObjectiveSubject) -> None:
    """Two items of a batch do not hide the same places every time."""
    objective, batch = subject.build(), subject.batch()
    seen = False
    for seed in range(MASK_SEEDS):
        for value in _masks(draw(objective, batch, seed)):
            if value.ndim > 1 and len(value) > 1:
                seen = True
                if any(not torch.equal(value[0], row) for row in value[1:]):
                    return
    if not seen:
        raise NotJudgedError(f"draw() gives no {' or '.join(MASK_WORDS)} tensor with a row for each item")
    fail(f"in {MASK_SEEDS} draws all items of a batch hide the same places")
