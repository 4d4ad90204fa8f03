"""Replay of golden Hydra data: partners, gates, similarities, both reductions, gradients, and degenerate batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.hydra_loss import (
    Gate,
    PairMasks,
    gate_statistics,
    gated_similarity,
    pair_contrast,
    pair_masks,
    partner_classes,
    projector,
)

Produced = dict[str, Any]  # tensor or number by stored name
KEYS = {"filter.label_embedding.": "embedding.", "filter.mlp.": "layers."}


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for case, facts in golden.config["cases"].items():
        yield from _case(golden, case, facts)
    yield _degenerate(golden)
    yield _gate_statistics(golden)


def _modules(golden: Golden, *, product: bool) -> tuple[nn.Sequential, Gate]:
    sizes, widths = golden.config["projector"], golden.config["gate"]
    project = projector(int(golden.config["width"]), int(sizes["hidden"]), int(sizes["output"]))
    gate = Gate(
        int(golden.config["classes"]), int(widths["embedding"]), int(widths["hidden"]), int(sizes["output"]),
        product=product,
    )  # fmt: skip
    _load(
        project, {key.removeprefix("projector."): key for key in golden.weights if key.startswith("projector.")}, golden
    )
    names = {
        new + key.removeprefix(old): key for old, new in KEYS.items() for key in golden.weights if key.startswith(old)
    }
    _load(gate, names, golden)
    return project, gate


def _load(module: nn.Module, names: Mapping[str, str], golden: Golden) -> None:
    """Weights by the module's name; statistics of batch norms start at 0 and 1."""
    fresh = {key: value for key, value in module.state_dict().items() if "running" in key or "tracked" in key}
    module.load_state_dict({**fresh, **{name: golden.weights[key] for name, key in names.items()}})


def _published(name: str) -> str:
    """The published name of a gate's parameter."""
    for old, new in KEYS.items():
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def _case(golden: Golden, case: str, facts: Mapping[str, str]) -> Iterator[StageResult]:
    labels, temperature = golden.inputs["labels"], float(golden.config["temperature"])
    features = golden.inputs["features"].clone().requires_grad_()
    project, gate = _modules(golden, product=facts["gate"] == "product")
    partners = partner_classes(
        labels, facts["pairs"], golden.inputs["permutation"], golden.inputs["shift"],  # type: ignore[arg-type]
        int(golden.config["classes"]),
    )  # fmt: skip
    gates, projected = gate(labels, partners), project(features)
    similarity = gated_similarity(projected, gates, facts["normalise"].replace("_", "-"))  # type: ignore[arg-type]
    leaves = {
        "features": features,
        **{f"projector.{key}": one for key, one in project.named_parameters()},
        **{_published(key): one for key, one in gate.named_parameters()},
    }
    for variant, rules in golden.config["variants"].items():
        name = f"{variant}.{case}"
        masks = pair_masks(labels, partners, self_pairs=bool(rules["self_pairs"]))
        losses = {
            by: pair_contrast(similarity, masks, temperature, by_anchor=by == "anchors") for by in ("pairs", "anchors")
        }
        logits = F.linear(features.detach(), golden.weights["cls_head.weight"], golden.weights["cls_head.bias"])
        classification, loss = F.cross_entropy(logits, labels), losses[rules["reduction"]]
        told = {
            "partner": partners, "positive_mask": masks.positive, "negative_mask": masks.negative,
            "pairs": masks.positive.sum(), "anchors": masks.positive.any(1).sum(),
        }  # fmt: skip
        values = {
            "gate": gates, "projected": projected, "similarity": similarity, "contrastive_loss": loss,
            "classification_loss": classification, "total_loss": loss + classification,
            "contrastive_loss_pairs": losses["pairs"], "contrastive_loss_anchors": losses["anchors"],
        }  # fmt: skip
        found = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
        gradients = {f"grad.{key}": one for key, one in zip(leaves, found, strict=True)}
        yield StageResult(f"{name.replace('.', '_')}_pairs", _stored(golden, name, told))
        yield StageResult(name.replace(".", "_"), _stored(golden, name, values))
        yield StageResult(f"{name.replace('.', '_')}_gradients", _stored(golden, name, gradients))


def _stored(golden: Golden, name: str, values: Mapping[str, Tensor]) -> Produced:
    """What the folder holds of a variant."""
    return {f"{name}.{key}": one for key, one in values.items() if f"{name}.{key}" in golden.outputs}


def _degenerate(golden: Golden) -> StageResult:
    """Two classes in the batch, each the other's partner; and a partner class that is absent."""
    rows, temperature = golden.inputs["degenerate.projected"], float(golden.config["temperature"])
    labels = torch.arange(len(rows)) // (len(rows) // 2)
    similarity = gated_similarity(rows, torch.ones_like(rows), "before-gate")
    partners = {"two_classes": 1 - labels, "absent": torch.full_like(labels, 2)}
    produced: Produced = {}
    for name, classes in partners.items():
        published = pair_masks(labels, classes, self_pairs=True)
        produced[f"corrected.degenerate.{name}"] = pair_contrast(similarity, pair_masks(labels, classes), temperature)
        if name == "two_classes":
            produced["reference.degenerate.two_classes"] = pair_contrast(similarity, published, temperature)
        else:
            produced["reference.degenerate.absent_is_nan"] = _mean_of_none(published)
    return StageResult("degenerate", produced)


def _mean_of_none(masks: PairMasks) -> Tensor:
    """Whether the published mean divides 0 by 0."""
    return (torch.zeros(()) / masks.positive.sum()).isnan()


def _gate_statistics(golden: Golden) -> StageResult:
    gate = _modules(golden, product=False)[1].eval()
    classes = torch.arange(int(golden.config["classes"]))
    active, entropy = gate_statistics(gate(classes, classes))
    return StageResult("gate_statistics", {"reference.gate.activation": active, "reference.gate.entropy": entropy})
