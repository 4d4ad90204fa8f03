"""Replay of golden SSAMBA data: every stored tensor through the public classes and the published key map."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, StageResult
from repcore.specs import TargetSpec
from repcore.verification.golden import Golden
from repcore_audio.checkpoints.ssamba import KEYS, convert
from repcore_audio.configs.spectrogram import PUBLISHED_LOG_MEL
from repcore_audio.configs.ssamba import MaskedPatchesConfig, SoundTaskConfig
from repcore_audio.encoders.mamba_block import scaled_norm
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.objectives.patch_masks import HiddenPatches, legacy_cluster
from repcore_audio.objectives.ssamba import (
    CONTRASTIVE,
    RECONSTRUCTION,
    MaskedPatches,
    info_nce,
    matching_logits,
    take,
)
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.waveform import mixed_waveforms
from repcore_audio.tasks.sounds import SoundClassTask
from repcore_audio.verification.blocks import Produced, block_stages, scan_stages


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; nothing here depends on one folder's sizes. No stage is fed."""
    del fed
    yield from scan_stages(golden)
    yield from block_stages(golden)
    yield from _pretraining_stages(golden)
    yield StageResult("features", _features(golden))
    yield from _finetuning_stages(golden)
    yield StageResult("fbank", _filter_bank(golden))
    yield StageResult("legacy_mask_draws", _mask_draws(golden))


# --------------------------------------------------------------------------------------- pre-training


def _published_state(golden: Golden) -> dict[str, Tensor]:
    return {name: golden.weights[name] for name in golden.weights if name.startswith("module.")}


def _encoder(golden: Golden, **changes: Any) -> Ssamba:  # fields of the config
    """The stored encoder, read as a published checkpoint, in eval mode."""
    imported = convert(_published_state(golden), golden.path("weights.safetensors"), {})
    facts = golden.config["model"]
    published = replace(
        imported.encoder_config,
        norm_epsilon=facts["norm_epsilon"],
        direction_scale=facts["direction_scale"],
        wiring=facts["wiring"],
        double_final_norm=facts["final_norm_applications"] == 2,
    )
    encoder = Ssamba(replace(published, **changes))
    encoder.load_state_dict(imported.state)
    return encoder.eval()


def _objective(golden: Golden, encoder: Ssamba) -> MaskedPatches:
    facts = golden.config["pretrain"]
    config = MaskedPatchesConfig(
        masked_patches=facts["masked_patches"], passes="separate", temperature=facts["temperature"],
        softmax_over=facts["nce_softmax_over"], reconstruction_weight=facts["reconstruction_weight"],
    )  # fmt: skip
    objective = MaskedPatches(config, encoder)
    imported = convert(_published_state(golden), golden.path("weights.safetensors"), {})
    missing, unexpected = objective.load_state_dict(imported.heads["objective"], strict=False)
    assert not unexpected
    assert all(name.startswith("encoder.") for name in missing)
    return objective.eval()


def _pretraining_stages(golden: Golden) -> Iterator[StageResult]:
    encoder = _encoder(golden)
    objective = _objective(golden, encoder)
    spectrogram = golden.inputs["pretrain.x"].clone().requires_grad_()
    batch = Batch(inputs={"spectrogram": spectrogram}, size=len(spectrogram))
    layout = encoder.layout(batch)
    embedded, pixels = encoder.embed_patches(batch, layout), encoder.pixels(batch, layout)
    patching = {"pretrain.patch_embed": embedded}
    if golden.config["pretrain"]["targets_stored"]:
        patching["pretrain.patches"] = pixels
    yield StageResult("patching", patching)
    hidden = {}
    for term, name in ((CONTRASTIVE, "mpc"), (RECONSTRUCTION, "mpg")):
        index = golden.inputs[f"pretrain.mask_index_{name}"]
        hidden[term] = HiddenPatches(index, torch.ones_like(index, dtype=torch.bool))
    with torch.no_grad():
        features, logits = _contrastive_features(objective, embedded, layout, hidden[CONTRASTIVE], pixels)
        yield StageResult("mpc_features", features)
        yield from _contrastive_losses(objective, logits)
        drawn = hidden[RECONSTRUCTION]
        found = objective.encode_masked(embedded, layout, drawn)
        yield StageResult(
            "mpg_features",
            {
                "pretrain.mpg.norm_f_twice": _all_tokens(found),
                "pretrain.mpg.pred": objective.predict(found, drawn, RECONSTRUCTION),
            },
        )
    draws = {f"{term}_{key}": getattr(one, key) for term, one in hidden.items() for key in ("index", "counted")}
    losses = objective(batch, draws)
    yield StageResult("mpg_loss", {"pretrain.mpg.mse": losses.terms[RECONSTRUCTION].detach()})
    yield StageResult("joint_loss", {"pretrain.joint": losses.total.detach()})
    losses.total.backward()
    yield StageResult("pretrain_gradients", _gradients(golden, objective, spectrogram))


