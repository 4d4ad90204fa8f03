"""Replay of golden ShrinkMatch data: steps with fixed weights and growing state, designed items, running shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.shrinkmatch_loss import aligned, auxiliary_head, certain_loss, next_ratio, shrunk_items

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    yield from _steps(golden)
    for variant in golden.config["variants"]:
        yield from _designed(golden, variant)
    for variant, facts in golden.config["variants"].items():
        trace = _trace(golden.inputs["certain_shares"], float(golden.config["ratio_decay"]), facts["ratio"])
        yield StageResult(f"{variant}_ratio", {f"{variant}.certain_ratio_trace": trace})


def _heads(golden: Golden) -> tuple[nn.Linear, nn.Sequential]:
    widths = [int(one) for one in golden.config["auxiliary"]["widths"]]
    linear = nn.Linear(widths[0], widths[-1])
    auxiliary = auxiliary_head(widths[0], widths[-1], widths[1], float(golden.config["auxiliary"]["slope"]))
    for part in auxiliary:
        if isinstance(part, nn.BatchNorm1d):
            part.momentum = float(golden.config["auxiliary"]["batch_norm_momentum"])
            part.eps = float(golden.config["auxiliary"]["batch_norm_epsilon"])
    for module, prefix in ((linear, "fc."), (auxiliary, "head_aux.")):
        stored = {key.removeprefix(prefix): golden.weights[key] for key in golden.weights if key.startswith(prefix)}
        fresh = {key: value for key, value in module.state_dict().items() if "running" in key or "tracked" in key}
        module.load_state_dict({**fresh, **stored})
    return linear, auxiliary.train(bool(golden.config["training_mode"]))


def _steps(golden: Golden) -> Iterator[StageResult]:
    linear, auxiliary = _heads(golden)
    means = torch.zeros(int(golden.config["alignment_length"]), int(golden.config["classes"]))
    ratio, number = torch.zeros(()), 0
    while f"step{number}.labelled" in golden.inputs:
        given = {key: golden.inputs[f"step{number}.{key}"] for key in ("labelled", "weak", "strong", "labels")}
        leaves = {
            **{key: given[key].clone().requires_grad_() for key in ("labelled", "strong")},
            **{f"fc.{key}": one for key, one in linear.named_parameters()},
            **{f"head_aux.{key}": one for key, one in auxiliary.named_parameters()},
        }
        target = linear(given["weak"]).detach().softmax(1)
        means[number % len(means)] = target.mean(0)
        if golden.config["alignment"]:
            target = aligned(target, means)
        values, chosen, ratio = _losses(golden, leaves, given["labels"], target, (linear, auxiliary), ratio, number)
        gradients = torch.autograd.grad(values["total_loss"], list(leaves.values()), allow_unused=True)
        prefix = f"reference.step{number}"
        yield StageResult(f"step{number}_choice", {f"{prefix}.{key}": one for key, one in chosen.items()})
        yield StageResult(f"step{number}", {f"{prefix}.{key}": one for key, one in values.items()})
        found = zip(leaves, gradients, strict=True)
        yield StageResult(
            f"step{number}_gradients", {f"{prefix}.grad.{key}": one for key, one in found if one is not None}
        )
        number += 1
    state = {f"reference.head_aux.{key}": one for key, one in auxiliary.state_dict().items() if "running_" in key}
    yield StageResult("state", {"reference.alignment_queue": means[:number], **state})


def _losses(
    golden: Golden,
    leaves: dict[str, Tensor],
    labels: Tensor,
    target: Tensor,
    heads: tuple[nn.Module, nn.Module],
    ratio: Tensor,
    number: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Stored values and decisions of one step, and the running share after it."""
    linear, auxiliary = heads
    labelled, strong = linear(leaves["labelled"]), linear(leaves["strong"])
    extra = auxiliary(leaves["strong"])
    found = shrunk_items(target, extra, float(golden.config["threshold"]))
    decay = torch.tensor(float(golden.config["ratio_decay"]))
    ratio = next_ratio(ratio, found.certain.float().mean(), decay, torch.tensor(number == 0))
    supervised = F.cross_entropy(labelled, labels)
    certain = certain_loss(target, strong, found.certain)
    total = supervised + certain + ratio * found.items.sum() / len(target)
    values = {
        "logits_labelled": labelled, "logits_strong": strong, "logits_auxiliary": extra, "target": target,
        "supervised_loss": supervised, "certain_loss": certain, "shrunk_sum": found.items.sum(),
        "certain_ratio": ratio, "total_loss": total,
    }  # fmt: skip
    return values, {"certain": found.certain, "first_kept": found.first_kept}, ratio


def _designed(golden: Golden, variant: str) -> Iterator[StageResult]:
    """Items made for the edges of the rule."""
    choices: Produced = {}
    produced: Produced = {}
    for name in ("case", "two_classes", "three_classes"):
        logits = golden.inputs[f"{name}.logits"].clone().requires_grad_()
        found = shrunk_items(golden.inputs[f"{name}.probabilities"], logits, float(golden.config["threshold"]))
        choices[f"{variant}.{name}.first_kept"] = found.first_kept
        (slope,) = torch.autograd.grad(found.items.sum(), logits)
        produced |= {f"{variant}.{name}.shrunk_sum": found.items.sum(), f"{variant}.{name}.grad.logits": slope}
        if f"{variant}.{name}.items" in golden.outputs:
            produced[f"{variant}.{name}.items"] = found.items
    yield StageResult(f"{variant}_case_choice", choices)
    yield StageResult(f"{variant}_case", produced)


def _trace(shares: Tensor, decay: float, kept: str) -> Tensor:
    """Running share after every step of every epoch, (epochs, steps)."""
    ratio, trace = torch.zeros(()), torch.empty_like(shares)
    for epoch, own in enumerate(shares):
        for step, share in enumerate(own):
            is_first = step == 0 and (epoch == 0 or kept != "kept")
            ratio = next_ratio(ratio, share, torch.tensor(decay), torch.tensor(is_first))
            trace[epoch, step] = ratio
    return trace
