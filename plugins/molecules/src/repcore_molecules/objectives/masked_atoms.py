"""Masked atoms: hidden elements are told from the atoms and bonds around them.

Source: attribute masking of Hu et al. 2020 (arXiv 1905.12265, section 3.1.2). Differs: a hidden atom has no feature
left (its number of neighbours, of hydrogens and its aromaticity would give many elements away), and a molecule hides
one atom at least.

Symbols: B molecules, A atoms of a batch, H hidden ones, D width, E elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Tokens
from repcore_molecules.configs.graphs import MaskedAtomsConfig
from repcore_molecules.objectives.masked_language import fixed_guess

TERM = "masked_atoms"


class AtomEncoder(Protocol):
    """What the objective needs of an encoder."""

    config: object

    def token_width(self, level: str = ...) -> int: ...

    def embed_tokens(self, batch: Batch) -> Tokens: ...

    def encode_tokens(self, tokens: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features: ...


class MaskedAtoms(nn.Module):
    """Objective ``molecules/masked-atoms``.

    Args:
        config: see :class:`MaskedAtomsConfig`.
        encoder: ``molecules/gin``, or one of its inputs with the same steps.
    """

    def __init__(self, config: MaskedAtomsConfig, encoder: AtomEncoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        width, self.elements = encoder.token_width(), int(getattr(encoder.config, "elements", 0) or 0)
        self.token = nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, self.elements)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``order`` float (A,): the atoms of a molecule with the smallest numbers are hidden."""
        del progress  # hiding does not change over a run
        owner = batch.inputs["molecule"]
        return {"order": torch.rand(owner.shape, generator=generator, device=generator.device).to(owner.device)}

    def hidden(self, batch: Batch, draws: Draws) -> Tensor:
        """Which atoms are hidden, bool (A,): of each molecule its share, rounded, one at least."""
        owner = batch.inputs["molecule"]
        count = torch.zeros(batch.size, device=owner.device).index_add(0, owner, torch.ones_like(draws["order"]))
        first = count.cumsum(0) - count
        order = torch.argsort(owner.to(torch.float64) + draws["order"].to(torch.float64))  # by molecule, then by draw
        rank = torch.empty_like(draws["order"])
        rank[order] = torch.arange(len(owner), device=owner.device, dtype=rank.dtype)
        rank = rank - first[owner]
        share: Tensor = (count * self.config.mask_share).round().clamp(min=1)
        return rank < share[owner]

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Hidden atoms, known before the forward pass."""
        return {TERM: self.hidden(batch, draws).sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        hidden = self.hidden(batch, draws)
        embedded = self.encoder.embed_tokens(batch)
        values = torch.where(hidden[:, None], self.token.to(embedded.values.dtype), embedded.values)
        features = self.encoder.encode_tokens(Tokens(values, owner=embedded.owner), batch)
        logits = self.head(features.tokens["atoms"].values[hidden]).float()  # (H, E)
        truth = batch.inputs["atoms"][hidden, 0]
        count = hidden.sum()
        loss = F.cross_entropy(logits, truth, reduction="sum") / count.clamp(min=1)
        correct = (logits.detach().argmax(-1) == truth).sum()
        entropy, commonest = fixed_guess(truth, self.elements)
        metrics = {
            "masked_accuracy": correct / count.clamp(min=1),
            f"{TERM}_baseline": entropy,
            "masked_accuracy_baseline": commonest,
        }
        return LossTerms.of({TERM: loss}, counts={TERM: count}, metrics=metrics)
