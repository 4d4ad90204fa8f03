"""Replay of golden sparse-code data: both dictionaries, resampling, and the contrast of module codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.estimators.dictionary import (
    SparseAutoencoder,
    input_scale,
    losses,
    projected,
    quality,
    resample,
    strongest,
)
from repcore_generic.estimators.module_codes import contrast

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    valid = golden.inputs["valid"]
    tokens = golden.inputs["tokens"].double()
    scale = input_scale(tokens[valid])
    yield StageResult("input_scale", {"input_scale": scale})
    for mode in ("l1", "topk"):
        yield from _dictionary(golden, mode, tokens * scale, valid)
    model, dead = _model(golden, "topk"), golden.inputs["dead"]
    rows = torch.nonzero(valid)[:, 0]
    items = resample(model, (tokens * scale)[valid], dead, golden.inputs["resample.draw"].double())
    yield StageResult("resample_items", {"resample.items": rows[items]})
    yield StageResult(
        "resample",
        {
            "resample.encoder.weight": model.encoder.weight, "resample.encoder.bias": model.encoder.bias,
            "resample.decoder.weight": model.decoder.weight,
        },
    )  # fmt: skip
    codes = {name: golden.inputs[f"codes.{name}"].numpy() for name in ("positive", "negative", "permutations")}
    found = contrast(codes["positive"], codes["negative"], codes["permutations"])
    yield StageResult(
        "contrast",
        {
            "contrast.score": found.score, "contrast.weight": found.weight, "contrast.p_value": found.p_value,
            "contrast.edges": found.edges,
        },
    )  # fmt: skip


def _model(golden: Golden, mode: str) -> SparseAutoencoder:
    config = golden.config
    k = int(config["topk"]["k"]) if mode == "topk" else None
    model = SparseAutoencoder(int(config["width"]), int(config["features"]), k).double()
    model.load_state_dict({name: golden.weights[name].double() for name in golden.weights})
    return model


def _dictionary(golden: Golden, mode: str, tokens: Tensor, valid: Tensor) -> Iterator[StageResult]:
    facts = golden.config[mode]
    model = _model(golden, mode)
    known = tokens[valid]
    terms = losses(model, known, golden.inputs["dead"], int(facts.get("auxiliary_k", 0)))
    second, weight = (terms.sparsity, facts["weight"]) if mode == "l1" else (terms.auxiliary, facts["auxiliary_weight"])
    loss = terms.reconstruction + float(weight) * second
    loss.backward()
    features, reconstructed = (
        torch.zeros(len(tokens), one.shape[1], dtype=one.dtype).index_put((valid,), one.detach())
        for one in (terms.features, terms.reconstructed)
    )
    yield StageResult(f"{mode}_forward", {f"{mode}.features": features, f"{mode}.reconstructed": reconstructed})
    name = "sparsity" if mode == "l1" else "auxiliary"
    yield StageResult(
        f"{mode}_loss", {f"{mode}.loss": loss, f"{mode}.reconstruction": terms.reconstruction, f"{mode}.{name}": second}
    )
    gradients = {f"{mode}.grad.{key}": torch.as_tensor(one.grad) for key, one in model.named_parameters()}
    turned = projected(gradients[f"{mode}.grad.decoder.weight"], model.decoder.weight.detach())
    yield StageResult(f"{mode}_gradients", {**gradients, f"{mode}.projected_grad": turned})
    figures = quality(known, terms.features.detach(), terms.reconstructed.detach())
    yield StageResult(f"{mode}_metrics", {f"{mode}.{key}": value for key, value in figures.items()})
    codes = torch.full((len(tokens),), -1).index_put((valid,), strongest(terms.features.detach()))
    yield StageResult(f"{mode}_codes", {f"{mode}.code": codes})
