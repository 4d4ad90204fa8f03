"""Method ``generic/shrinkmatch``: labelled and unlabelled items, the latter by what their weak view makes likely.

Yang et al. 2023 (ICCV), "Shrinking Class Space for Enhanced Certainty in Semi-Supervised Learning", arXiv 2308.06777.

Differs: the share of certain items is kept for the whole run, everything is vectorised, and the views pass through
the encoder one after the other, so batch statistics are those of a view (published: of all together). An item teaches
without its label where it has none. A micro-batch looks at its own batch mean beside those of earlier steps.

Symbols: B items, n labelled, U unlabelled, C classes, D width, L kept batch means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import RunError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress
from repcore.nn.ema import make_teacher, update_teacher
from repcore_generic.configs.shrinkmatch import ShrinkMatchConfig
from repcore_generic.objectives.labelled import ClassMethod, nothing
from repcore_generic.objectives.pairs import no_autocast
from repcore_generic.objectives.shrinkmatch_loss import (
    Shrunk,
    aligned,
    auxiliary_head,
    certain_loss,
    next_ratio,
    shrunk_items,
)


class ShrinkMatch(ClassMethod):
    """See the module's text.

    Args:
        config: settings.
        encoder: of the task.
        task: a class task of items with a head on pooled vectors.
    """

    means: Tensor  # (L, C) batch means of earlier steps; rows of zeros are not written yet
    steps: Tensor  # () steps taken
    share: Tensor  # () running share of certain items

    def __init__(self, config: ShrinkMatchConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__("shrinkmatch", encoder, task)
        self.config = config
        self.auxiliary = auxiliary_head(self.width, self.classes)
        self.register_buffer("means", torch.zeros(config.alignment_length, self.classes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("share", torch.zeros(()))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.averaged = None if config.ema_decay is None else make_teacher(task)

    @property
    def answering(self) -> nn.Module:
        """The task that is validated and kept: of averaged weights, or as it is."""
        return self.task if self.averaged is None else self.averaged

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``decay`` and ``restart`` () of the running share, and for ``strong=features`` ``keep`` and ``noise``."""
        device = self.labels(batch).device
        decay = self.config.ratio_decay
        decay = 1.0 - 1.0 / max(20.0, progress.total_steps / 50) if decay is None else decay
        again = self.config.ratio == "reset_each_epoch" and progress.step % max(1, progress.steps_per_epoch) == 0
        draws: dict[str, Tensor] = {
            "decay": torch.tensor(decay, device=device), "restart": torch.tensor(again, device=device)
        }  # fmt: skip
        if self.config.strong == "features":
            shape = (batch.size, self.width)
            kept = torch.rand(shape, generator=generator, device=generator.device) >= self.config.feature_dropout
            noise = torch.randn(shape, generator=generator, device=generator.device)
            draws |= {"keep": kept.to(device), "noise": noise.to(device)}
        return draws

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled and unlabelled items."""
        del draws
        known = (self.labels(batch) >= 0).sum()
        return {"labelled": known, "certain": batch.size - known, "shrunk": batch.size - known}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        labels = self.labels(batch)
        known, free = labels >= 0, labels < 0
        weak, strong = self._vectors(batch, draws)
        with no_autocast(weak):
            weak, strong = weak.float(), strong[free].float()
            outputs = self.logits(weak)
            probabilities = outputs[free].detach().softmax(1)
            mean = probabilities.mean(0) if len(strong) else probabilities.new_zeros(self.classes)
            target = self._aligned(probabilities, mean)
            found = self._shrunk(target, strong)
            is_first = draws["restart"] | ~self._begun()
            part = found.certain.float().mean() if len(strong) else self.share
            ratio = next_ratio(self.share, part, draws["decay"], is_first)
            terms = {
                "labelled": self.plain_loss(outputs[known], labels[known]),
                "certain": certain_loss(target, self.logits(strong), found.certain),
                "shrunk": ratio * found.items.sum() / max(1, len(strong)),
            }
        weights = {"labelled": 1.0, "certain": self.config.certain_weight, "shrunk": self.config.shrunk_weight}
        carry = {
            "mean": mean.detach(), "share": part.detach(), "items": free.sum(), "decay": draws["decay"],
            "first": is_first,
        }  # fmt: skip
        return LossTerms.of(
            terms, weights, counts=self.counts(batch, draws), carry=carry, metrics=_metrics(found, target, ratio)
        )

    def _begun(self) -> Tensor:
        begun: Tensor = self.begun  # type: ignore[assignment]
        return begun

    def _vectors(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Pooled vectors (B, D) of the weak and the strong view."""
        if self.config.strong == "features":
            features: Features = self.encoder(batch)
            spread = features.pooled.detach().float().std(0, unbiased=False)
            changed = features.pooled * draws["keep"] + self.config.feature_noise * spread * draws["noise"]
            return features.pooled, changed
        if {"weak", "strong"} - set(batch.views):
            raise RunError(
                f"shrinkmatch compares a weak and a strong view; the batch has {', '.join(batch.views) or 'none'}",
                hint="method.strong=features, which needs no views",
            )
        weak: Features = self.encoder(batch.views["weak"])
        strong: Features = self.encoder(batch.views["strong"])
        return weak.pooled, strong.pooled

    def _aligned(self, probabilities: Tensor, mean: Tensor) -> Tensor:
        if not self.config.alignment or len(probabilities) == 0:
            return probabilities
        slot = torch.arange(len(self.means), device=mean.device) == self.steps % len(self.means)
        return aligned(probabilities, torch.where(slot[:, None], mean, self.means))

    def _shrunk(self, target: Tensor, strong: Tensor) -> Shrunk:
        if len(strong) == 0:
            none = target.new_zeros(0, dtype=torch.bool)
            zero = nothing(strong, *self.auxiliary.parameters())
            return Shrunk(zero[None], none.long(), none, none)
        return shrunk_items(target, self.auxiliary(strong), self.config.threshold)

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Keep the batch mean and the share of the step over all micro-batches; average the weights."""
        items = torch.stack([one["items"].float() for one in carried])
        sums = torch.stack([one["items"] * torch.cat([one["mean"], one["share"][None]]) for one in carried]).sum(0)
        count = items.sum()
        if float(count) > 0:
            mean, share = sums[:-1] / count, sums[-1] / count
            self.means[int(self.steps) % len(self.means)] = mean
            self.share.copy_(next_ratio(self.share, share, carried[0]["decay"], carried[0]["first"]))
            self.steps += 1
            self._begun().fill_(True)
        if self.averaged is not None:
            assert self.config.ema_decay is not None
            decay = min(self.config.ema_decay, (progress.step + 1) / (progress.step + 11))
            update_teacher(self.averaged, self.task, decay)


def _metrics(found: Shrunk, target: Tensor, ratio: Tensor) -> dict[str, Tensor]:
    uncertain = (~found.certain).sum().clamp(min=1)
    best = target.amax(1) if len(target) else target.sum()[None]
    return {
        "certain_share": found.certain.float().mean() if len(target) else target.sum(),
        "ratio": ratio.detach(),
        "first_kept": (found.first_kept * found.reached).sum() / found.reached.sum().clamp(min=1),
        "reached_share": found.reached.sum() / uncertain,
        "best_probability": best.mean(),
    }
