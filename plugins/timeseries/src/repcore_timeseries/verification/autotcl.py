"""Replay of golden AutoTCL data through the public classes; nothing here depends on one folder's sizes.

The joint step of training lags the published alternation by one step, so the stored rounds are replayed with one
optimiser a network, as the authors' trainer has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import Batch, Progress, StageResult
from repcore.verification.golden import Golden
from repcore_timeseries.configs.autotcl import AugmenterConfig, AutoTCLConfig
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.layers.pooling import pooled_steps
from repcore_timeseries.objectives.autotcl import AUGMENTER_PARTS, AutoTCL
from repcore_timeseries.verification.folders import asked_for, load_part

Produced = dict[str, Any]


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    yield from asked_for(golden, _published_stages(golden))
    yield from asked_for(golden, _corrected_stages(golden))


def objective_of(golden: Golden, dtype: torch.dtype, **changes: Any) -> AutoTCL:  # fields of the config
    """The stored networks in one of the two forms, in eval mode."""
    facts = golden.config
    encoder = DilatedEncoder(
        DilatedConfig(
            channels=facts["channels"], hidden=facts["hidden"], depth=facts["depth"], width=facts["width"],
            kernel=facts["conv_kernel"], kernels=tuple(facts["kernels"]), missing="step",
        )
    )  # fmt: skip
    augmenter = AugmenterConfig(
        hidden=facts["augmenter_hidden"], depth=facts["augmenter_depth"], width=facts["augmenter_width"],
        kernels=tuple(facts["kernels"]),
    )  # fmt: skip
    config = AutoTCLConfig(
        augmenter=augmenter, noise_bias=facts["noise_bias"], stretch=facts["stretch"],
        open_threshold=facts["open_threshold"], open_weight=facts["open_weight"],
        smooth_weight=facts["smooth_weight"], local_weight=facts["local_weight"],
        local_segments=facts["local_segments"], temperature=1.0 if changes else facts["corrected"]["temperature"],
        mmd_kernels=facts["mmd_kernels"],
        mmd_factor=facts["mmd_multiplier"], **changes,
    )  # fmt: skip
    objective = AutoTCL(config, encoder)
    for name in ("encoder", "augmenter", "gate", "factor"):
        load_part(getattr(objective, name), golden, name)
    objective.average.load_state_dict(objective.encoder.state_dict())
    return objective.to(dtype).eval()


def _draws(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = golden.inputs
    return {
        "noise_augmenter": inputs["gate_noise"].to(dtype),
        "noise_encoder": inputs["gate_noise_encoder"].to(dtype),
        "visible": inputs["time_mask"],
        "local_offset": inputs["local_offset"].to(dtype),
        **{name: inputs[name] for name in ("smooth_first", "smooth_second", "local_start")},
    }


def _gradients(loss: Tensor, objective: AutoTCL, prefix: str, parts: tuple[str, ...]) -> Produced:
    """Zeros for parameters that the loss does not reach."""
    named = {name: one for name, one in objective.named_parameters() if name.startswith(parts)}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        f"{prefix}.grad.{name}": torch.zeros_like(one) if value is None else value
        for (name, one), value in zip(named.items(), found, strict=True)
    }


def _augmenter_loss(objective: AutoTCL, batch: Batch, draws: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    terms = objective.augmenter_terms(objective.shown(batch, draws), objective.plan(batch), draws)
    config = objective.config
    return terms["mmd"] + config.open_weight * terms["open"] + config.smooth_weight * terms["smooth"], terms


def _encoder_loss(objective: AutoTCL, batch: Batch, draws: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    view, _ = objective.view(batch, objective.plan(batch), draws["noise_encoder"])
    terms = objective.encoder_terms(objective.shown(batch, draws), view.detach(), draws)
    return terms["global"] + objective.config.local_weight * terms["local"], terms


def _named(prefix: str, total: Tensor, terms: Mapping[str, Tensor]) -> Produced:
    return {f"{prefix}.total_loss": total, **{f"{prefix}.{name}_loss": value for name, value in terms.items()}}


# ------------------------------------------------------------------------------------------------- published


def _published_stages(golden: Golden) -> Iterator[StageResult]:
    objective = objective_of(golden, torch.float32, form="published")
    x = golden.inputs["x"]
    batch, draws = Batch(inputs={"values": x}, size=len(x)), _draws(golden, torch.float32)
    steps = objective.encoder.steps(batch)
    features = objective.encoder.features(steps)
    name = "reference.encoder"
    yield StageResult(
        "reference_encoder",
        {
            f"{name}.tcn": objective.encoder.trunk(steps),
            f"{name}.features": features,
            f"{name}.pooled": features.amax(1),
        },
    )
    yield StageResult("reference_view", _published_view(objective, batch, draws))
    loss, terms = _augmenter_loss(objective, batch, draws)
    yield StageResult("reference_augmenter", _named("reference.augmenter", loss, terms))
    yield StageResult(
        "reference_augmenter_gradients", _gradients(loss, objective, "reference.augmenter", AUGMENTER_PARTS)
    )
    hostile = objective_of(golden, torch.float32, form="published", variant="adversarial")
    adversarial = hostile.augmenter_terms(batch, hostile.plan(batch), draws)["adversarial"]
    yield StageResult("reference_adversarial", {"reference.adversarial.total_loss": adversarial})
    loss, terms = _encoder_loss(objective, batch, draws)
    yield StageResult("reference_contrast", _named("reference.contrast", loss, terms))
    yield StageResult("reference_contrast_gradients", _gradients(loss, objective, "reference.contrast", ("encoder.",)))
    yield StageResult("reference_rounds", _rounds(golden, batch, draws))


def _published_view(objective: AutoTCL, batch: Batch, draws: Mapping[str, Tensor]) -> Produced:
    plan, values = objective.plan(batch), batch.inputs["values"]
    produced: Produced = {"embedding": plan.embedding, "gate_weight": plan.keep, "factor": plan.factor}
    noisy, still = objective.gated(plan, draws["noise_augmenter"]), objective.gated(plan, None)
    for name, gate in (("hard", noisy.hard), ("soft", noisy.soft), ("evaluation", still.hard)):
        produced |= {f"{name}.gate": gate, f"{name}.view": plan.factor * gate * values}
    return {f"reference.view.{name}": value for name, value in produced.items()}


def _rounds(golden: Golden, batch: Batch, draws: Mapping[str, Tensor]) -> Produced:
    """Augmenter step, encoder step, average, again and again with the same draws."""
    facts = golden.config
    objective = objective_of(golden, torch.float32, form="published")
    augmenter = [one for name, one in objective.named_parameters() if name.startswith(AUGMENTER_PARTS)]
    optimisers = [
        torch.optim.AdamW(
            parameters, lr=rate, betas=tuple(facts["adamw"]["betas"]), eps=facts["adamw"]["eps"],
            weight_decay=facts["adamw"]["weight_decay"],
        )
        for parameters, rate in (
            (augmenter, facts["augmenter_lr"]),
            (list(objective.encoder.parameters()), facts["encoder_lr"]),
        )
    ]  # fmt: skip
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(facts["rounds"]):
        for losses, optimiser, compute in zip(found, optimisers, (_augmenter_loss, _encoder_loss), strict=True):
            optimiser.zero_grad()
            loss, _ = compute(objective, batch, draws)
            losses.append(loss.detach())
            loss.backward()
            optimiser.step()
        objective.after_step(Progress(step, facts["rounds"]), ())
    average = objective.encoder_for_export("average")
    assert isinstance(average, DilatedEncoder)
    return {
        "reference.rounds.augmenter_losses": torch.stack(found[0]),
        "reference.rounds.encoder_losses": torch.stack(found[1]),
        "reference.rounds.gate_head": objective.gate[0].weight,
        "reference.rounds.averaged_pooled": average.features(average.steps(batch)).amax(1),
    }


# ------------------------------------------------------------------------------------------------- corrected


def _corrected_stages(golden: Golden) -> Iterator[StageResult]:
    objective = objective_of(golden, torch.float64)
    x, valid = golden.inputs["x"].double(), golden.inputs["valid"]
    observed = valid[..., None].expand_as(x)
    batch = Batch(inputs={"values": x, "observed": observed}, size=len(x))
    draws = _draws(golden, torch.float64)
    yield StageResult("corrected_view", _corrected_view(objective, batch, draws))
    steps = objective.encoder.steps(objective.shown(batch, draws))
    features = objective.encoder.features(steps).masked_fill(~steps.seen[..., None], 0.0)
    yield StageResult(
        "corrected_encoder",
        {"corrected.encoder.features": features, "corrected.encoder.pooled": pooled_steps(features, valid, "max")},
    )
    everything = ("encoder.", *AUGMENTER_PARTS)
    loss, terms = _augmenter_loss(objective, batch, draws)
    yield StageResult("corrected_augmenter", _named("corrected.augmenter", loss, terms))
    yield StageResult(
        "corrected_augmenter_gradients", _gradients(loss, objective, "corrected.augmenter", AUGMENTER_PARTS)
    )
    loss, terms = _encoder_loss(objective, batch, draws)
    yield StageResult("corrected_contrast", _named("corrected.contrast", loss, terms))
    yield StageResult("corrected_contrast_gradients", _gradients(loss, objective, "corrected.contrast", everything))


def _corrected_view(objective: AutoTCL, batch: Batch, draws: Mapping[str, Tensor]) -> Produced:
    plan = objective.plan(batch)
    view, gate = objective.view(batch, plan, draws["noise_augmenter"])
    produced = {
        "gate_logit": plan.logit, "keep_probability": plan.keep, "factor": plan.factor, "gate": gate, "view": view,
        "evaluation_gate": objective.gated(plan, None).hard,
    }  # fmt: skip
    return {f"corrected.view.{name}": value for name, value in produced.items()}
