"""Replay of golden SpecMaskGIT data through the public classes; nothing here depends on one folder's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from repcore.checkpoints.keymap import KeyMap, Rename
from repcore.interfaces import Batch, StageResult
from repcore.verification.golden import Golden
from repcore_audio.configs.spec_mask_git import DecodingConfig, MaskedCodesConfig, SpecMaskGitConfig
from repcore_audio.encoders.spec_mask_git import SpecMaskGit
from repcore_audio.layers.mask_schedules import schedule
from repcore_audio.layers.token_decoding import DecodingStep, decode, guided
from repcore_audio.layers.vector_quantiser import quantise
from repcore_audio.objectives.masked_codes import MaskedCodes

Produced = dict[str, Any]
BLOCKS = {"norm1": "attention_norm", "qkv": "attention.qkv", "proj": "attention.output", "norm2": "feed_forward_norm",
          "fc1": "feed_forward.expand", "fc2": "feed_forward.contract"}  # fmt: skip
KEYS = KeyMap(
    (
        *(Rename(f"blocks.{{i}}.{old}.{{part}}", f"blocks.{{i}}.{new}.{{part}}") for old, new in BLOCKS.items()),
        Rename("tokens", "tokens.weight"),
        *(Rename(f"{name}.{{part}}", f"{name}.{{part}}") for name in ("norm", "head", "head_norm", "condition")),
        *(Rename(name, name) for name in ("positions", "null", "logit_bias")),
    )
)
CODEBOOK = "codebook"
STARTS = {"decode": None, "extend": "extend.start", "inpaint": "inpaint.start"}


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder. No stage is fed."""
    del fed
    yield StageResult("schedules", _schedules(golden))
    encoder = _encoder(golden)
    yield from _training(golden, encoder)
    with torch.no_grad():
        yield StageResult("guidance", _guidance(golden, encoder))
        yield StageResult("features", _features(golden, encoder))
        for variant, remask in (("reference", "reference"), ("corrected", "exact")):
            for task, start in STARTS.items():
                yield from _decoding(golden, encoder, variant, remask, task, start)
    yield from _quantiser(golden)


def _schedules(golden: Golden) -> Produced:
    """Every stored schedule, by its name; ``pow0.5`` is the power 0.5."""
    points, tokens = golden.inputs["schedule_points"], golden.config["tokens"]
    produced = {}
    for stored in golden.expected("schedules"):
        kind, exponent = _named(stored.removeprefix("schedule."))
        produced[stored] = schedule(kind, points, tokens=tokens, exponent=exponent)
    return produced


def _named(name: str) -> tuple[Any, float]:
    """Kind and exponent of a schedule: ``pow0.5`` is the power 0.5."""
    return ("pow", float(name[3:])) if name.startswith("pow") and name != "pow" else (name, 2.0)


def _encoder(golden: Golden) -> SpecMaskGit:
    facts = golden.config
    encoder = SpecMaskGit(
        SpecMaskGitConfig(
            width=facts["width"], depth=facts["layers"], heads=facts["heads"], mlp_ratio=facts["mlp_ratio"],
            rows=facts["grid"][0], columns=facts["grid"][1], codes=facts["codes"],
            condition_width=facts["condition_width"],
        )
    )  # fmt: skip
    stored = {name: golden.weights[name] for name in golden.weights if name != CODEBOOK}
    ours, _ = KEYS.apply(stored, source="golden", target="encoder", expected=encoder.state_dict())
    encoder.load_state_dict(ours)
    return encoder.eval()


def _batch(golden: Golden, ids: Tensor, **more: Tensor) -> Batch:
    return Batch(inputs={"ids": ids, **more}, size=len(ids))


def _training(golden: Golden, encoder: SpecMaskGit) -> Iterator[StageResult]:
    facts, inputs = golden.config, golden.inputs
    kind, exponent = _named(facts["train_schedule"])
    config = MaskedCodesConfig(
        schedule=kind, exponent=exponent, label_smoothing=facts["label_smoothing"],
        condition_dropout=facts["condition_dropout"],
    )  # fmt: skip
    objective = MaskedCodes(config, encoder).eval()
    batch = _batch(golden, inputs["ids"], condition=inputs["condition"])
    ratio = inputs["ratio"]
    draws = {
        "ratio": ratio, "share": objective.share(ratio, torch.zeros_like(ratio).double(), inputs["ids"].shape[1]),
        "mask_scores": inputs["mask_scores"], "drop_draw": inputs["drop_draw"],
    }  # fmt: skip
    mask = objective.mask(batch, draws)
    kept = draws["drop_draw"] >= config.condition_dropout
    yield StageResult("train_mask", {"train.count": mask.sum(1), "train.mask": mask, "train.keep": kept})
    terms = objective(batch, draws)
    terms.total.backward()
    forward = {
        "train.logits": objective.logits(batch, draws, mask), "train.loss": terms.total,
        "train.accuracy": terms.metrics["masked_accuracy"],
    }  # fmt: skip
    yield StageResult("train_forward", forward)
    ours = {name: one.grad for name, one in encoder.named_parameters() if one.grad is not None}
    yield StageResult("train_gradients", {f"train.grad.{name}": one for name, one in KEYS.reverse(ours).items()})
    encoder.zero_grad()


