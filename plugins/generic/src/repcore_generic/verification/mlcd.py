"""Replay of golden MLCD data: clustering, sampling, and every variant of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.clusters import nearest_labels, spherical_kmeans
from repcore_generic.objectives.mlcd import discriminate
from repcore_generic.objectives.mlcd_loss import (
    Margin,
    cosines,
    coupled_loss,
    log_sums,
    margin_softmax,
    sampled_centres,
)

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    yield from _clustering(golden)
    kept = sampled_centres(golden.inputs["labels"], golden.inputs["draw"], float(golden.config["sample_rate"]))
    published = sampled_centres(
        golden.inputs["labels"], golden.inputs["draw"], float(golden.config["sample_rate"]), published=True
    )
    unicom = _unicom(golden)
    kept_by_unicom = {name: value for name, value in unicom.items() if name.endswith(".kept")}
    yield StageResult("sampling", {"sample.corrected_kept": kept, "sample.reference_kept": published, **kept_by_unicom})
    for name, facts in golden.config["variants"].items():
        values, gradients = _variant(golden, name, facts, kept)
        yield StageResult(name, values)
        yield StageResult(f"{name}_gradients", gradients)
    yield StageResult("unicom", {name: one for name, one in unicom.items() if name.endswith(".loss")})
    yield StageResult("unicom_gradients", {name: one for name, one in unicom.items() if ".grad." in name})


def _clustering(golden: Golden) -> Iterator[StageResult]:
    facts = golden.config["kmeans"]
    values: Produced = {}
    assignments: Produced = {}
    for name in ("kmeans", "empty"):
        features = golden.inputs[f"{name}.features"]
        found = spherical_kmeans(features, golden.inputs[f"{name}.initial"], int(facts["iterations"]))
        inertia = found.inertia
        if len(inertia) < facts["iterations"]:  # nothing changed any more: neither would it have later
            inertia = torch.cat([inertia, inertia[-1:].expand(facts["iterations"] - len(inertia))])
        values |= {f"{name}.centres": found.centres, f"{name}.inertia": inertia}
        assignments[f"{name}.assignment"] = found.assignment
        if name == "kmeans":
            assignments["kmeans.labels"] = nearest_labels(features, found.centres, int(facts["nearest_labels"]))
    yield StageResult("kmeans", values)
    yield StageResult("kmeans_assignment", assignments)


def _parameters(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    given = {"features": golden.inputs["features"], "centres": golden.weights["centres"]}
    return {name: value.to(dtype).clone().requires_grad_() for name, value in given.items()}


def _gradients(loss: Tensor, parameters: Mapping[str, Tensor], prefix: str) -> Produced:
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {f"{prefix}.grad.{name}": value for name, value in zip(parameters, found, strict=True)}


def _variant(golden: Golden, name: str, facts: Mapping[str, Any], kept: Tensor) -> tuple[Produced, Produced]:
    parameters = _parameters(golden, torch.float64)
    margin = Margin(facts["margin_kind"], float(facts["margin"]), facts["gradient"], easy=False)
    cosine = cosines(parameters["features"], parameters["centres"])
    takes_part = torch.ones(cosine.shape[1], dtype=torch.bool)
    if facts["negatives"] == "kept":
        takes_part = torch.zeros_like(takes_part).index_fill(0, kept, True)
    pull, push = log_sums(cosine, golden.inputs["labels"], takes_part, float(facts["scale"]), margin)
    if name == "coupled":
        loss = coupled_loss(pull, push)
        values: Produced = {"coupled.loss": loss}
    else:
        parts = discriminate(
            parameters["features"], parameters["centres"], golden.inputs["labels"], takes_part, float(facts["scale"]),
            margin,
        )  # fmt: skip
        loss = parts.positive + parts.negative
        values = {f"{name}.positive": parts.positive, f"{name}.negative": parts.negative, f"{name}.loss": loss}
    return values, _gradients(loss.mean(), parameters, name)


def _unicom(golden: Golden) -> Produced:
    """The authors' head for one label an item, over all centres and over sampled ones."""
    facts = golden.config["unicom"]
    labels = golden.inputs["unicom.labels"]
    count = len(golden.weights["centres"])
    kept_by = {
        "full": torch.arange(count),
        "sampled": sampled_centres(labels, golden.inputs["draw"], float(facts["sample_rate"]), published=True),
    }
    margin = Margin("angle", float(facts["angle_margin"]), facts["gradient"], easy=False)
    produced: Produced = {}
    for name, kept in kept_by.items():
        parameters = _parameters(golden, torch.float32)
        loss = margin_softmax(
            parameters["features"], parameters["centres"], labels, kept, float(facts["scale"]), margin
        )
        prefix = f"unicom.arcface_{name}"
        produced |= {f"{prefix}.loss": loss, f"{prefix}.kept": kept, **_gradients(loss, parameters, prefix)}
    return produced
