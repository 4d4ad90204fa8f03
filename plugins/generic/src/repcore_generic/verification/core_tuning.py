"""Replay of golden Core-tuning data: mining, mixed rows, label identity, both terms and their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.core_tuning import Projector
from repcore_generic.objectives.core_tuning_loss import (
    equal_hashes,
    equal_labels,
    equal_soft_labels,
    focal_contrast,
    log_probabilities,
    mined_partners,
    mixed_rows,
)

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for variant, facts in golden.config["variants"].items():
        for kind in ("signed", "nonnegative"):
            yield from _variant(golden, variant, kind, facts)
    yield from _label_identity(golden)


def _variant(golden: Golden, variant: str, kind: str, facts: Mapping[str, Any]) -> Iterator[StageResult]:
    name = f"{variant}.{kind}"
    features = golden.inputs[f"{kind}.features"].clone().requires_grad_()
    classifier = golden.weights["classifier.weight"].clone().requires_grad_()
    projector = _projector(golden)
    partners = mined_partners(features, golden.inputs["labels"], facts["mining"])
    yield StageResult(
        f"{variant}_{kind}_mining",
        {f"{name}.hard_positive_index": partners[0], f"{name}.hard_negative_index": partners[1]},
    )
    rows = mixed_rows(
        features, golden.inputs["labels"], golden.inputs["permutation"],
        (golden.inputs["lam_negative"], golden.inputs["lam_positive"]), partners,
        floor=float(golden.config["lam_negative_floor"]), detach_originals=bool(facts["detach_originals"]),
    )  # fmt: skip
    soft = rows.soft(int(golden.config["classes"]))
    same = equal_hashes(soft) if facts["labels"] == "hash" else equal_labels(*rows[1:])
    projected, logits = projector(rows.features), rows.features @ classifier.T
    temperature = float(golden.config["temperature"])
    terms = {norm: focal_contrast(projected, same, temperature, norm) for norm in ("columns", "positives")}
    found = terms[facts["norm"]]
    classification = -(soft * F.log_softmax(logits, dim=1)).sum(1).mean()
    total = classification + float(golden.config["eta"]) * found.loss
    yield StageResult(
        f"{variant}_{kind}_positives", _stored(golden, name, {"positive_mask": same, "anchors": found.anchors})
    )
    values = {
        "mixed_features": rows.features, "mixed_targets": soft, "projected": projected, "logits": logits,
        "classification_loss": classification, "contrastive_loss": found.loss,
        "contrastive_loss_columns": terms["columns"].loss, "contrastive_loss_positives": terms["positives"].loss,
        "total_loss": total, "log_prob": log_probabilities(projected, temperature),
    }  # fmt: skip
    yield StageResult(f"{variant}_{kind}_forward", _stored(golden, name, values))
    leaves = {
        "features": features, "classifier.weight": classifier,
        **{f"contrastor.{key}": one for key, one in projector.named_parameters()},
    }  # fmt: skip
    gradients = torch.autograd.grad(total, list(leaves.values()))
    yield StageResult(
        f"{variant}_{kind}_gradients",
        {f"{name}.grad.{key}": one for key, one in zip(leaves, gradients, strict=True)},
    )


def _projector(golden: Golden) -> Projector:
    weights = {
        key.removeprefix("contrastor."): golden.weights[key] for key in golden.weights if key.startswith("contrastor.")
    }
    module = Projector(int(golden.config["width"]), int(golden.config["projection_width"]))
    module.load_state_dict(weights)
    return module


def _stored(golden: Golden, name: str, values: Mapping[str, Tensor]) -> Produced:
    """What the folder holds of a variant: each has its own norms of the contrast."""
    return {f"{name}.{key}": one for key, one in values.items() if f"{name}.{key}" in golden.outputs}


def _label_identity(golden: Golden) -> Iterator[StageResult]:
    soft, projected = golden.inputs["hash.soft_labels"], golden.inputs["hash.projected"]
    temperature = float(golden.config["temperature"])
    hashed = equal_hashes(soft)
    yield StageResult("reference_hash", {"reference.hash.positive_mask": hashed})
    loss = focal_contrast(projected, hashed, temperature, "columns").loss
    yield StageResult("reference_hash_loss", {"reference.hash.contrastive_loss": loss})
    yield StageResult("corrected_hash", {"corrected.hash.positive_mask": equal_soft_labels(soft)})
    apart = torch.zeros(4, 4, dtype=torch.bool)
    yield StageResult(
        "no_positives",
        {
            "reference.no_positives.contrastive_loss": focal_contrast(
                projected[:4], apart, temperature, "columns"
            ).loss,
            "corrected.no_positives.contrastive_loss": focal_contrast(projected[:4], apart, temperature).loss,
        },
    )
