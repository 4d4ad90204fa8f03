"""Replay of golden W2v-BERT data through the public classes; nothing here depends on one folder's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import Batch, StageResult
from repcore.verification.golden import Golden
from repcore_audio.checkpoints.w2v_bert import KEYS
from repcore_audio.configs.w2v_bert import CodeTargetsConfig, W2vBertConfig
from repcore_audio.encoders.w2v_bert import W2vBert
from repcore_audio.objectives.code_quantiser import code_counts, diversity_loss, mean_choice, perplexity
from repcore_audio.objectives.span_masks import other_hidden, span_mask
from repcore_audio.objectives.w2v_bert import CONTRAST, CodeTargets, Outputs

Produced = dict[str, Any]
FRONT_END = "frontend."
PARTS = ("quantiser.", "project_context.", "project_quantised.", "head.")


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder. No stage is fed."""
    del fed
    objective = _objective(golden, _encoder(golden, "conv"))
    batch = Batch(
        inputs={"spectrogram": golden.inputs["log_mel"], "frames": golden.inputs["lengths"]},
        size=len(golden.inputs["lengths"]),
    )
    draws = _draws(golden, objective, batch)
    yield StageResult("draws", {"mask": draws["mask"], "negative_index": draws["negatives"]})
    yield StageResult("reference_encoder", _released_route(golden))
    out = objective.outputs(batch, draws)
    yield from _transformers(objective, out, draws)
    yield from _wenet(golden, objective, batch, draws)
    yield from _corrected(golden, objective, batch, draws, out)


def _encoder(golden: Golden, front_end: str) -> W2vBert:
    """The stored encoder behind one of its two front ends, in eval mode, by the published key names."""
    facts = golden.config
    config = W2vBertConfig(
        width=facts["width"], depth=facts["layers"], heads=facts["heads"], feed_forward_width=facts["ffn"],
        kernel=facts["conv_kernel"], left_positions=facts["left_positions"], right_positions=facts["right_positions"],
        mel_bins=facts["mel"], channels=facts["frontend_channels"], norm_epsilon=facts["layer_norm_eps"],
        front_end=front_end,  # type: ignore[arg-type]
    )  # fmt: skip
    encoder = W2vBert(config)
    published = {name: golden.weights[name] for name in golden.weights if name.startswith("encoder.")}
    if front_end == "stacked":
        published |= {name: golden.weights[name] for name in golden.weights if name.startswith("feature_projection.")}
    ours, _ = KEYS.apply(published, source="golden", target="encoder")
    state = {name.removeprefix("encoder."): value for name, value in ours.items()}
    if front_end == "conv":
        state |= {
            f"front_end.{name.removeprefix(FRONT_END)}": golden.weights[name]
            for name in golden.weights
            if name.startswith(FRONT_END)
        }
    encoder.load_state_dict(state)
    return encoder.eval()


def _objective(golden: Golden, encoder: W2vBert) -> CodeTargets:
    facts = golden.config
    config = CodeTargetsConfig(
        lower_layers=facts["lower_layers"], groups=facts["groups"], codebook=facts["codes"],
        code_width=facts["code_width"], contrast_width=facts["contrast_width"], negatives=facts["negatives"],
        kappa=facts["kappa"], start_probability=facts["start_probability"], span=facts["span"],
        noise=facts["mask_noise_std"], diversity_weight=facts["diversity_weight"],
        contrast_weight=facts["contrast_weight"], prediction_weight=facts["prediction_weight"],
    )  # fmt: skip
    objective = CodeTargets(config, encoder)
    stored = {name: golden.weights[name] for name in golden.weights if name.startswith(PARTS)}
    missing, unexpected = objective.load_state_dict(stored, strict=False)
    assert not unexpected
    assert all(name.startswith(("encoder.", "usage")) for name in missing)
    return objective.eval()


def _draws(golden: Golden, objective: CodeTargets, batch: Batch) -> dict[str, Tensor]:
    facts, inputs = golden.config, golden.inputs
    valid = _valid(objective.encoder.embed_tokens(batch).valid, inputs["start_uniform"])  # type: ignore[operator]
    mask = span_mask(inputs["start_uniform"], valid, facts["start_probability"], facts["span"])
    return {
        "mask": mask,
        "negatives": other_hidden(inputs["negative_uniform"], mask),
        "gumbel": inputs["gumbel"],
        "mask_noise": inputs["mask_noise"],
        "tau": torch.tensor(facts["tau"]),
        "prediction_share": torch.tensor(1.0),
    }