def _predictors(golden: Golden, encoder: SpecMaskGit, ids: Tensor) -> tuple[Any, Any]:
    """Scores with the stored condition, and without."""
    batch = _batch(golden, ids, condition=golden.inputs["condition"])
    with_condition = encoder.condition_token(batch)
    without = encoder.condition_token(_batch(golden, ids))
    return (lambda tokens: encoder.predict(tokens, None, with_condition)), (
        lambda tokens: encoder.predict(tokens, None, without)
    )


def _guidance(golden: Golden, encoder: SpecMaskGit) -> Produced:
    start = golden.inputs["extend.start"]
    conditional, unconditional = (one(start) for one in _predictors(golden, encoder, start))
    mixed = guided(conditional, unconditional, golden.config["guidance"])
    return {"guidance.conditional": conditional, "guidance.unconditional": unconditional, "guidance.mixed": mixed}


def _features(golden: Golden, encoder: SpecMaskGit) -> Produced:
    features = encoder(_batch(golden, golden.inputs["ids"]))
    pooled = {f"features.{name}": encoder.pool(features, name) for name in ("mean", "bands")}
    return {"features.tokens": features.tokens["tokens"].values, **pooled}


def _decoding(
    golden: Golden, encoder: SpecMaskGit, variant: str, remask: str, task: str, start_name: str | None
) -> Iterator[StageResult]:
    facts, inputs = golden.config, golden.inputs
    start = torch.full_like(inputs["ids"], facts["mask_id"]) if start_name is None else inputs[start_name]
    kind, exponent = _named(facts["decode_schedule"])
    config = DecodingConfig(
        steps=facts["steps"], schedule=kind, exponent=exponent, temperature=facts["sampling_temperature"],
        choice_noise=facts["choice_temperature"], guidance=facts["guidance"],
        guidance_schedule=facts["guidance_schedule"], remask=remask,  # type: ignore[arg-type]
    )  # fmt: skip

    def noise(number: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        del shape
        return inputs["decode.gumbel_sample"][number], inputs["decode.gumbel_choice"][number]

    conditional, unconditional = _predictors(golden, encoder, start)
    steps = list(decode(start, facts["mask_id"], config, conditional, noise, unconditional))
    yield from _steps(f"{variant}.{task}", f"{variant}_{task}", steps, start, facts)


def _steps(
    prefix: str, stage: str, steps: list[DecodingStep], start: Tensor, facts: Mapping[str, Any]
) -> Iterator[StageResult]:
    """All steps; behind an early end nothing changes any more."""
    last = steps[-1].sampled if steps else start
    rest = DecodingStep(last, torch.zeros(start.shape), torch.zeros_like(start, dtype=torch.bool))
    every = [*steps, *[rest] * (facts["steps"] - len(steps))]
    tokens: Produced = {f"{prefix}.tokens": last}
    confidence: Produced = {}
    for number, step in enumerate(every, start=1):
        tokens |= {f"{prefix}.sampled.{number}": step.sampled, f"{prefix}.masked.{number}": step.masked}
        confidence[f"{prefix}.confidence.{number}"] = step.confidence
    yield StageResult(f"{stage}_tokens", tokens)
    yield StageResult(f"{stage}_confidence", confidence)


def _quantiser(golden: Golden) -> Iterator[StageResult]:
    latents = golden.inputs["latents"].clone().requires_grad_()
    codes = golden.weights[CODEBOOK].clone().requires_grad_()
    ids, out, loss = quantise(latents, codes, golden.config["commitment"])
    yield StageResult("quantise", {"quantise.ids": ids})
    by_latents, by_codes = torch.autograd.grad(loss, [latents, codes], retain_graph=True)
    (straight,) = torch.autograd.grad(out.square().sum(), latents)
    produced = {
        "quantised": out, "loss": loss, "grad.latents": by_latents, "grad.codebook": by_codes,
        "grad.straight_through": straight,
    }  # fmt: skip
    yield StageResult("quantise_loss", {f"quantise.{name}": value for name, value in produced.items()})
