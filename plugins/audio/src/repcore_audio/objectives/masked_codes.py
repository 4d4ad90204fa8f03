"""SpecMaskGIT's training: predict the codes of hidden tokens, of a share that is drawn anew for every clip.

Source: Comunita et al. 2024 (arXiv 2406.17672); Chang et al. 2022 (MaskGIT, arXiv 2202.04200); method card.

Symbols: B clips, L tokens, V codes, X numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.training.start import RunStart
from repcore_audio.configs.spec_mask_git import MaskedCodesConfig
from repcore_audio.encoders.spec_mask_git import SpecMaskGit
from repcore_audio.layers.mask_schedules import (
    GAUSSIAN_DEVIATION,
    GAUSSIAN_LOWEST,
    GAUSSIAN_MEAN,
    LEAST_SHARE,
    hidden_counts,
    hidden_tokens,
    schedule,
)
from repcore_audio.objectives.code_quantiser import perplexity

TERM = "masked"
QUARTERS = 4
COLLAPSED_SHARE = 0.1  # of the codebook


class MaskedCodes(nn.Module):
    """Objective ``audio/spec-mask-git``.

    Args:
        config: masks and loss.
        encoder: becomes part of this module.

    Call:
        draws: ``ratio`` (B,), ``mask_scores`` (B, L), ``drop_draw`` (B,), all uniform; ``share`` float64 (B,).
    Returns:
        term ``masked``: mean over all hidden tokens of the batch of the smoothed cross-entropy; terms ``hidden_...`` of
        weight 0: the plain one by quarter of the hidden share of a clip; metrics: the plain one over all, beside what
        frequencies of codes alone give.
    """

    code_frequencies: Tensor
    patches: Tensor

    def __init__(self, config: MaskedCodesConfig, encoder: SpecMaskGit) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        shape = (encoder.rows * encoder.grid_columns, encoder.codes)
        self.register_buffer("code_frequencies", torch.ones(shape))  # counts of the training split, 1 added
        self.register_buffer("patches", torch.zeros(encoder.codes, encoder.config.patch_size or 1))

    # --------------------------------------------------------------------------------------- start

    @torch.no_grad()
    def begin(self, start: RunStart) -> None:
        """How often each code stands at each place of the training split, and what its patch looks like."""
        tokeniser = getattr(start.preprocessor, "tokeniser", None)
        if tokeniser is None:
            return
        self.patches.copy_(tokeniser.patches())
        counts = start.preprocessor.code_counts(start.reader, start.train[: self.config.statistics_clips])  # type: ignore[attr-defined]
        self.code_frequencies.add_(counts.to(self.code_frequencies))
        used = float(perplexity(counts.sum(0) / counts.sum().clamp(min=1)))
        start.say(f"tokeniser: {self._verdict(used)}; {tokeniser.explained:.0%} of the patches' variance is kept")

    def _verdict(self, used: float) -> str:
        text = f"{used:.1f} of {self.encoder.codes} codes are in use"
        return f"codes collapsed: {text}" if used < COLLAPSED_SHARE * self.encoder.codes else text

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Hidden share, order of tokens, and whether the condition is dropped."""
        del progress  # masking does not change over a run
        ids, _ = self.encoder.inputs(batch)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=generator.device).to(ids.device)

        ratio = uniform(len(ids))
        normal = torch.randn(len(ids), generator=generator, device=generator.device).cpu().double()
        return {
            "ratio": ratio,
            "share": self.share(ratio, normal, ids.shape[1]),
            "mask_scores": uniform(*ids.shape),
            "drop_draw": uniform(len(ids)),
        }

    def share(self, ratio: Tensor, normal: Tensor, tokens: int) -> Tensor:
        """Share of hidden tokens, float64 (B,) on the CPU, from uniform and normal draws (B,)."""
        config = self.config
        if config.mask_draw == "gaussian":
            return (GAUSSIAN_MEAN + GAUSSIAN_DEVIATION * normal).clamp(GAUSSIAN_LOWEST, 1.0)
        found = schedule(config.schedule, ratio, tokens=tokens, exponent=config.exponent)
        return found.clamp(min=LEAST_SHARE) if config.mask_draw == "minimum" else found

    def mask(self, batch: Batch, draws: Draws) -> Tensor:
        """Hidden tokens, bool (B, L)."""
        ids, valid = self.encoder.inputs(batch)
        real = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
        return hidden_tokens(draws["mask_scores"], hidden_counts(draws["share"], real), real)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Hidden tokens of the batch, all and by quarter of the hidden share of their clip."""
        _, valid = self.encoder.inputs(batch)
        mask = self.mask(batch, draws)
        return {TERM: mask.sum(), **{name: one.sum() for name, one in _quarters(mask, valid).items()}}

    # -------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        ids, valid = self.encoder.inputs(batch)
        mask = self.mask(batch, draws)
        logits = self.logits(batch, draws, mask)
        hidden = logits[mask]
        wanted = ids[mask]
        with torch.autocast(logits.device.type, enabled=False):
            wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
            loss = F.cross_entropy(wide, wanted, label_smoothing=self.config.label_smoothing)
        each = F.cross_entropy(wide.detach(), wanted, reduction="none")
        inside = _quarters(mask, valid)
        terms = {TERM: loss, **{name: _mean_of(each, one) for name, one in inside.items()}}
        return LossTerms.of(
            terms,
            {name: float(name == TERM) for name in terms},
            counts={TERM: mask.sum(), **{name: one.sum() for name, one in inside.items()}},
            metrics=self._metrics(wide.detach(), each, wanted, mask),
        )

    def logits(self, batch: Batch, draws: Draws, mask: Tensor) -> Tensor:
        """Scores (B, L, V) of all tokens when the hidden ones are."""
        ids, valid = self.encoder.inputs(batch)
        kept = draws["drop_draw"] >= self.config.condition_dropout
        condition = self.encoder.condition_token(batch, kept)
        return self.encoder.predict(ids.masked_fill(mask, self.encoder.mask_id), valid, condition)

    @torch.no_grad()
    def _metrics(self, logits: Tensor, each: Tensor, wanted: Tensor, mask: Tensor) -> dict[str, Any]:
        """Cross-entropies in nat, plain: of the network, of frequencies at each place, and of frequencies alone."""
        _, token = mask.nonzero(as_tuple=True)
        metrics: dict[str, Any] = {
            "masked_accuracy": (logits.argmax(-1) == wanted).to(logits.dtype).mean(),
            "cross_entropy": each.mean(),
        }
        table = self.code_frequencies
        columns = mask.shape[1] // self.encoder.rows
        place = token // columns * self.encoder.grid_columns + token % columns
        at_place = (table / table.sum(1, keepdim=True)).log()[place, wanted]
        metrics["place_frequencies"] = -at_place.mean()
        metrics["code_frequencies"] = -(table.sum(0) / table.sum()).log()[wanted].mean()
        return metrics

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The clip in its codes, what of it was visible, the hidden tokens filled in, and this as sound."""
        from repcore_audio.rendering.tokens import filled_in_picture

        ids, valid = self.encoder.inputs(batch)
        mask = self.mask(batch, draws)
        guessed = torch.where(mask, self.logits(batch, draws, mask).argmax(-1), ids)
        shown = slice(None) if valid is None else valid[0]
        return filled_in_picture(
            ids[0][shown], guessed[0][shown], mask[0][shown], rows=self.encoder.rows, patches=self.patches,
            front_end=batch.inputs.get("front_end"),
        )  # fmt: skip


def _quarters(mask: Tensor, valid: Tensor | None) -> dict[str, Tensor]:
    """Which hidden tokens are of clips with up to a quarter, half, ... of their tokens hidden, bool (M,) by name."""
    real = mask.shape[1] if valid is None else valid.sum(1)
    share = (mask.sum(1) / real)[mask.nonzero(as_tuple=True)[0]]
    number = (share * QUARTERS).ceil().clamp(1, QUARTERS)
    step = 100 // QUARTERS
    return {f"hidden_{step * part}_{step * (part + 1)}": number == part + 1 for part in range(QUARTERS)}


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values; of all where none is, which counts for nothing."""
    return values[chosen].mean() if bool(chosen.any()) else values.mean()