def _valid(valid: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones(like.shape[:2], dtype=torch.bool) if valid is None else valid


def _released_route(golden: Golden) -> Produced:
    """Stacked features through the released front end and all layers."""
    features, valid = golden.inputs["checkpoint.features"], golden.inputs["checkpoint.valid"]
    spectrogram = features.unflatten(-1, (2, -1)).flatten(1, 2)  # pairs of frames side by side to frames again
    batch = Batch(inputs={"spectrogram": spectrogram, "frames": 2 * valid.sum(1)}, size=len(features))
    encoder = _encoder(golden, "stacked")
    with torch.no_grad():
        found = encoder(batch, layers=range(encoder.depth + 1)).layers
    names = {0: "projected", **{number: f"layer_{number - 1}" for number in range(1, encoder.depth + 1)}}
    return {f"reference.encoder.{names[number]}": _zeroed(one.values, valid) for number, one in found.items()}


def _zeroed(values: Tensor, valid: Tensor, filler: float = 0) -> Tensor:
    shape = valid.shape + (1,) * (values.ndim - 2)
    return values.masked_fill(~valid.view(shape), filler)


def _transformers(objective: CodeTargets, out: Outputs, draws: Mapping[str, Tensor]) -> Iterator[StageResult]:
    """Quantiser and contrast as transformers has them: perplexities over hidden frames, summed over groups."""
    mask, codebook, quantiser = draws["mask"], objective.config.codebook, objective.quantiser
    training = perplexity(mean_choice(out.code_logits, mask))
    counts = code_counts(out.clean, mask, codebook)
    evaluation = perplexity(counts / counts.sum(-1, keepdim=True))
    produced = {
        "quantised_training": _zeroed(out.quantised, out.valid),
        "quantised_evaluation": _zeroed(quantiser.chosen(out.clean), out.valid),
        "perplexity_training": training.sum(),
        "perplexity_evaluation": evaluation.sum(),
        "diversity_loss": diversity_loss(training, codebook),
    }
    prefix = "reference.transformers."
    yield StageResult("reference_transformers_quantiser", {prefix + name: value for name, value in produced.items()})
    loss, _, _ = objective.contrast(out, draws)
    yield StageResult("reference_transformers_contrast", {f"{prefix}contrast_loss": loss.mean()})


def _wenet(golden: Golden, objective: CodeTargets, batch: Batch, draws: Mapping[str, Tensor]) -> Iterator[StageResult]:
    """The same weights with WeNet's flags: soft codes, no projections, noisy targets, a prediction that warms up."""
    facts = golden.config["wenet"]
    config = replace(
        objective.config, codes="soft", project=False, targets="sampled", prediction_warmup=facts["warmup_steps"]
    )
    other = CodeTargets(config, objective.encoder).eval()
    other.load_state_dict(objective.state_dict(), strict=False)
    share = torch.tensor(other.prediction_share(facts["step"]))
    draws = {**draws, "prediction_share": share}
    out, terms = other.outputs(batch, draws), other(batch, draws)
    used = perplexity(mean_choice(out.code_logits, out.valid)).sum()
    frames = objective.encoder.get_submodule("front_end")(batch.inputs["spectrogram"])
    penalty = frames.square().mean()  # WeNet: padding too
    yield StageResult("reference_wenet_ids", {"reference.wenet.ids": _zeroed(out.sampled, out.valid, -1)})
    produced = {
        "quantised": _zeroed(out.quantised, out.valid),
        "perplexity": used,
        "contrast_loss": terms.terms[CONTRAST],
        "diversity_loss": terms.terms["diversity"],
        "prediction_loss": terms.terms["prediction"],
        "feature_penalty": penalty,
        "total_loss": terms.total + facts["feature_penalty_weight"] * penalty,
    }
    yield StageResult("reference_wenet", {f"reference.wenet.{name}": value for name, value in produced.items()})


def _corrected(
    golden: Golden, objective: CodeTargets, batch: Batch, draws: Mapping[str, Tensor], out: Outputs
) -> Iterator[StageResult]:
    """The card's definitions: ids, quantiser, encoder, losses, gradients."""
    mask, valid, codebook = draws["mask"], out.valid, objective.config.codebook

    def named(values: Produced) -> Produced:
        return {f"corrected.{name}": value for name, value in values.items()}

    ids = {f"ids_{name}": _zeroed(one, valid, -1) for name, one in (("clean", out.clean), ("sampled", out.sampled))}
    dropped = objective.dropped(out, draws)[mask]
    yield StageResult("corrected_ids", named({**ids, "valid": valid, "dropped_negatives": dropped}))
    counts = code_counts(out.clean, valid, codebook)
    over_valid = perplexity(mean_choice(out.code_logits, valid))
    quantiser = {
        "frames": _zeroed(out.frames, valid), "code_logits": _zeroed(out.code_logits, valid),
        "quantised": _zeroed(out.quantised, valid), "perplexity_valid": over_valid,
        "perplexity_masked": perplexity(mean_choice(out.code_logits, mask)),
        "perplexity_codes": perplexity(counts / counts.sum(-1, keepdim=True)),
        "diversity_loss": diversity_loss(over_valid, codebook),
    }  # fmt: skip
    yield StageResult("corrected_quantiser", named(quantiser))
    names = {"lower": "lower", "upper": "upper", "context": "context", "targets": "targets",
             "predicted": "prediction_logits"}  # fmt: skip
    states = {new: _zeroed(getattr(out, old), valid) for old, new in names.items()}
    yield StageResult("corrected_encoder", named(states))
    yield from _losses(golden, objective, batch, draws, out)


def _losses(
    golden: Golden, objective: CodeTargets, batch: Batch, draws: Mapping[str, Tensor], out: Outputs
) -> Iterator[StageResult]:
    mask = draws["mask"]
    per_frame, _, _ = objective.contrast(out, draws)
    clean, hits = objective.prediction(out.predicted, out.clean, mask)
    sampled, _ = objective.prediction(out.predicted, out.sampled, mask)
    objective.zero_grad()
    terms = objective(batch, draws)
    terms.total.backward()
    produced = {
        "contrast_per_frame": per_frame, "contrast_loss": terms.terms[CONTRAST],
        "prediction_loss_clean": clean, "prediction_loss_sampled": sampled, "total_loss": terms.total,
        "prediction_accuracy": hits, "contrast_accuracy": terms.metrics["contrast_accuracy"],
    }  # fmt: skip
    yield StageResult("corrected_losses", {f"corrected.{name}": value for name, value in produced.items()})
    gradients = {}
    for name, parameter in objective.named_parameters():
        if parameter.grad is not None:
            stored = name.replace("encoder.front_end.", FRONT_END)
            gradients[f"corrected.grad.{stored}"] = parameter.grad
    wanted = set(golden.expected("corrected_gradients"))
    yield StageResult("corrected_gradients", {name: one for name, one in gradients.items() if name in wanted})
