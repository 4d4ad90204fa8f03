"""W2v-BERT: hidden frames are told apart by their quantised codes below, and the codes are predicted above.

Source: Chung et al. 2021 (arXiv 2108.06209), section 2; method card of W2v-BERT. The authors published no code; public
ones of others (WeNet, fairseq2) differ, see the flags of :class:`CodeTargetsConfig`.

Any encoder with tokens that can be replaced learns by it: noise stands in place of hidden tokens.

Symbols: B clips, N frames, D width, G groups, V codes of a group, K negatives, P contrast width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Picture, Progress, Tokens
from repcore.nn.losses import masked_mean
from repcore_audio.configs.w2v_bert import CodeTargetsConfig
from repcore_audio.objectives.code_quantiser import (
    CodeQuantiser,
    code_counts,
    diversity_loss,
    mean_choice,
    perplexity,
)
from repcore_audio.objectives.span_masks import other_hidden, span_mask

CONTRAST, DIVERSITY, PREDICTION, PENALTY = "contrast", "diversity", "prediction", "feature_penalty"
MEMORY = 0.98  # of the running shares of codes
COLLAPSED_SHARE = 0.1  # of the codebook: fewer codes in use are a collapse
FIRST_SHARE = 0.1  # of the prediction's factor, where it warms up
COSINE_EPSILON = 1e-8
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outputs:
    """All that a pass computes before the losses.

    Args:
        frames / valid: front end output (B, N, D), bool (B, N).
        code_logits: (B, N, G, V).
        sampled / clean: int64 (B, N, G), codes with and without noise.
        quantised: (B, N, C).
        lower / upper: (B, N, D).
        context / targets: (B, N, P), what is compared.
        predicted: (B, N, G, V), logits.
    """

    frames: Tensor
    valid: Tensor
    code_logits: Tensor
    sampled: Tensor
    clean: Tensor
    quantised: Tensor
    lower: Tensor
    upper: Tensor
    context: Tensor
    targets: Tensor
    predicted: Tensor


class CodeTargets(nn.Module):
    """Objective ``audio/w2v-bert``.

    Args:
        config: quantiser, masks, losses.
        encoder: with ``layers``, ``embed-tokens`` and ``encode-tokens``; becomes part of this module.

    Call:
        draws: ``mask`` bool (B, N), ``negatives`` int64 (B, N, K), ``gumbel`` (B, N, G, V), ``mask_noise`` (B, N, D),
            ``tau`` and ``prediction_share``, scalars that depend on the step alone.
    Returns:
        terms ``contrast``, ``diversity``, ``prediction``; metrics with the number of codes in use (soft and counted).

    Raises:
        ConfigError: settings that do not fit the encoder.
    """

    usage: Tensor

    def __init__(self, config: CodeTargetsConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        known: Any = encoder  # with capabilities that nn.Module does not declare
        width, seen = int(known.token_width()), int(known.token_width("embedding"))
        self.lower_layers = _lower_layers(config, int(known.depth))
        self.quantiser = CodeQuantiser(seen, config.groups, config.codebook, config.code_width)
        if config.project:
            self.project_context: nn.Module = nn.Linear(width, config.contrast_width)
            self.project_quantised: nn.Module = nn.Linear(config.code_width, config.contrast_width)
        elif config.code_width != width:
            raise ConfigError(
                f"code_width={config.code_width} differs from the encoder's width {width}, and project=false",
                field="objective.code_width",
            )
        else:
            self.project_context, self.project_quantised = nn.Identity(), nn.Identity()
        self.head = nn.Linear(width, config.groups * config.codebook)
        self.register_buffer("usage", torch.full((config.groups, config.codebook), 1.0 / config.codebook))
        self._was_collapsed = False

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Spans, negatives, noise, and what the step alone decides."""
        tokens: Tokens = self.encoder.embed_tokens(batch)  # type: ignore[operator]
        valid, device = _valid(tokens), tokens.values.device
        items, frames, width = tokens.values.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=generator.device).to(device)

        config = self.config
        mask = span_mask(uniform(items, frames), valid, config.start_probability, config.span)
        noise = torch.randn((items, frames, width), generator=generator, device=generator.device).to(device)
        draws = uniform(items, frames, config.groups, config.codebook)
        tiny = torch.finfo(draws.dtype).tiny
        return {
            "mask": mask,
            "negatives": other_hidden(uniform(items, frames, config.negatives), mask),
            "gumbel": -(-draws.clamp(min=tiny).log()).clamp(min=tiny).log(),
            "mask_noise": config.noise * noise,
            "tau": torch.tensor(self.tau(progress), device=device),
            "prediction_share": torch.tensor(self.prediction_share(progress.step)),
        }

    def tau(self, progress: Progress) -> float:
        """Gumbel temperature of a step: geometric over the run, or by a factor a step down to its end."""
        config = self.config
        if config.tau_decay is None:
            return float(config.tau_start * (config.tau_end / config.tau_start) ** progress.fraction)
        return float(max(config.tau_start * config.tau_decay**progress.step, config.tau_end))

    def prediction_share(self, step: int) -> float:
        """Share of the prediction's factor at a step: a tenth at first, all of it after the warm-up."""
        warmup = self.config.prediction_warmup
        return min(1.0, FIRST_SHARE + (1 - FIRST_SHARE) * step / warmup) if warmup else 1.0

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Hidden frames of the batch."""
        del batch
        return {CONTRAST: draws["mask"].sum(), PREDICTION: draws["mask"].sum()}

    # -------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        out = self.outputs(batch, draws)
        mask, config = draws["mask"], self.config
        with torch.autocast(out.frames.device.type, enabled=False):
            contrast, right, chance = self.contrast(out, draws)
            over = out.valid if config.perplexity_over == "valid" else mask
            used = perplexity(mean_choice(_wide(out.code_logits), over))
            ids = out.clean if config.targets == "clean" else out.sampled
            prediction, hits = self.prediction(out.predicted, ids, mask)
            hidden = mask.sum().clamp(min=1)
            terms = {
                CONTRAST: contrast.sum() / hidden,
                DIVERSITY: diversity_loss(used, config.codebook),
                PREDICTION: prediction,
            }
            weights = {
                CONTRAST: config.contrast_weight,
                DIVERSITY: config.contrast_weight * config.diversity_weight,
                PREDICTION: config.prediction_weight * float(draws["prediction_share"]),
            }
            if config.feature_penalty:
                terms[PENALTY] = masked_mean(_wide(out.frames).square(), out.valid[..., None])
                weights[PENALTY] = config.feature_penalty
        counts = code_counts(out.clean, out.valid, config.codebook)
        share = counts / counts.sum(-1, keepdim=True).clamp(min=1)
        targets = code_counts(ids, mask, config.codebook)
        metrics = {
            "contrast_accuracy": right,
            "contrast_chance": chance,
            "prediction_accuracy": hits,
            "code_entropy": perplexity(targets / targets.sum(-1, keepdim=True).clamp(min=1)).log().mean(),
            "code_perplexity_soft": used.detach().mean(),
            "code_perplexity": perplexity(share).mean(),
            "top_code_share": share.amax(-1).mean(),
            "tau": draws["tau"],
        }
        return LossTerms.of(
            terms,
            weights,
            counts={CONTRAST: mask.sum(), PREDICTION: mask.sum()},
            carry={"code_counts": counts},
            metrics=metrics,
        )

    def outputs(self, batch: Batch, draws: Draws) -> Outputs:
        """One pass: codes of the clean frames, both stacks over the hidden ones."""
        tokens: Tokens = self.encoder.embed_tokens(batch)  # type: ignore[operator]
        frames = tokens.values
        logits = self.quantiser.code_logits(frames)
        gumbel = draws["gumbel"]
        chosen = self.quantiser.choose(logits, gumbel, draws["tau"], is_hard=self.config.codes == "hard")
        quantised = self.quantiser.vectors(chosen)
        hidden = torch.where(draws["mask"][..., None], draws["mask_noise"].to(frames.dtype), frames)
        features: Features = self.encoder.encode_tokens(  # type: ignore[operator]
            replace(tokens, values=hidden), batch, layers=(self.lower_layers,)
        )
        lower = features.layers[self.lower_layers].values
        upper = next(iter(features.tokens.values())).values
        return Outputs(
            frames=frames,
            valid=_valid(tokens),
            code_logits=logits,
            sampled=(logits + gumbel).argmax(-1),
            clean=logits.argmax(-1),
            quantised=quantised,
            lower=lower,
            upper=upper,
            context=self.project_context(lower),
            targets=self.project_quantised(quantised),
            predicted=self.head(upper).unflatten(-1, (self.config.groups, self.config.codebook)),
        )

    def dropped(self, out: Outputs, draws: Draws) -> Tensor:
        """Negatives that are the frame itself or have its codes in every group, bool (B, N, K)."""
        index = draws["negatives"].clamp(min=0)
        own = torch.arange(index.shape[1], device=index.device)[:, None]
        if self.config.codes == "soft":  # mixtures are never equal, but for the frame's own
            return index == own
        codes = out.sampled.flatten(2)  # (B, N, G)
        others = torch.stack([_at(codes[..., group], index) for group in range(codes.shape[-1])], dim=-1)
        return (others == codes[:, :, None]).all(-1) | (index == own)

    def contrast(self, out: Outputs, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """-log softmax of the true code among the candidates of each hidden frame (M,), accuracy, and its chance.

        All frames of a clip meet in one matrix product; scores, not vectors, are then gathered.
        """
        context, targets = (F.normalize(_wide(one), dim=-1, eps=COSINE_EPSILON) for one in (out.context, out.targets))
        scores = context @ targets.transpose(1, 2) / self.config.kappa  # (B, N, N)
        others = scores.gather(2, draws["negatives"].clamp(min=0)).masked_fill(self.dropped(out, draws), -torch.inf)
        candidates = torch.cat([scores.diagonal(dim1=1, dim2=2)[..., None], others], dim=-1)[draws["mask"]]  # (M, 1+K)
        loss = candidates.logsumexp(-1) - candidates[:, 0]
        with torch.no_grad():
            right = (candidates.argmax(-1) == 0).to(loss.dtype).mean()
            chance = candidates.isfinite().sum(-1).to(loss.dtype).reciprocal().mean()
        return loss, right, chance

    def prediction(self, predicted: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy over hidden frames and groups, and the share of codes that are right."""
        logits, wanted = _wide(predicted)[mask], ids[mask]  # (M, G, V), (M, G)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        return loss, (logits.argmax(-1) == wanted).to(loss.dtype).mean()

    # --------------------------------------------------------------------------------------- state

    def before_step(self, progress: Progress) -> None:
        """Released weights stay as they are while the new quantiser and heads find their way."""
        if self.config.warm_heads and progress.fraction < self.config.warm_heads:
            for parameter in self.encoder.parameters():
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Running shares of the codes; a collapse is told once."""
        counts = torch.stack([one["code_counts"] for one in carried]).sum(0)
        share = counts / counts.sum(-1, keepdim=True).clamp(min=1)
        self.usage.lerp_(share.to(self.usage), 1 - MEMORY)
        if self.is_collapsed() and not self._was_collapsed:
            log.warning("step %d: %s", progress.step, self.verdict())
        self._was_collapsed = self.is_collapsed()

    def is_collapsed(self) -> bool:
        """Whether the codes of the last steps are fewer than a tenth of the codebook."""
        return float(perplexity(self.usage).mean()) < COLLAPSED_SHARE * self.config.codebook

    def verdict(self) -> str:
        """How the codes are used, in words."""
        used, codebook = float(perplexity(self.usage).mean()), self.config.codebook
        text = f"{used:.1f} of {codebook} codes are in use, the most frequent one in {self.usage.amax():.0%} of frames"
        if self.is_collapsed():
            return f"codes collapsed: {text}; a larger objective.diversity_weight or objective.contrast_weight helps"
        return text

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The clip, its codes, which frames were hidden, and whether their codes were guessed."""
        from repcore_audio.rendering.codes import codes_picture

        out = self.outputs(batch, draws)
        return codes_picture(
            batch.inputs["spectrogram"][0], out.clean[0], out.predicted[0].argmax(-1), draws["mask"][0], self.verdict()
        )


def _lower_layers(config: CodeTargetsConfig, depth: int) -> int:
    chosen = max(1, depth // 2) if config.lower_layers is None else config.lower_layers
    if chosen > depth:
        raise ConfigError(f"lower_layers={chosen} of an encoder with {depth} layers", field="objective.lower_layers")
    return chosen


def _valid(tokens: Tokens) -> Tensor:
    every = torch.ones(tokens.values.shape[:2], dtype=torch.bool, device=tokens.values.device)
    return every if tokens.valid is None else tokens.valid


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values (B, N) at (B, N, K) frame numbers."""
    return values[:, None].expand(-1, index.shape[1], -1).gather(2, index)
