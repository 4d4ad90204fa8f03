"""Replay of golden token-alignment data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.alignment import (
    alignment_loss,
    build_projector,
    denoising_loss,
    denoising_parts,
    token_cosines,
)


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    given, target = denoising_parts(*(golden.inputs[name] for name in ("images", "noise", "time")))
    yield StageResult(
        "denoising",
        {
            "reference.model_input": given,
            "reference.denoising": denoising_loss(golden.inputs["model_output"], target),
        },
    )
    hidden, projectors = _parts(golden, torch.float32)
    loss = alignment_loss(_cosines(golden, hidden, projectors), None)
    yield StageResult("alignment", {"reference.alignment": loss})
    named = {
        f"projector{number}.{name}": value
        for number, one in enumerate(projectors)
        for name, value in one.named_parameters()
    }
    found = torch.autograd.grad(loss, [hidden, *named.values()])
    names = ["hidden", *named]
    yield StageResult(
        "alignment_gradients", {f"reference.grad.{name}": one for name, one in zip(names, found, strict=True)}
    )
    hidden, projectors = _parts(golden, torch.float64)
    cosines = _cosines(golden, hidden, projectors)
    loss = alignment_loss(cosines, golden.inputs["valid"])
    (gradient,) = torch.autograd.grad(loss, [hidden])
    yield StageResult("corrected", {"corrected.alignment": loss, "corrected.grad.hidden": gradient})
    yield StageResult("corrected_cosine", {f"corrected.cosine{number}": one for number, one in enumerate(cosines)})


def _parts(golden: Golden, dtype: torch.dtype) -> tuple[Tensor, list[nn.Sequential]]:
    config = golden.config
    hidden = golden.inputs["hidden"].to(dtype).clone().requires_grad_()
    projectors = []
    for number, width in enumerate(config["teacher_widths"]):
        one = build_projector(int(config["width"]), int(config["projector_width"]), int(width))
        prefix = f"projector{number}."
        names = [name for name in golden.weights if name.startswith(prefix)]
        one.load_state_dict({name.removeprefix(prefix): golden.weights[name] for name in names})
        projectors.append(one.to(dtype))
    return hidden, projectors


def _cosines(golden: Golden, hidden: Tensor, projectors: list[nn.Sequential]) -> list[Tensor]:
    return [
        token_cosines(one(hidden), golden.inputs[f"teacher{number}"].to(hidden.dtype))
        for number, one in enumerate(projectors)
    ]
