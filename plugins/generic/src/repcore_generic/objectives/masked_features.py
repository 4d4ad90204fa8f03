"""Masked features: a student that sees part of the tokens predicts what a moving-average teacher makes of all of them.

Baevski et al. 2022, data2vec, arXiv 2202.03555: the target of a hidden token is the mean of the teacher's top layers,
each normalised. Differs: tokens are hidden one by one rather than in spans, which an unknown encoder's order may not
have; layers are normalised per token, so that targets do not depend on batch mates or padding. An encoder without
layers of one width (a pyramid, whose later tokens each stand for many of the first) predicts the teacher's output
tokens instead, all of them.

Symbols: B items, T token slots, S ragged tokens, M hidden tokens, D token width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Tokens
from repcore.nn.ema import cosine_momentum, make_teacher, update_teacher
from repcore_generic.configs.masked_features import MaskedFeaturesConfig
from repcore_generic.objectives.pairs import no_autocast

TERM = "masked_features"


class MaskedFeatures(nn.Module):
    """Objective ``generic/masked-features``.

    Args:
        config: see :class:`MaskedFeaturesConfig`.
        encoder: with the capabilities ``embed-tokens`` and ``encode-tokens``, best with ``layers`` too: then it has
            ``depth``.
    """

    def __init__(self, config: MaskedFeaturesConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.teacher = make_teacher(encoder)
        self.depth = int(getattr(encoder, "depth", 0))  # 0 = output tokens only
        width = int(encoder.token_width())  # type: ignore[operator]
        self.mask_token = nn.Parameter(0.02 * torch.randn(int(encoder.token_width("embedding"))))  # type: ignore[operator]
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``hidden``: bool (B, T) or (S,), of each item the same share of real tokens, one at least of two or more."""
        del progress
        with torch.no_grad():
            tokens = self._embedded(self.teacher, batch)
        score = torch.rand(tokens.values.shape[:-1], generator=generator, device=generator.device)
        return {"hidden": hidden_tokens(tokens, score.to(tokens.values.device), self.config.mask_share, batch.size)}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Hidden tokens; items where all output tokens are predicted."""
        return {TERM: draws["hidden"].sum() if self.depth else batch.size}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        hidden = draws["hidden"]
        tokens = self._embedded(self.encoder, batch)
        shown = torch.where(hidden[..., None], self.mask_token.to(tokens.values.dtype), tokens.values)
        student: Features = self.encoder.encode_tokens(  # type: ignore[operator]
            replace(tokens, values=shown), batch, layers=(self.depth,) if self.depth else ()
        )
        last = student.layers[self.depth] if self.depth else next(iter(student.tokens.values()))
        chosen = hidden if self.depth else _real(last)
        guess = self.head(last.values[chosen])
        target = self._targets(batch)[chosen]
        with no_autocast(guess):
            error = distance(guess.float(), target.float(), self.config.beta)
            loss = error.sum() / chosen.sum().clamp(min=1)
        count = hidden.sum() if self.depth else batch.size
        spread = target.float().std(0).mean() if len(target) > 1 else target.new_zeros(())
        return LossTerms.of({TERM: loss}, counts={TERM: count}, metrics={"target_standard_deviation": spread})

    def after_step(self, progress: Progress, carried: Any) -> None:
        """The teacher follows."""
        del carried
        momentum = cosine_momentum(self.config.momentum, self.config.final_momentum, progress.fraction)
        update_teacher(self.teacher, self.encoder, momentum)

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """The student; ``teacher`` for its moving average."""
        return self.teacher if branch == "teacher" else self.encoder

    @torch.no_grad()
    def _targets(self, batch: Batch) -> Tensor:
        """Mean of the normalised top layers, (B, T, D) or (S, D)."""
        was_training = self.teacher.training
        self.teacher.eval()  # targets without dropout
        first = max(1, self.depth - self.config.top_layers + 1)
        features: Features = self.teacher(batch, layers=range(first, self.depth + 1))
        self.teacher.train(was_training)
        found = list(features.layers.values()) if self.depth else [next(iter(features.tokens.values()))]
        layers = [F.layer_norm(one.values.float(), one.values.shape[-1:]) for one in found]
        return torch.stack(layers).mean(0)

    @staticmethod
    def _embedded(encoder: nn.Module, batch: Batch) -> Tokens:
        tokens: Tokens = encoder.embed_tokens(batch)  # type: ignore[operator]
        return tokens


def _real(tokens: Tokens) -> Tensor:
    """Mask of the tokens that are no padding."""
    every = torch.ones(tokens.values.shape[:-1], dtype=torch.bool, device=tokens.values.device)
    return every if tokens.valid is None else tokens.valid


def hidden_tokens(tokens: Tokens, score: Tensor, share: float, items: int) -> Tensor:
    """Real tokens with the lowest scores of their item, bool like ``score``: round(share x tokens) of them.

    At least one is hidden and one shown where an item has two or more; an item of one token is shown whole.

    Args:
        tokens: dense with ``valid``, or ragged with ``owner``.
        score: float (B, T) or (S,), in [0, 1).
    """
    if tokens.owner is None:
        owner = torch.arange(items, device=score.device)[:, None].expand(score.shape).reshape(-1)
    else:
        owner = tokens.owner
    valid = torch.ones_like(score, dtype=torch.bool) if tokens.valid is None else tokens.valid
    flat, real = score.reshape(-1).double(), valid.reshape(-1)
    order = torch.argsort(owner + torch.where(real, flat, 1.0) * 0.5, stable=True)  # by item, real tokens by score
    count = torch.bincount(owner[real], minlength=items)
    slots = torch.bincount(owner, minlength=items)
    rank = torch.empty_like(owner)
    rank[order] = torch.arange(len(owner), device=owner.device) - (slots.cumsum(0) - slots)[owner[order]]
    wanted = (share * count).round().long().clamp(min=1).minimum(count - 1).clamp(min=0)
    return ((rank < wanted[owner]) & real).view(score.shape)


def distance(guess: Tensor, target: Tensor, beta: float) -> Tensor:
    """Mean over the width of the smooth L1 distance (beta 0: of half the squared error), (M,)."""
    if beta == 0.0:
        return 0.5 * (guess - target).square().mean(-1)
    return F.smooth_l1_loss(guess, target, beta=beta, reduction="none").mean(-1)
