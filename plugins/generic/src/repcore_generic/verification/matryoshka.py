"""Replay of golden 2D Matryoshka and Espresso data through the functions that the objective calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import StageResult, Tokens
from repcore.verification.golden import Golden
from repcore_generic.objectives.layer_pooling import token_mean
from repcore_generic.objectives.matryoshka import (
    depth_terms,
    gram_compression,
    layer_weight,
    similarity_of_dimensions,
    svd_compression,
    svd_target,
)

Produced = dict[str, Any]  # tensor or number by stored name
VIEWS = ("a", "b")


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for case in golden.config["cases"]:
        loss, hidden, _ = _depth_loss(golden, case, golden.config["cases"][case], torch.float32)
        yield StageResult(f"{case}_loss", {f"{case}.loss": loss})
        yield StageResult(f"{case}_gradients", _gradients(loss, hidden, case))
    facts = golden.config["corrected"]
    loss, hidden, terms = _depth_loss(golden, facts["draws_of"], facts, torch.float64)
    yield StageResult(
        "corrected", {"corrected.loss": loss, **{f"corrected.{name}": one for name, one in terms.items()}}
    )
    yield StageResult("corrected_gradients", _gradients(loss, hidden, "corrected"))
    yield from _espresso_stages(golden)


def _hidden(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: golden.inputs[f"hidden.{name}"].to(dtype).clone().requires_grad_() for name in VIEWS}


def _pooled(golden: Golden, hidden: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    return {
        name: token_mean(Tokens(value[layer], valid=golden.inputs[f"valid.{name}"]), value.shape[1])
        for name, value in hidden.items()
    }


def _pair_loss(golden: Golden, vectors: Mapping[str, Tensor]) -> Tensor:
    """The folder's own pair loss: which b belongs to which a, by scaled cosines."""
    one, two = (F.normalize(vectors[name], dim=-1) for name in VIEWS)
    logits = float(golden.config["pair_loss"]["scale"]) * one @ two.T
    return F.cross_entropy(logits, torch.arange(len(one)))


def _depth_loss(
    golden: Golden, draws: str, facts: Mapping[str, Any], dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    config = golden.config
    hidden = _hidden(golden, dtype)
    last = hidden[VIEWS[0]].shape[0] - 1
    layers = [int(one) for one in golden.inputs[f"{draws}.layers"]]
    terms = depth_terms(
        _pooled(golden, hidden, last),
        {layer: _pooled(golden, hidden, layer) for layer in layers},
        golden.inputs[f"{draws}.widths"].tolist(),
        dict(zip(config["widths"], config["width_weights"], strict=True)),
        lambda vectors: _pair_loss(golden, vectors),
        weighting=facts["layer_weighting"], temperature=float(config["kl_temperature"]),
        offset=int(facts["weighting_offset"]), detach=bool(facts["detach_teacher"]),
        standardise=facts["kl_on"] == "row-standardised", sum_divergence=facts["kl_over"] == "sum",
    )  # fmt: skip
    weights = {"last": "last_layer_weight", "prior": "prior_layers_weight", "kl": "kl_div_weight"}
    loss = torch.stack([float(config[key]) * terms[name] for name, key in weights.items()]).sum()
    return loss, hidden, terms


def _gradients(loss: Tensor, hidden: Mapping[str, Tensor], prefix: str) -> Produced:
    found = torch.autograd.grad(loss, list(hidden.values()))
    return {f"{prefix}.grad.{name}": value for name, value in zip(hidden, found, strict=True)}


# ------------------------------------------------------------------------------------------------- Espresso


def _espresso_stages(golden: Golden) -> Iterator[StageResult]:
    facts = golden.config["espresso"]
    hidden = _hidden(golden, torch.float32)
    stored = {
        layer: (golden.inputs[f"espresso.layer{layer}.u"], golden.inputs[f"espresso.layer{layer}.s"])
        for layer in (*facts["layers"], hidden[VIEWS[0]].shape[0] - 1)
    }
    terms, _ = _espresso(golden, facts, hidden, lambda layer, rows: stored[layer])
    loss = torch.stack(list(terms.values())).sum()
    yield StageResult("espresso_loss", {"espresso.loss": loss})
    yield StageResult("espresso_gradients", _gradients(loss, hidden, "espresso"))

    exact = golden.config["espresso_exact"]
    hidden = _hidden(golden, torch.float64)
    terms, targets = _espresso(golden, exact, hidden, lambda layer, rows: _signed_svd(rows, exact["compression"]))
    loss = torch.stack(list(terms.values())).sum()
    last = hidden[VIEWS[0]].shape[0] - 1
    stored_targets = {
        "espresso_exact.layer0.target": targets[0], "espresso_exact.layerlast.target": targets[last],
    }  # fmt: skip
    named = {f"espresso_exact.{name}": value for name, value in terms.items()}
    yield StageResult("espresso_exact", {"espresso_exact.loss": loss, **named, **stored_targets})
    yield StageResult("espresso_exact_gradients", _gradients(loss, hidden, "espresso_exact"))
    yield StageResult("espresso_gram", _gram(golden))


def _signed_svd(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Leading directions with the largest entry of each positive, and their singular values."""
    directions, singular, _ = torch.linalg.svd(similarity_of_dimensions(rows.detach()))
    directions, singular = directions[:, :width], singular[:width]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return directions * largest.sign(), singular


def _espresso(
    golden: Golden, facts: Mapping[str, Any], hidden: Mapping[str, Tensor], leading: Any
) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """Terms of the loss over all layers that the case names, and the compression targets by layer."""
    width, temperature = int(facts["compression"]), float(facts["kl_temperature"])
    last = hidden[VIEWS[0]].shape[0] - 1
    targets: dict[int, Tensor] = {}

    def compressed(layer: int, pooled: Mapping[str, Tensor]) -> Tensor:
        rows = torch.cat([pooled[name] for name in VIEWS])
        directions, singular = leading(layer, rows)
        targets[layer] = svd_target(rows, directions.to(rows.dtype), singular.to(rows.dtype))
        return svd_compression(rows, width, temperature, targets[layer])

    top = _pooled(golden, hidden, last)
    prefix = {name: value[:, :width] for name, value in top.items()}
    terms = {
        "last": _pair_loss(golden, top) + _pair_loss(golden, prefix),
        "compress_last": compressed(last, top),
    }
    losses, compressions = [], []
    for layer in facts["layers"]:
        pooled = _pooled(golden, hidden, layer)
        weight = layer_weight(layer, "log")
        losses.append(weight * _pair_loss(golden, {name: value[:, :width] for name, value in pooled.items()}))
        compressions.append(weight * compressed(layer, pooled))
    terms["prior"] = torch.stack(losses).sum() / int(facts["divisor"])
    terms["compress_prior"] = torch.stack(compressions).sum() / int(facts["divisor"])
    return terms, targets


def _gram(golden: Golden) -> Produced:
    facts = golden.config["espresso_gram"]
    layer = int(facts["layer"])
    top = {
        name: value[layer].detach().clone().requires_grad_() for name, value in _hidden(golden, torch.float64).items()
    }
    pooled = [token_mean(Tokens(top[name], valid=golden.inputs[f"valid.{name}"]), len(top[name])) for name in VIEWS]
    loss = gram_compression(torch.cat(pooled), int(facts["compression"]))
    return {"espresso_gram.loss": loss, **_gradients(loss, top, "espresso_gram")}
