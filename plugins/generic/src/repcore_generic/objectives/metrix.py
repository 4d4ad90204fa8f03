"""Method ``generic/metrix``: a contrastive loss with mixed embeddings, for neighbours of classes never trained on.

Venkataramanan et al. 2022 (ICLR), arXiv 2106.04990.

Differs: every (item, positive, negative) takes part once, the hard negative of mixed inputs is the nearest item of
another class, and a drawn branch without triples gives way to the other; the first two published forms are settings.
Losses other than the contrastive one are not offered. The task's head is trained beside,
on detached vectors unless told otherwise, so that the result predicts. Triples lie within one micro-batch of a
device.

Symbols: B items, n labelled ones, D width, E embedding width, T triples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.embedding.pooling import pool_tokens
from repcore.errors import RunError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Tokens
from repcore_generic.configs.metrix import MetrixConfig
from repcore_generic.objectives.labelled import ClassMethod, draw_beta, nothing
from repcore_generic.objectives.metrix_loss import (
    ANCHOR_NEGATIVE,
    POSITIVE_NEGATIVE,
    Triples,
    distances,
    first_positives,
    hard_triples,
    mixed,
    mixed_loss,
    pair_loss,
    triple_counts,
    triples_at,
    usable_branch,
)
from repcore_generic.objectives.pairs import no_autocast

WEIGHT_ALONE = {"embed": 0.3, "feature": 0.4, "input": 0.4}
POOLINGS = ("mean", "max", "first")
SAME = 1e-4  # how close a pooling of the tokens must come to the encoder's own vector


class Metrix(ClassMethod):
    """See the module's text.

    Args:
        config: settings.
        encoder: of the task.
        task: a class task of items with a head on pooled vectors.
    """

    def __init__(self, config: MetrixConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__("metrix", encoder, task)
        self.config = config
        self.embedding: nn.Module = nn.Identity() if config.width is None else nn.Linear(self.width, config.width)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``lambda`` (): the share of positives; ``branch`` () int64; ``triple_subset``: places of the triples that are
        used, empty = all."""
        del progress
        labels = self.labels(batch)
        known = labels[labels >= 0]
        coin = int(torch.randint(2, (), generator=generator, device=generator.device))
        share = draw_beta(self.config.alpha, 1, generator, labels.device)[0]
        branch = usable_branch(known, coin)
        places = torch.zeros(0, dtype=torch.int64, device=labels.device)
        if branch is not None:
            number = int(triple_counts(known, branch).sum())
            if number > self.config.most:
                drawn = torch.randperm(number, generator=generator, device=generator.device)[: self.config.most]
                places = drawn.sort().values.to(labels.device)
        used = torch.tensor(-1 if branch is None else branch, device=labels.device)
        return {"lambda": share, "branch": used, "triple_subset": places}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled items."""
        del draws
        known = (self.labels(batch) >= 0).sum()
        return {"clean": known, "mixed": known, "classification": known}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        known = self.labels(batch) >= 0
        vectors, labels = features.pooled[known], self.labels(batch)[known]
        branch, share = int(draws["branch"]), draws["lambda"]
        with no_autocast(vectors):
            vectors = vectors.float()
            embedded = self.embedding(vectors)
            outputs = self.logits(vectors if self.config.supervised else vectors.detach())
            terms = {
                "clean": pair_loss(embedded, labels, self.config.margin) + nothing(embedded),
                "mixed": nothing(embedded),
                "classification": self.plain_loss(outputs, labels),
            }
        metrics: dict[str, Any] = {}
        if branch >= 0:
            triples = self._triples(embedded, labels, branch, draws["triple_subset"])
            other = self._mixtures(batch, features, embedded, triples, share)
            with no_autocast(vectors):
                apart = distances(embedded[triples.anchor], other.float())
                terms["mixed"] = mixed_loss(apart, share, self.config.margin)
            metrics = {"triples": float(len(triples.anchor)), "mixed_distance": apart.detach().mean()}
        weights = {"clean": 1.0, "mixed": self._weight(branch), "classification": self.config.classification}
        return LossTerms.of(terms, weights, counts=self.counts(batch, draws), metrics=metrics)

    def _weight(self, branch: int) -> float:
        if branch != ANCHOR_NEGATIVE:
            return self.config.weight
        alone = self.config.weight_alone
        return WEIGHT_ALONE[self.config.place] if alone is None else alone

    def _triples(self, embedded: Tensor, labels: Tensor, branch: int, places: Tensor) -> Triples:
        if self.config.place == "input":
            return hard_triples(embedded.detach(), labels, branch, self.config.hard_negatives)
        triples = triples_at(labels, branch, places if len(places) else None)
        published = self.config.positives == "first-repeated" and branch == POSITIVE_NEGATIVE
        return first_positives(labels, triples) if published else triples

    def _mixtures(self, batch: Batch, seen: Features, embedded: Tensor, triples: Triples, share: Tensor) -> Tensor:
        """Embeddings of the mixtures (T, E)."""
        if self.config.place == "embed":
            return mixed(embedded, triples, share)
        if self.config.place == "feature":
            tokens, name = token_map(seen)
            mixtures = mixed(tokens[self.labels(batch) >= 0], triples, share)  # (T, tokens, D)
            found: Tensor = self.embedding(pool_tokens(Tokens(mixtures), name, len(mixtures)).float())
            return found
        if not isinstance(batch.inputs, Tensor):
            raise RunError(
                f"place=input mixes inputs that are one tensor; this domain gives {type(batch.inputs).__name__}",
                hint="method.place=embed",
            )
        inputs = mixed(batch.inputs[self.labels(batch) >= 0], triples, share)
        features: Features = self.encoder(dataclasses.replace(batch, inputs=inputs, size=len(inputs), views={}))
        embeddings: Tensor = self.embedding(features.pooled)
        return embeddings


def token_map(features: Features) -> tuple[Tensor, str]:
    """The tokens (B, tokens, D) from which the vectors are pooled, and the name of that pooling.

    Raises:
        RunError: items have different numbers of tokens, or no pooling of a level gives the vectors.
    """
    for tokens in features.tokens.values():
        if tokens.owner is not None or (tokens.valid is not None and not bool(tokens.valid.all())):
            raise RunError(
                "place=feature mixes tokens of items with equally many; these have different numbers",
                hint="method.place=embed",
            )
        for name in POOLINGS:
            pooled = pool_tokens(tokens, name, len(features.pooled))
            if pooled.shape == features.pooled.shape and bool(
                ((pooled - features.pooled).abs() <= SAME * (1.0 + features.pooled.abs())).all()
            ):
                return tokens.values, name
    raise RunError(
        "place=feature mixes what the vector is pooled from, but it is neither mean, max nor first of any tokens",
        levels=", ".join(features.tokens) or "none",
        hint="method.place=embed",
    )
