"""Filling in unknown tokens in a few passes, the surest first.

Source: Chang et al. 2022 (MaskGIT, arXiv 2202.04200), section 3.3, public code google-research/maskgit; guidance after
Ho and Salimans 2022 (arXiv 2207.12598). Differs by default: known tokens stay, the last step leaves nothing unknown, a
batch with nothing unknown costs no pass (``remask="reference"`` is the public loop).

Symbols: B clips, L tokens, V codes, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.nn.masking import exact_count_mask
from repcore_audio.configs.spec_mask_git import DecodingConfig
from repcore_audio.layers.mask_schedules import schedule

Predict = Callable[[Tensor], Tensor]
"""Tokens (B, L), hidden ones among them, to scores (B, L, V)."""


@dataclass(slots=True)
class DecodingStep:
    """One step: tokens drawn (B, L), confidences (B, L; 0 where known), and tokens that stay unknown, bool (B, L)."""

    sampled: Tensor
    confidence: Tensor
    masked: Tensor


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """l_u + scale (l_c - l_u)."""
    return unconditional + scale * (conditional - unconditional)


def guidance_scale(config: DecodingConfig, share: float) -> float:
    """Weight of the condition after this share of the steps."""
    return 1 + (config.guidance - 1) * share if config.guidance_schedule == "linear" else config.guidance


def decode(
    start: Tensor,
    mask_id: int,
    config: DecodingConfig,
    predict: Predict,
    noise: Callable[[int, tuple[int, ...]], tuple[Tensor, Tensor]],
    unconditional: Predict | None = None,
    valid: Tensor | None = None,
) -> Iterator[DecodingStep]:
    """Steps of decoding; the tokens of the last one are the result.

    Args:
        start: int64 (B, L); unknown tokens are ``mask_id``.
        predict / unconditional: scores with and without the condition; None = no guidance.
        noise: step (from 0) and shape of the scores -> Gumbel noise (B, L, V) on scores and (B, L) on confidences.
        valid: bool (B, L); tokens that are not are left alone.
    """
    unknown = start == mask_id
    if valid is not None:
        unknown = unknown & valid
    at_first = unknown.sum(1)
    tokens = start
    is_exact = config.remask == "exact"
    for number in range(config.steps):
        if is_exact and not bool(unknown.any()):
            return
        share = (number + 1) / config.steps
        scores = predict(tokens)
        scale = guidance_scale(config, share)
        if unconditional is not None and scale != 1.0:
            scores = guided(scores, unconditional(tokens), scale)
        scores = scores / config.temperature
        drawn, chosen = noise(number, tuple(scores.shape))
        sampled = torch.where(unknown, (scores + drawn).argmax(-1), tokens)
        certainty = scores.log_softmax(-1).gather(-1, sampled.clamp(max=scores.shape[-1] - 1)[..., None])[..., 0]
        confidence = certainty + config.choice_noise * (1 - share) * chosen
        left = _left(config, share, at_first, unknown, number == config.steps - 1)
        surest_last = confidence.masked_fill(~unknown, torch.inf)
        masked = _remasked(surest_last, left, unknown, is_exact)
        yield DecodingStep(sampled, confidence.masked_fill(~unknown, 0.0), masked)
        tokens, unknown = sampled.masked_fill(masked, mask_id), masked


def _left(config: DecodingConfig, share: float, at_first: Tensor, unknown: Tensor, is_last: bool) -> Tensor:
    """Tokens of each clip that stay unknown after this step, int64 (B,)."""
    ratio = torch.tensor(share, dtype=torch.float64)
    gamma = schedule(config.schedule, ratio, tokens=unknown.shape[1], exponent=config.exponent)
    wanted = (gamma * at_first.double().cpu()).floor().long().to(at_first.device)
    if config.remask == "reference":
        return wanted.minimum(unknown.sum(1) - 1).clamp(min=1)
    if is_last:
        return torch.zeros_like(wanted)
    return wanted.minimum(unknown.sum(1) - 1).clamp(min=0)


def _remasked(confidence: Tensor, left: Tensor, unknown: Tensor, is_exact: bool) -> Tensor:
    """The ``left`` (B,) least confident tokens; the public loop hides those below the threshold, so ties hide fewer."""
    if is_exact:
        return exact_count_mask(confidence, left, unknown)
    ordered = confidence.sort(dim=1).values
    threshold = ordered.gather(1, left[:, None].clamp(max=confidence.shape[1] - 1))
    return confidence < threshold
