"""Replay of golden Metrix data: triples, distances, losses and gradients of one step, for every place and branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.metrix_loss import (
    ANCHOR_NEGATIVE,
    POSITIVE_NEGATIVE,
    Triples,
    distances,
    first_positives,
    hard_triples,
    mixed,
    mixed_loss,
    pair_loss,
    triples_at,
    usable_branch,
)

BRANCHES = {"positive_negative": POSITIVE_NEGATIVE, "anchor_negative": ANCHOR_NEGATIVE}


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for variant, rules in golden.config["variants"].items():
        for place in ("embed", "input"):
            for word, branch in BRANCHES.items():
                stage = f"{variant}_{place}_{word}"
                yield from _step(golden, f"{variant}.{place}.{word}", stage, "mixed", place, branch, rules)
    corrected = golden.config["variants"]["corrected"]
    yield from _step(
        golden, "corrected.embed.balanced", "corrected_balanced", "balanced", "embed", ANCHOR_NEGATIVE, corrected
    )
    yield from _step(
        golden, "corrected.embed.capped", "corrected_capped", "mixed", "embed", POSITIVE_NEGATIVE, corrected,
        golden.inputs["triple_subset"],
    )  # fmt: skip


def _step(
    golden: Golden,
    name: str,
    stage: str,
    batch: str,
    place: str,
    asked: int,
    rules: Mapping[str, str],
    subset: Tensor | None = None,
) -> Iterator[StageResult]:
    labels, share, margin = (
        golden.inputs[f"{batch}.labels"],
        golden.inputs["lambda"],
        float(golden.config["negative_margin"]),
    )
    leaves = {
        "inputs": golden.inputs[f"{batch}.inputs"].clone().requires_grad_(),
        **{key: golden.weights[key].clone().requires_grad_() for key in ("embedding.weight", "embedding.bias")},
    }
    inputs, weight, bias = leaves.values()
    embedded = F.linear(inputs, weight, bias)
    branch = usable_branch(labels, asked)
    assert branch is not None
    triples = _triples(embedded, labels, branch, place, rules, subset)
    mixtures = (
        mixed(embedded, triples, share) if place == "embed" else F.linear(mixed(inputs, triples, share), weight, bias)
    )
    apart = distances(embedded[triples.anchor], mixtures)
    clean, blended = pair_loss(embedded, labels, margin), mixed_loss(apart, share, margin)
    total = clean + _weight(golden, branch, place) * blended
    told = {**triples._asdict(), "branch_used": torch.tensor(branch)}
    yield StageResult(f"{stage}_triples", _stored(golden, name, told))
    values = {"distance": apart, "clean_loss": clean, "mixed_loss": blended, "total_loss": total}
    yield StageResult(stage, _stored(golden, name, values))
    found = torch.autograd.grad(total, list(leaves.values()))
    gradients = {f"grad.{key}": one for key, one in zip(leaves, found, strict=True)}
    yield StageResult(f"{stage}_gradients", _stored(golden, name, gradients))


def _triples(
    embedded: Tensor, labels: Tensor, branch: int, place: str, rules: Mapping[str, str], subset: Tensor | None
) -> Triples:
    if place == "input":
        rule = rules["hard_negatives"].replace("_", "-")
        return hard_triples(embedded, labels, branch, rule)  # type: ignore[arg-type]
    triples = triples_at(labels, branch, subset)
    if rules["positives"] == "first_repeated" and branch == POSITIVE_NEGATIVE:
        return first_positives(labels, triples)
    return triples


def _weight(golden: Golden, branch: int, place: str) -> float:
    weights = golden.config["weights"]
    return float(weights["positive_negative"] if branch == POSITIVE_NEGATIVE else weights["anchor_negative"][place])


def _stored(golden: Golden, name: str, values: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the folder holds of a step."""
    return {f"{name}.{key}": one for key, one in values.items() if f"{name}.{key}" in golden.outputs}