def _contrastive_features(
    objective: MaskedPatches, embedded: Tensor, layout: Any, hidden: HiddenPatches, pixels: Tensor
) -> tuple[Produced, Tensor]:
    """Inner tensors of the discriminative pass, from hooks on the blocks."""
    encoder = objective.encoder
    calls: list[tuple[Tensor, float, bool, Tensor]] = []

    def record(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        calls.append((arguments[0], arguments[1], arguments[2], output))

    handles = [block.register_forward_hook(record) for block in encoder.blocks]
    features = objective.encode_masked(embedded, layout, hidden)
    for handle in handles:
        handle.remove()
    produced: Produced = {"pretrain.mpc.tokens_in": encoder.add_positions(objective.cover(embedded, hidden), layout)}
    for number, (entering, scale, is_reversed, out) in enumerate(calls):
        turn = (1,) if is_reversed else ()
        produced[f"pretrain.mpc.layer{number}.hidden"] = out.flip(turn)
        produced[f"pretrain.mpc.layer{number}.residual"] = (entering * scale).flip(turn)
    members = calls[-2:] if encoder.config.wiring == "paired" else calls[-1:]
    joined = torch.stack([entering * scale + out for entering, scale, _, out in members]).sum(0)
    produced["pretrain.mpc.pre_norm_f"] = joined
    produced["pretrain.mpc.norm_f_once"] = scaled_norm(encoder.norm, joined, 1.0)
    produced["pretrain.mpc.norm_f_twice"] = _all_tokens(features)
    predicted = objective.predict(features, hidden, CONTRASTIVE)
    logits = matching_logits(predicted, take(pixels, hidden.index), objective.config.temperature)
    return {**produced, "pretrain.mpc.pred": predicted, "pretrain.mpc.logits": logits}, logits


def _contrastive_losses(objective: MaskedPatches, logits: Tensor) -> Iterator[StageResult]:
    counted = torch.ones(logits.shape[:2], dtype=torch.bool)
    code, code_accuracy = info_nce(logits, counted, over="predictions")
    paper, paper_accuracy = info_nce(logits, counted, over="targets")
    yield StageResult("mpc_losses", {"pretrain.mpc.nce": code, "pretrain.mpc.nce_paper_eq1": paper})
    yield StageResult("mpc_accuracy", {"pretrain.mpc.acc": code_accuracy, "pretrain.mpc.acc_paper_eq1": paper_accuracy})


def _gradients(golden: Golden, objective: MaskedPatches, spectrogram: Tensor) -> Produced:
    """Gradients of the joint loss under the published names."""
    ours = {
        name if name.startswith("encoder.") else f"objective.{name}": one for name, one in objective.named_parameters()
    }
    published = KEYS.reverse({name: one.grad for name, one in ours.items() if one.grad is not None})
    stored = golden.expected("pretrain_gradients")
    produced = {f"pretrain.grad.{name}": value for name, value in published.items()}
    produced["pretrain.grad.x"] = torch.as_tensor(spectrogram.grad)
    return {name: produced[name] for name in stored if name in produced}


def _all_tokens(features: Any) -> Tensor:
    """Class token and patches, (B, L, E)."""
    return torch.cat([features.extras["cls"][:, None], features.tokens["patches"].values], dim=1)


# ------------------------------------------------------------------------------ features, fine-tuning


def _features(golden: Golden) -> Produced:
    batch = Batch(inputs={"spectrogram": golden.inputs["pretrain.x"]}, size=len(golden.inputs["pretrain.x"]))
    produced: Produced = {}
    for wiring in golden.config["features"]["wirings"]:
        for name, double in (("once", False), ("twice", True)):
            encoder = _encoder(golden, wiring=wiring, double_final_norm=double)
            with torch.no_grad():
                produced[f"features.{wiring}.norm_f_{name}"] = _all_tokens(encoder(batch))
    return produced


def _finetuning_stages(golden: Golden) -> Iterator[StageResult]:
    facts: Mapping[str, Any] = golden.config["finetune"]
    produced: Produced = {}
    counts: Produced = {}
    for name, settings in facts.items():
        if not isinstance(settings, Mapping):
            continue
        encoder = _encoder(
            golden,
            stride_frequency=settings["stride_frequency"],
            stride_time=settings["stride_time"],
            mel_bins=settings["mel_bins"],
        )  # fmt: skip
        batch = Batch(inputs={"spectrogram": golden.inputs[f"{name}.x"]}, size=settings["batch"])
        with torch.no_grad():
            layout = encoder.layout(batch)
            features = encoder(batch)
            produced[f"{name}.pos_embed"] = encoder.position_table(layout.rows, max(layout.columns))[None]
            produced[f"{name}.tokens_norm_f_twice"] = _all_tokens(features)
            for pooling in facts["poolings"]:
                task = _task(golden, encoder, name, settings, pooling)
                produced[f"{name}.pooled_{pooling}"] = task.pooled(features)
                produced[f"{name}.logits_{pooling}"] = task(batch)
        counts[f"{name}.n_tokens"] = torch.tensor(_all_tokens(features).shape[1])
    yield StageResult("finetune", produced)
    yield StageResult("finetune_token_counts", counts)


def _task(golden: Golden, encoder: Ssamba, name: str, settings: Mapping[str, Any], pooling: str) -> SoundClassTask:
    """The fine-tuning model with the stored head."""
    target = TargetSpec("class", "class", names=tuple(str(number) for number in range(settings["classes"])))
    task = SoundClassTask(SoundTaskConfig(pooling=f"ft_{pooling}"), encoder, target)  # type: ignore[arg-type]
    prefix = f"{name}.module."
    stored = {key.removeprefix(prefix): golden.weights[key] for key in golden.weights if key.startswith(prefix)}
    head, _ = KEYS.apply(stored, source=name, target="task")
    task.classifier.load_state_dict({key.removeprefix("task.classifier."): value for key, value in head.items()})
    norm = next(part for part in task.classifier.modules() if isinstance(part, nn.LayerNorm))
    norm.eps = settings["head_norm_epsilon"]
    return task.eval()


# ------------------------------------------------------------------------------------ front end, masks


def _filter_bank(golden: Golden) -> Produced:
    facts, inputs = golden.config["fbank"], golden.inputs
    base = replace(
        PUBLISHED_LOG_MEL, sample_rate_hz=facts["sample_rate"], mel_bins=facts["mel_bins"],
        frame_length_ms=facts["frame_length_ms"], frame_shift_ms=facts["frame_shift_ms"],
    )  # fmt: skip
    wave = inputs["fbank.waveform"][0]
    front = LogMelPreprocessor(base)
    raw = front.log_mel([wave - wave.mean()])[0]
    produced: Produced = {"fbank.raw": raw}
    for name, length in facts["target_length"].items():
        identity = LogMelPreprocessor(replace(base, mean=0.0, deviation=0.5))
        produced[f"fbank.{name}.padcut"] = identity.normalised(raw, length)
        for key, figures in facts["statistics"].items():
            own = LogMelPreprocessor(replace(base, mean=figures["mean"], deviation=figures["std"]))
            produced[f"fbank.{name}.norm_{key}"] = own.normalised(raw, length)
    superb = facts["superb_variant"]
    figures = facts["statistics"][superb["statistics"]]
    other = LogMelPreprocessor(
        replace(
            base,
            mean=figures["mean"],
            deviation=figures["std"],
            normalise_before_padding=superb["normalise_before_padding"],
        )
    )
    produced["fbank.superb_variant"] = other.normalised(front.log_mel([wave])[0], superb["target_length"])
    mixed = mixed_waveforms(wave, inputs["fbank.mixup.waveform2"][0], float(inputs["fbank.mixup.lambda"]))
    produced["fbank.mixup.raw"] = front.log_mel([mixed])[0]
    return produced


def _mask_draws(golden: Golden) -> Produced:
    facts = golden.config["mask"]
    source = random.Random(facts["python_random_seed"])
    return {
        f"mask.sampler{number}": torch.tensor(
            legacy_cluster(facts["patches"], facts["patches_time"], facts["masked_patches"], source)
        )
        for number in range(facts["draws"])
    }
