"""Checks of an objective: terms, counts, gradients, randomness, teachers, and that it can be learnt at all."""

from __future__ import annotations

import fnmatch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repcore.interfaces import Batch, LossTerms
from repcore.testing.check import Check, fail
from repcore.testing.objective_queues import (
    draw_varies,
    finite_in_bf16,
    keys_from_teacher,
    positives_apart,
    queue_moves,
)
from repcore.testing.objective_teachers import (
    ema_update_value,
    mask_differs_per_item,
    mask_ratio_as_configured,
    teacher_has_no_grad,
)
from repcore.testing.picture_checks import check_picture
from repcore.testing.randomness import untouched
from repcore.testing.subjects import STEPS, ObjectiveSubject, draw, progress, rules
from repcore.testing.tensors import difference
from repcore.training.objective_rules import after_step, before_step
from repcore.training.optimisers import build_optimiser

GRADIENT_STEPS = 3  # parameters behind a zero-initialised scale get their first gradient after the first step
STEP_SIZE = 1e-2


def loss(objective: nn.Module, batch: Batch, seed: int = 0, step: int = 0) -> LossTerms:
    """Terms of a batch with draws and dropout from one seed."""
    draws = draw(objective, batch, seed, step)
    torch.manual_seed(seed)
    return rules(objective)(batch, draws)


def value_of(terms: LossTerms) -> float:
    """The total as a number."""
    return float(terms.total.detach())


def terms_sum_to_total(subject: ObjectiveSubject) -> None:
    """``total`` is the weighted sum of scalar terms."""
    terms = loss(subject.build(), subject.batch())
    for name, value in {**terms.terms, "total": terms.total}.items():
        if value.ndim != 0:
            fail(f"{name} has shape {tuple(value.shape)}; terms are scalars")
    if terms.weights.keys() != terms.terms.keys():
        fail(f"weights name {sorted(terms.weights)}, terms name {sorted(terms.terms)}")
    expected = sum(terms.weights[name] * float(value.detach().double()) for name, value in terms.terms.items())
    total = float(terms.total.detach().double())
    if abs(total - expected) > 1e-5 * max(1.0, abs(expected)):  # float32 rounding of a short sum
        fail(f"total is {total:.6g}, the weighted terms add up to {expected:.6g}")


def counts_match(subject: ObjectiveSubject) -> None:
    """``counts`` names terms, is positive, and the count announced before the pass is the one after it."""
    objective, batch = subject.build(), subject.batch()
    draws = draw(objective, batch)
    terms = rules(objective)(batch, draws)
    surplus = sorted(set(terms.counts) - set(terms.terms))
    if surplus:
        fail(f"counts name {', '.join(surplus)}, which is no term")
    if any(float(value) < 0 for value in terms.counts.values()):
        fail(f"a count is negative: {dict(terms.counts)}")
    announce = getattr(objective, "counts", None)
    if announce is None:
        return
    announced = {name: float(value) for name, value in announce(batch, draws).items()}
    counted = {name: float(value) for name, value in terms.counts.items()}
    if announced != counted:
        fail(f"counts() announces {announced}, the loss reports {counted}")


def finite_on_small_batches(subject: ObjectiveSubject) -> None:
    """Loss and gradients of one and of two items are finite."""
    for size in (1, 2):
        objective = subject.build()
        terms = loss(objective, subject.batch(size))
        terms.total.backward()
        if not terms.total.isfinite():
            fail(f"the loss of {size} item(s) is {value_of(terms)}")
        bad = [
            name for name, one in objective.named_parameters() if one.grad is not None and not one.grad.isfinite().all()
        ]
        if bad:
            fail(f"gradients of {size} item(s) are not finite: {', '.join(bad[:4])}")


def same_seed_same_loss(subject: ObjectiveSubject) -> None:
    """Draws and loss are a function of weights, batch and generator."""
    batch = subject.batch()
    first, second = subject.build(), subject.build()
    where = difference(draw(first, batch, seed=3), draw(second, batch, seed=3))
    if where:
        fail(f"two draws from one seed: {where}")
    totals = [value_of(loss(one, batch, seed=3)) for one in (first, second)]
    if totals[0] != totals[1]:
        fail(f"two passes with one seed give {totals[0]!r} and {totals[1]!r}")


def no_global_rng(subject: ObjectiveSubject) -> None:
    """All randomness comes from the generator: neither ``draw`` nor a pass in eval mode touches global state."""
    objective, batch = subject.build().eval(), subject.batch()
    with untouched("draw", "it gets a generator"):
        draws = draw(objective, batch)
    with torch.no_grad(), untouched("forward in eval mode", "move the draw into draw()"):
        rules(objective)(batch, draws)


