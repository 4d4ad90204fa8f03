"""Checks of draws, queues and contrasts: what is random, what is remembered, and what counts as a negative."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, Features
from repcore.testing.bfloat16 import bfloat16_autocast, bfloat16_products
from repcore.testing.check import NotJudgedError, fail
from repcore.testing.objective_teachers import teachers
from repcore.testing.subjects import ObjectiveSubject, draw, progress, rules
from repcore.testing.tensors import difference, leaves
from repcore.training.objective_rules import after_step, before_step, exported_encoder

QUEUE_WORDS = ("queue", "bank", "memory")
COUNTER_WORDS = ("pointer", "ptr", "position", "count", "filled")
SEEDS = 6
QUEUE_STEPS = 3
COLD = 0.01  # temperature at which only an equal vector weighs anything
SIGNATURE = 5e-3  # of a cross-entropy against one equal logit too many


def queues(objective: nn.Module) -> dict[str, Tensor]:
    """Buffers that remember vectors of earlier batches, by name."""
    return {
        name: one
        for name, one in objective.named_buffers()
        if one.is_floating_point()
        and one.ndim >= 2
        and any(word in name.rpartition(".")[2].lower() for word in QUEUE_WORDS)
    }


def _own_queues(objective: nn.Module) -> dict[str, Tensor]:
    found = queues(objective)
    if not found:
        raise NotJudgedError(f"no buffer is called {', '.join(QUEUE_WORDS)}")
    return found


def _step(objective: nn.Module, batch: Batch, step: int) -> None:
    """Forward, and what follows the optimiser; without an optimiser."""
    with torch.no_grad():
        terms = rules(objective)(batch, draw(objective, batch, seed=step, step=step))
        before_step(objective, progress(step))
        after_step(objective, progress(step), [terms.carry])


def draw_varies(subject: ObjectiveSubject) -> None:
    """Over several generators something drawn per item changes; the global random state changes nothing."""
    objective, batch = subject.build(), subject.batch()
    first = draw(objective, batch, seed=0)
    drawn = [path for path, one in leaves(first) if isinstance(one, Tensor) and one.numel() >= batch.size]
    torch.manual_seed(991)
    np.random.seed(991)  # noqa: NPY002 - the legacy state is what a draw must not read
    if difference(first, draw(objective, batch, seed=0)):
        fail("draw depends on the global random state; it gets a generator")
    if drawn and not any(difference(first, draw(objective, batch, seed=seed)) for seed in range(1, SEEDS)):
        fail(f"draws from {SEEDS} generators are the same ({', '.join(drawn[:3])}): the generator is not used")


def queue_moves(subject: ObjectiveSubject) -> None:
    """Every step puts new vectors into each queue, all of them finite, and other ones than the step before."""
    objective = subject.build()
    _own_queues(objective)
    new: dict[str, set[bytes]] = {}
    for step in range(QUEUE_STEPS):
        before = {name: one.clone() for name, one in queues(objective).items()}
        _step(objective, subject.batch(number=step), step)
        for name, one in queues(objective).items():
            if torch.equal(before[name], one):
                fail(f"{name} is the same after step {step}: nothing of the batch got into it")
            if not one.isfinite().all():
                fail(f"{name} holds values that are not finite after step {step}")
            now, kept = _vectors(one), new.get(name, set())
            if kept and 2 * len(kept) <= _room(one) and not kept & now:
                fail(
                    f"{name} has room for more than two batches, but step {step} overwrites all that step {step - 1} "
                    "put into it: its place does not advance"
                )
            new[name] = now - _vectors(before[name])


def _room(queue: Tensor) -> int:
    """How many vectors it holds."""
    return max(queue.numel() // queue.shape[-1], queue.shape[-1])


def _vectors(queue: Tensor) -> set[bytes]:
    """Different vectors of a queue; along its last dimension or the first, whichever is theirs: the shorter one."""
    rows = queue.detach().cpu().float().flatten(0, -2)
    rows = rows if rows.shape[0] >= rows.shape[1] else rows.mT.contiguous()
    return {one.numpy().tobytes() for one in rows}


def keys_from_teacher(subject: ObjectiveSubject) -> None:
    """What gets into a queue comes from the teacher: another student leaves it as it is, another teacher does not."""
    objective = subject.build().eval()
    _own_queues(objective)
    batch = subject.batch()
    held = {id(one) for _, module in teachers(objective) for one in module.parameters()}
    if not held:
        raise NotJudgedError("there is a queue and no teacher")
    filled = {}
    for who in ("nobody", "student", "teacher"):
        one = copy.deepcopy(objective)
        names = {name for (name, kept) in objective.named_parameters() if (id(kept) in held) == (who == "teacher")}
        if who != "nobody":
            _disturb({name: value for name, value in one.named_parameters() if name in names})
        at_rest = copy.deepcopy(objective)
        with torch.no_grad():
            terms = rules(one)(batch, draw(one, batch))
            after_step(at_rest, progress(0), [terms.carry])
        filled[who] = queues(at_rest)
    for name, kept in filled["nobody"].items():
        if not torch.equal(kept, filled["student"][name]):
            fail(f"{name} is filled with what the student makes; keys come from the teacher, or they drift every step")
        if torch.equal(kept, filled["teacher"][name]):
            fail(f"{name} does not change with the teacher: what is put into it does not come from there")


@torch.no_grad()
def _disturb(parameters: Mapping[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(17)
    for one in parameters.values():
        scale = float(one.abs().mean()) or 1.0
        one.add_(torch.randn(one.shape, generator=generator).to(one) * scale)


def positives_apart(subject: ObjectiveSubject) -> None:
    """A contrast of equal pairs costs nothing at a low temperature: the positive is not among the negatives."""
    cold = subject.with_setting("temperature", COLD)
    if cold is None:
        raise NotJudgedError("the objective has no temperature")
    for number in range(2):
        batch = cold.batch(number=number)
        values = list(batch.views.values())
        same = dataclasses.replace(batch, views=dict.fromkeys(batch.views, values[0])) if values else batch
        codes = torch.randn(batch.size, 4096, generator=torch.Generator().manual_seed(number))
        for name, value in _coded_terms(cold, same, codes).items():
            for surplus in (1, 2):
                if abs(value - math.log(1 + surplus)) < SIGNATURE and _is_pooled(cold, same, name, value):
                    fail(
                        f"{name} is {value:.4f} = ln {1 + surplus} for equal pairs at temperature {COLD}: "
                        f"each item's positive is {surplus} time(s) among its negatives"
                    )


def _is_pooled(subject: ObjectiveSubject, batch: Batch, name: str, value: float) -> bool:
    """Whether a term is of pooled vectors: another value where all items have the same one."""
    return abs(_coded_terms(subject, batch, torch.ones(batch.size, 4096))[name] - value) > SIGNATURE


def _coded_terms(subject: ObjectiveSubject, batch: Batch, codes: Tensor) -> dict[str, float]:
    """Terms where student and teachers give the same vector for an item, these codes."""
    objective = subject.build().eval()
    for module in {exported_encoder(objective), *(one for _, one in teachers(objective))}:
        module.register_forward_hook(_Coded(codes))
    with torch.no_grad():
        terms = rules(objective)(batch, draw(objective, batch))
    return {name: float(value) for name, value in terms.terms.items()}


class _Coded:
    """Replaces pooled vectors by unit vectors that only equal items share."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    def __call__(self, module: nn.Module, given: Any, found: Any) -> Any:
        if not isinstance(found, Features) or len(found.pooled) != len(self.codes):
            return None
        codes = torch.nn.functional.normalize(self.codes[:, : found.pooled.shape[1]], dim=1)
        return dataclasses.replace(found, pooled=codes.to(found.pooled))


def finite_in_bf16(subject: ObjectiveSubject) -> None:
    """Terms and gradients are finite under bfloat16 autocast."""
    objective, batch = subject.build(), subject.batch()
    draws = draw(objective, batch)
    with bfloat16_autocast():
        terms = rules(objective)(batch, draws)
    wrong = [name for name, one in {**terms.terms, "total": terms.total}.items() if not one.isfinite()]
    if wrong:
        fail(
            f"under bfloat16 autocast {', '.join(wrong)} is not finite (a mask value or an exponent beyond its range?)"
        )
    with bfloat16_products():
        terms.total.float().backward()
    wrong = [
        name for name, one in objective.named_parameters() if one.grad is not None and not one.grad.isfinite().all()
    ]
    if wrong:
        fail(f"under bfloat16 autocast the gradient of {', '.join(wrong[:4])} is not finite")
