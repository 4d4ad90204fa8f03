"""Replay of golden cMIM data through the functions that the objective calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.cmim import (
    Posterior,
    contrast,
    kl_term,
    latent_term,
    log_densities,
    masked_mean,
    posterior,
)

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    yield from _reference_stages(golden)
    yield from _sequence_stages(golden)
    yield StageResult("contrast", _contrast(golden))
    yield from _corrected_stages(golden)
    states, valid = golden.inputs["decoder_states"].double(), golden.inputs["sequence.valid"]
    yield StageResult("informative", {"informative.embedding": masked_mean(states, valid)})


def _parameters(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    values = {name: golden.weights[name] for name in golden.weights}
    values["hidden"] = golden.inputs["hidden"]
    return {name: value.to(dtype).clone().requires_grad_() for name, value in values.items()}


def _latent(golden: Golden, parameters: Mapping[str, Tensor], hidden: Tensor, noise: str) -> Posterior:
    projected = F.linear(hidden, parameters["posterior.weight"], parameters["posterior.bias"])
    drawn = golden.inputs[noise].to(projected.dtype)
    return posterior(projected, drawn, float(golden.config["latent"]["min_logvar"]))


def _nll(golden: Golden, parameters: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """Bernoulli negative log-likelihood of the stored data, summed over its dimensions, (B,)."""
    logits = F.linear(z, parameters["decoder.weight"], parameters["decoder.bias"])
    data = golden.inputs["x"].to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, data, reduction="none").sum(-1)


def _gradients(loss: Tensor, parameters: Mapping[str, Tensor], prefix: str) -> Produced:
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {f"{prefix}.grad.{name}": value for name, value in zip(parameters, found, strict=True)}


def _reference_stages(golden: Golden) -> Iterator[StageResult]:
    parameters = _parameters(golden, torch.float32)
    latent = _latent(golden, parameters, parameters["hidden"], "noise")
    log_q, log_prior = log_densities(latent)
    nll = _nll(golden, parameters, latent.z)
    term = latent_term(latent)
    loss = (nll + term).mean()
    yield StageResult(
        "posterior",
        {"reference.z": latent.z, "reference.z_mean": latent.mean, "reference.z_logvar": latent.logvar},
    )
    yield StageResult(
        "log_densities", {"reference.log_q": log_q, "reference.log_prior": log_prior, "reference.nll": nll}
    )
    yield StageResult(
        "a_mim",
        {"reference.hidden_loss": term, "reference.hidden_loss_sum": term.sum(), "reference.a_mim": loss},
    )
    yield StageResult("a_mim_gradients", _gradients(loss, parameters, "reference"))
    yield StageResult("marginal", {"marginal.loss": (nll.double() - log_prior.double()).mean()})


def _sequence_stages(golden: Golden) -> Iterator[StageResult]:
    sign = float(golden.config["sequence"]["vae_sign_reference"])
    valid = golden.inputs["sequence.valid"]

    def terms(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        parameters = _parameters(golden, dtype)
        latent = _latent(golden, parameters, golden.inputs["sequence.hidden"].to(dtype), "sequence.noise")
        return masked_mean(latent_term(latent), valid), masked_mean(kl_term(latent), valid)

    hidden_loss, divergence = terms(torch.float32)
    yield StageResult("sequence", {"sequence.hidden_loss": hidden_loss, "sequence.vae_reference": sign * divergence})
    yield StageResult("vae_corrected", {"sequence.vae_corrected": terms(torch.float64)[1]})


def _contrast(golden: Golden) -> Produced:
    """At the reference's own latents: they were the input of this stage."""
    facts = golden.config["contrast"]
    drawn = golden.outputs["reference.z"].double()
    produced: Produced = {}
    for kind in facts["negatives"]:
        for number, tau in enumerate(facts["taus"]):
            z = drawn.clone().requires_grad_()
            terms = contrast(z, float(tau), expectation=kind == "expectation")
            (gradient,) = torch.autograd.grad(terms.mean(), [z])
            produced[f"contrast.{kind}.tau{number}.terms"] = terms
            produced[f"contrast.{kind}.tau{number}.grad.z"] = gradient
    return produced


def _corrected_stages(golden: Golden) -> Iterator[StageResult]:
    facts = golden.config["corrected"]
    parameters = _parameters(golden, torch.float64)
    latent = _latent(golden, parameters, parameters["hidden"], "noise")
    nll, term = _nll(golden, parameters, latent.z).mean(), latent_term(latent).mean()
    repulsion = contrast(latent.z, float(facts["tau"]), expectation=facts["negatives"] == "expectation").mean()
    loss = nll + term + float(facts["contrast_weight"]) * repulsion
    yield StageResult(
        "corrected",
        {"corrected.nll": nll, "corrected.latent": term, "corrected.contrast": repulsion, "corrected.loss": loss},
    )
    yield StageResult("corrected_gradients", _gradients(loss, parameters, "corrected"))
