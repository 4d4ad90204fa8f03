"""Replay of golden stationary data: simplex, training step with an earlier model, scores of versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from repcore.evaluation.compatibility import average_score, compatibility, identified, incompatible
from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.stationary_loss import SameClass, hoc_rows, simplex, slots_of

Produced = dict[str, Any]  # tensor or number by stored name
SAME_CLASS: Mapping[str, SameClass] = {"zero": "zero", "removed": "removed"}


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    count = int(golden.config["slots"])
    variants = golden.config["variants"]
    yield StageResult("simplex", {f"{variant}.simplex": simplex(count).float() for variant in variants})
    yield StageResult("slots", {"slots": slots_of(golden.inputs["labels"], count)})
    for variant, facts in variants.items():
        yield from _training(golden, variant, SAME_CLASS[facts["same_class_entries"]])
        yield from _metrics(golden, variant, published=facts["mode"] == "reference")
        gaps = golden.inputs["label_with_gaps"]
        produced: Produced = {}
        for name, names in (("contiguous", torch.arange(len(gaps))), ("gaps", gaps)):
            right = identified(
                golden.inputs["query.features"], names[golden.inputs["query.labels"]],
                golden.inputs["gallery.features"], names[golden.inputs["gallery.labels"]],
                by_row=facts["identification"] == "row_number_is_label",
            )  # fmt: skip
            produced[f"{variant}.identification.{name}"] = right.float().mean()
        yield StageResult(f"{variant}_identification", produced)


def _training(golden: Golden, variant: str, same_class: SameClass) -> Iterator[StageResult]:
    labels, old = golden.inputs["labels"], golden.inputs["old_features"]
    share, scale = float(golden.config["lambda"]), float(golden.config["mu"])
    weight = golden.weights["fc1.weight"].clone().requires_grad_()
    trunk = golden.inputs["trunk"].clone().requires_grad_()
    count = int(golden.config["slots"])
    features = trunk @ weight.T
    logits = float(golden.config["logit_scale"]) * features @ simplex(count).float().T
    rows = hoc_rows(old, features, labels, scale, same_class)
    classification = F.cross_entropy(logits, slots_of(labels, count))
    total = share * classification + (1.0 - share) * rows.mean()
    one_class = hoc_rows(old, features, torch.zeros_like(labels), scale, same_class).mean()
    prefix = f"{variant}.train"
    values = {
        "features": features, "logits": logits, "hoc_rows": rows, "classification_loss": classification,
        "hoc_loss": rows.mean(), "total_loss": total, "hoc_one_class": one_class,
    }  # fmt: skip
    yield StageResult(f"{variant}_train", {f"{prefix}.{key}": one for key, one in values.items()})
    found = torch.autograd.grad(total, [weight, trunk])
    names = (f"{prefix}.grad.fc1.weight", f"{prefix}.grad.trunk")
    yield StageResult(f"{variant}_gradients", dict(zip(names, found, strict=True)))
    if f"{prefix}.rows_with_negatives" in golden.outputs:
        others = (labels[:, None] != labels).any(1).sum()
        yield StageResult(f"{variant}_rows", {f"{prefix}.rows_with_negatives": others})


def _metrics(golden: Golden, variant: str, *, published: bool) -> Iterator[StageResult]:
    names = [key.removeprefix("matrix.") for key in golden.inputs if key.startswith("matrix.")]
    produced: Produced = {}
    pairs: Produced = {}
    for name in names:
        scores, prefix = golden.inputs[f"matrix.{name}"].double(), f"{variant}.metrics.{name}"
        shares = compatibility(scores)
        produced |= {
            f"{prefix}.average_accuracy": average_score(scores, published=published),
            f"{prefix}.average_compatibility": shares[-1] if len(shares) else torch.ones(()),
            f"{prefix}.compatibility_per_task": shares,
        }
        if f"{prefix}.incompatible" in golden.outputs:
            pairs[f"{prefix}.incompatible"] = incompatible(scores)
    yield StageResult(f"{variant}_metrics", produced)
    if pairs:
        yield StageResult(f"{variant}_incompatible", pairs)
