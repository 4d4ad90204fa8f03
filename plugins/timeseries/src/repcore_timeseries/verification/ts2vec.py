"""Replay of golden TS2Vec data through the public classes; nothing here depends on one folder's sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import Batch, StageResult
from repcore.verification.golden import Golden
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.configs.ts2vec import TS2VecConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.layers.pooling import centred, sliding_max
from repcore_timeseries.objectives.crops import Geometry, cropped
from repcore_timeseries.objectives.ts2vec import TS2Vec
from repcore_timeseries.objectives.ts2vec_loss import hierarchical_terms, levels
from repcore_timeseries.verification.folders import asked_for, load_part

Produced = dict[str, Any]
NAN_SHOWN_AS = -99.0  # in the stored stage ``lengths``


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    yield from asked_for(golden, _stages(golden))


def _stages(golden: Golden) -> Iterator[StageResult]:
    facts = golden.config
    encoder = DilatedEncoder(
        DilatedConfig(
            channels=facts["channels"], hidden=facts["hidden"], depth=facts["depth"], width=facts["width"],
            kernel=facts["conv_kernel"], dropout=facts["dropout"], missing="step",
        )
    )  # fmt: skip
    load_part(encoder, golden, "encoder")
    objective = TS2Vec(TS2VecConfig(), encoder).eval()
    x = golden.inputs["x"]
    batch = Batch(inputs={"values": x}, size=len(x))
    draws = _draws(golden)
    yield StageResult("crops", {f"crops.{name}": _shown(batch, draws[name]) for name in ("first", "second")})
    one, two = objective.overlaps(batch, draws)
    whole = encoder.features(encoder.steps(batch))
    last = torch.ones(x.shape[:2], dtype=torch.bool)
    last[:, -1] = False
    masked = encoder.features(encoder.steps(Batch(inputs={"values": x, "visible": last}, size=len(x))))
    yield StageResult(
        "encoder",
        {
            "encoder.first": one, "encoder.second": two,
            "encoder.unmasked": whole, "encoder.mask_last": masked,
        },
    )  # fmt: skip
    yield StageResult("loss", _losses(golden, one, two))
    yield StageResult("gradients", _gradients(golden, objective, one, two))
    yield StageResult("encode", _encoded(golden, whole))
    yield StageResult("lengths", {"lengths.centred": centred(golden.inputs["x_lengths"]).nan_to_num(NAN_SHOWN_AS)})


def _draws(golden: Golden) -> dict[str, Tensor]:
    facts, inputs = golden.config, golden.inputs
    geometry = Geometry(facts["crop_eleft"], facts["crop_left"], facts["crop_right"], facts["crop_eright"])
    first, second = geometry.indices(inputs["crop_offset"])
    masks = {f"{name}_visible": inputs[f"mask_{name}"] for name in ("first", "second")}
    return {"first": first, "second": second, "shared": first[:, -geometry.overlap :], **masks}


def _shown(batch: Batch, index: Tensor) -> Tensor:
    values: Tensor = cropped(batch, index, None).inputs["values"]
    return values.nan_to_num(0.0)


def _losses(golden: Golden, one: Tensor, two: Tensor) -> Produced:
    found = list(levels(one, two, 0))
    produced: Produced = {
        "loss.instance_levels": torch.stack([level.instance for level in found]),
        "loss.temporal_levels": torch.stack([level.temporal for level in found]),
    }
    for name in golden.outputs:
        setting = re.fullmatch(r"loss\.hierarchical_unit(\d+)_alpha([\d.]+)", name)
        if setting is not None:
            produced[name] = _hierarchical(one, two, int(setting[1]), float(setting[2]))
    produced["loss.single_item"] = _hierarchical(one[:1], two[:1], 0, TS2VecConfig().alpha)
    return produced


def _hierarchical(one: Tensor, two: Tensor, unit: int, alpha: float) -> Tensor:
    terms = hierarchical_terms(one, two, unit)
    return alpha * terms.instance + (1 - alpha) * terms.temporal


def _gradients(golden: Golden, objective: TS2Vec, one: Tensor, two: Tensor) -> Produced:
    parameters = dict(objective.encoder.named_parameters())
    loss = _hierarchical(one, two, 0, TS2VecConfig().alpha)
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {f"grad.encoder.{name}": value for name, value in zip(parameters, found, strict=True)}


def _encoded(golden: Golden, whole: Tensor) -> Produced:
    produced: Produced = {"encode.full_series": whole.amax(1)}
    for name in golden.outputs:
        window = re.fullmatch(r"encode\.window(\d+)", name)
        if window is not None:
            produced[name] = sliding_max(whole, int(window[1]))
    return produced
