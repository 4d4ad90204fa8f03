"""Product quantiser with Gumbel noise, and how evenly its codes are used.

Source: Baevski et al. 2020 (wav2vec 2.0, arXiv 2006.11477), section 2; method card of W2v-BERT. Differs from public
codes: one code a group in the forward pass (theirs may stay soft mixtures), exact entropies.

Symbols: B clips, N frames, D width, G groups, V codes of a group, C width of the codes of all groups together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError


class CodeQuantiser(nn.Module):
    """Frames to codes.

    Args:
        width: D.
        groups / codebook: G and V.
        code_width: C, a multiple of G.

    Raises:
        ConfigError: G does not divide C.
    """

    def __init__(self, width: int, groups: int, codebook: int, code_width: int) -> None:
        super().__init__()
        if code_width % groups:
            raise ConfigError(f"{groups} groups do not divide code_width={code_width}", field="objective.code_width")
        self.groups, self.codebook = groups, codebook
        self.weight_proj = nn.Linear(width, groups * codebook)
        self.codevectors = nn.Parameter(torch.rand(1, groups * codebook, code_width // groups))
        nn.init.normal_(self.weight_proj.weight)  # codes differ at the start, beyond the Gumbel noise
        nn.init.zeros_(self.weight_proj.bias)

    def code_logits(self, frames: Tensor) -> Tensor:
        """(B, N, D) to (B, N, G, V)."""
        out: Tensor = self.weight_proj(frames)
        return out.unflatten(-1, (self.groups, self.codebook))

    def choose(self, logits: Tensor, gumbel: Tensor, tau: Tensor | float, *, is_hard: bool = True) -> Tensor:
        """Weights of the codes, (B, N, G, V): one code of each group with the gradient of the soft choice, or soft.

        Args:
            gumbel: noise (B, N, G, V).
            tau: temperature of the soft choice.
        """
        noisy = logits + gumbel
        soft = (noisy / tau).softmax(-1)
        if not is_hard:
            return soft
        return F.one_hot(noisy.argmax(-1), self.codebook).to(soft.dtype) - soft.detach() + soft

    def vectors(self, weights: Tensor) -> Tensor:
        """Codes side by side, (B, N, C), from their weights (B, N, G, V)."""
        table = self.codevectors[0].unflatten(0, (self.groups, self.codebook))  # (G, V, C / G)
        return torch.einsum("bngv,gvc->bngc", weights, table).flatten(2)

    def chosen(self, ids: Tensor) -> Tensor:
        """Codes by number, (B, N, C) from (B, N, G)."""
        return self.vectors(F.one_hot(ids, self.codebook).to(self.codevectors.dtype))


def mean_choice(logits: Tensor, counted: Tensor) -> Tensor:
    """How likely each code is over the frames that count, (G, V)."""
    return logits[counted].softmax(-1).mean(0)


def perplexity(share: Tensor) -> Tensor:
    """exp of the entropy of shares (..., V): the number of codes in use, 1 to V."""
    return (-(share * share.clamp(min=1e-30).log()).sum(-1)).exp()


def code_counts(ids: Tensor, counted: Tensor, codebook: int) -> Tensor:
    """How often each code was chosen, float (G, V).

    Args:
        ids: int64 (B, N, G).
        counted: bool (B, N).
    """
    return F.one_hot(ids[counted], codebook).sum(0).to(torch.float32)


def diversity_loss(perplexities: Tensor, codebook: int) -> Tensor:
    """(G V - sum of perplexities) / (G V): 0 when all codes are used alike."""
    total = perplexities.numel() * codebook
    return (total - perplexities.sum()) / total
