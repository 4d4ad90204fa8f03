"""Sparse dictionaries of token features: the auto-encoder, its gradients' projection, resampling, and metrics.

O'Neill and Bui 2024, "Sparse autoencoders enable scalable and reliable circuit identification", arXiv 2405.12522, and
the common practice of L1 and TopK sparse auto-encoders. No public code of the paper exists.

Symbols: M tokens, D width, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from repcore.errors import ConfigError


def input_scale(tokens: Tensor) -> Tensor:
    """Factor that gives the tokens (M, D) the mean norm sqrt(D)."""
    return tokens.shape[1] ** 0.5 / tokens.norm(dim=1).mean()


def largest(values: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` largest entries of each row; of equals the lowest index."""
    order = values.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, order, True)


class SparseAutoencoder(nn.Module):
    """An over-complete dictionary with unit columns.

    Args:
        width: D.
        features: F, at least D.
        k: features that may be active in a token; None = as many as the L1 penalty leaves.

    Raises:
        ConfigError: sizes that make no dictionary.
    """

    def __init__(self, width: int, features: int, k: int | None) -> None:
        super().__init__()
        if features < width:
            raise ConfigError(f"{features} entries for embeddings of width {width}", expected=f"at least {width}")
        if k is not None and not 1 <= k <= features:
            raise ConfigError(f"k={k} of {features} features", expected=f"1 to {features}")
        self.k = k
        self.encoder = skip_init(nn.Linear, width, features)
        self.decoder = skip_init(nn.Linear, features, width)
        with torch.no_grad():
            for parameter in self.parameters():  # no draw of the global generator: ``start`` or a state fills them
                parameter.zero_()

    @torch.no_grad()
    def start(self, mean: Tensor, generator: torch.Generator) -> None:
        """Random unit columns, the encoder their transpose, the decoder's bias at the tokens' mean (D,)."""
        columns = torch.randn(self.decoder.weight.shape, generator=generator)
        self.decoder.weight.copy_(columns / columns.norm(dim=0))
        self.encoder.weight.copy_(self.decoder.weight.T)
        self.encoder.bias.zero_()
        self.decoder.bias.copy_(mean)

    def activations(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features (M, F) of scaled tokens, and what they were before rectifying and choosing."""
        before = self.encoder(tokens - self.decoder.bias)
        after = before.relu()
        return (after if self.k is None else after * largest(before, self.k)), before

    def reconstruct(self, features: Tensor) -> Tensor:
        """Scaled tokens (M, D) from features (M, F)."""
        result: Tensor = self.decoder(features)
        return result

    def forward(self, tokens: Tensor) -> Tensor:
        """Features (M, F) of scaled tokens."""
        return self.activations(tokens)[0]

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Take from the decoder's gradient the part along each column, so that columns turn and do not shrink."""
        if self.decoder.weight.grad is not None:
            self.decoder.weight.grad.copy_(projected(self.decoder.weight.grad, self.decoder.weight))

    @torch.no_grad()
    def normalise(self) -> None:
        """Columns back to unit length."""
        self.decoder.weight.div_(self.decoder.weight.norm(dim=0).clamp(min=1e-12))


def projected(gradient: Tensor, columns: Tensor) -> Tensor:
    """A gradient (D, F) without its part along each column."""
    unit = columns / columns.norm(dim=0)
    return gradient - unit * (unit * gradient).sum(0)


@dataclass(frozen=True, slots=True)
class Losses:
    """Unweighted terms of one batch; ``sparsity`` belongs to L1, ``auxiliary`` to TopK, the other is 0."""

    reconstruction: Tensor
    sparsity: Tensor
    auxiliary: Tensor
    features: Tensor
    reconstructed: Tensor


def losses(model: SparseAutoencoder, tokens: Tensor, dead: Tensor | None, auxiliary_k: int) -> Losses:
    """Terms over valid scaled tokens (M, D); means over tokens of sums over D and F.

    Args:
        dead: bool (F,) features that have not fired for long: with TopK they learn to explain what is left over.
        auxiliary_k: how many of them may.
    """
    features, before = model.activations(tokens)
    reconstructed = model.reconstruct(features)
    residual = tokens - reconstructed
    zero = residual.new_zeros(())
    auxiliary = zero
    if model.k is not None and dead is not None and bool(dead.any()) and auxiliary_k > 0:
        asleep = before.masked_fill(~dead, float("-inf"))
        chosen = largest(asleep, min(auxiliary_k, int(dead.sum()))) & dead
        awakened = torch.where(chosen, before.relu(), 0.0)
        auxiliary = (residual.detach() - awakened @ model.decoder.weight.T).square().sum(1).mean()
    sparsity = features.sum(1).mean() if model.k is None else zero
    return Losses(residual.square().sum(1).mean(), sparsity, auxiliary, features, reconstructed)


def strongest(features: Tensor) -> Tensor:
    """Index of each token's strongest feature, int64 (M,); -1 where none fires."""
    value, index = features.max(dim=1)
    return torch.where(value > 0, index, -1)


def quality(tokens: Tensor, features: Tensor, reconstructed: Tensor) -> Mapping[str, Tensor]:
    """``explained_variance``, ``l0`` (active features a token) and ``density`` (F,) over valid tokens (M, D)."""
    spread = (tokens - tokens.mean(0)).square().sum()
    active = (features > 0).to(tokens.dtype)
    return {
        "explained_variance": 1.0 - (tokens - reconstructed).square().sum() / spread,
        "l0": active.sum(1).mean(),
        "density": active.mean(0),
    }


@torch.no_grad()
def resample(model: SparseAutoencoder, tokens: Tensor, dead: Tensor, draws: Tensor) -> Tensor:
    """Point dead features at tokens that the dictionary explains badly; the chosen rows (dead,).

    Args:
        tokens: valid scaled tokens (M, D).
        dead: bool (F,).
        draws: uniform, one a dead feature in ascending order; a token is drawn by its squared error, squared.
    """
    error = (tokens - model.reconstruct(model(tokens))).square().sum(1)
    share = (error.square() / error.square().sum()).cumsum(0)
    items = torch.searchsorted(share, draws.to(share.dtype), right=True).clamp(max=len(tokens) - 1)
    direction = tokens[items] - model.decoder.bias
    direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-12)
    scale = 0.2 * model.encoder.weight[~dead].norm(dim=1).mean()
    model.decoder.weight[:, dead] = direction.T
    model.encoder.weight[dead] = scale * direction
    model.encoder.bias[dead] = 0.0
    return items