def grad_reaches_every_parameter(subject: ObjectiveSubject) -> None:
    """Within a few steps every trainable parameter gets a gradient other than zero."""
    objective = subject.build()
    reached: set[str] = set()
    for step in range(GRADIENT_STEPS):
        objective.zero_grad(set_to_none=True)
        loss(objective, subject.batch(number=step), seed=step, step=step).total.backward()
        for name, one in objective.named_parameters():
            if one.grad is not None and bool((one.grad != 0).any()):
                reached.add(name)
                one.data.add_(one.grad, alpha=-STEP_SIZE)
    allowed = subject.entry.spec.unused_parameters_ok
    dead = [
        name
        for name, one in objective.named_parameters()
        if one.requires_grad and name not in reached and not any(fnmatch.fnmatch(name, rule) for rule in allowed)
    ]
    if dead:
        fail(f"{len(dead)} trainable parameters get no gradient: {', '.join(dead[:6])}")


def only_after_step_changes_state(subject: ObjectiveSubject) -> None:
    """A pass leaves parameters and buffers alone (BatchNorm statistics excepted): validation must change nothing."""
    objective, batch = subject.build(), subject.batch()
    statistics = {
        f"{name}.{buffer}" if name else buffer
        for name, module in objective.named_modules()
        if isinstance(module, _BatchNorm)
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    before = {name: value.detach().clone() for name, value in _state(objective).items()}
    loss(objective, batch)
    changed = [name for name, value in _state(objective).items() if difference(before[name], value.detach())]
    bad = [name for name in changed if name not in statistics]
    if bad:
        fail(f"forward changed {', '.join(bad[:4])}; state changes belong in after_step")


def picture_of_one_item(subject: ObjectiveSubject) -> None:
    """An optional ``picture`` draws one item as self-contained HTML with words, and changes nothing."""
    objective, batch = subject.build().eval(), subject.batch(1)
    drawing = getattr(objective, "picture", None)
    if drawing is None:
        return
    before = {name: value.detach().clone() for name, value in _state(objective).items()}
    with torch.no_grad():
        picture = drawing(batch, draw(objective, batch))
    check_picture(picture, "picture")
    changed = [name for name, value in _state(objective).items() if difference(before[name], value.detach())]
    if changed:
        fail(f"picture changed {', '.join(changed[:4])}")


def _state(objective: nn.Module) -> dict[str, Tensor]:
    return {**dict(objective.named_parameters()), **dict(objective.named_buffers())}


def decreases_on_tiny_data(subject: ObjectiveSubject) -> None:
    """After some steps on one batch, the trained weights fit it better than the first ones did.

    Both are measured against the final queues, centres and teachers: while those fill up, a raw loss may rise.
    """
    objective, batch = subject.build(), subject.batch()
    trainable = {name: one for name, one in objective.named_parameters() if one.requires_grad}
    first = {name: one.detach().clone() for name, one in trainable.items()}
    optimiser = build_optimiser(objective.named_parameters(), subject.optimiser, subject.decay_rule)
    for step in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        terms = loss(objective, batch, seed=step, step=step)
        terms.total.backward()
        before_step(objective, progress(step))
        optimiser.step()
        after_step(objective, progress(step), [terms.carry])
    trained = _mean_loss(objective, batch)
    with torch.no_grad():
        for name, one in trainable.items():
            one.copy_(first[name])
    untrained = _mean_loss(objective, batch)
    if not trained < untrained:
        fail(f"{STEPS} steps on one batch take the loss from {untrained:.4g} to {trained:.4g}")


@torch.no_grad()
def _mean_loss(objective: nn.Module, batch: Batch) -> float:
    """Over the draws of the last steps, so that chance masks weigh little."""
    return float(np.mean([value_of(loss(objective, batch, seed=step, step=step)) for step in range(STEPS - 5, STEPS)]))


CHECKS = (
    Check("loss-terms-sum-to-total", terms_sum_to_total),
    Check("counts-match", counts_match),
    Check("finite-on-batch-1-and-2", finite_on_small_batches, needs_rows=True),
    Check("same-seed-same-loss", same_seed_same_loss),
    Check("no-global-rng", no_global_rng),
    Check("grad-reaches-every-parameter", grad_reaches_every_parameter),
    Check("teacher-has-no-grad", teacher_has_no_grad),
    Check("ema-update-value", ema_update_value),
    Check("draw-varies", draw_varies),
    Check("terms-finite-in-bf16", finite_in_bf16),
    Check("queue-moves", queue_moves),
    Check("keys-from-the-teacher", keys_from_teacher),
    Check("positives-not-negatives", positives_apart),
    Check("picture-of-one-item", picture_of_one_item),
    Check("after-step-only-state", only_after_step_changes_state),
    Check("decreases-on-tiny-data", decreases_on_tiny_data, level="full"),
)
MASK_CHECKS = (
    Check("mask-ratio-as-configured", mask_ratio_as_configured),
    Check("mask-differs-per-item", mask_differs_per_item),
)  # due where the objective's config has a mask_ratio
