"""cMIM: an auto-encoder whose latent is trained for mutual information, plus a repulsion between codes; no views.

Livne, "Contrastive Mutual Information Learning", arXiv 2509.21511; the latent term is A-MIM's (arXiv 2003.02645; public
code: NVIDIA/NeMo hidden transform and loss, seraphlabs-ca/MIM). No public code of the contrast exists; its constant and
temperature are this project's reading.

The encoder has no decoder of its own here, so that every encoder fits: a small network predicts the item's feature
vector, made by a frozen copy of the encoder with its first weights, under a Gaussian of unit variance in standardised
coordinates. What is rebuilt is then a random projection of the item, not the item.

Symbols: B items, H pooled width, Z latent width, S positions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, Encoder, Features, LossTerms, Progress
from repcore_generic.configs.cmim import CmimConfig

LOG_TWO_PI = math.log(2.0 * math.pi)
NORM_FLOOR = 1e-12


class Posterior(NamedTuple):
    """A latent: the draw ``z``, and the mean and clamped log-variance that it was drawn from, all (..., Z)."""

    z: Tensor
    mean: Tensor
    logvar: Tensor


def posterior(projected: Tensor, noise: Tensor, min_logvar: float) -> Posterior:
    """First half mean, second half log-variance, clamped from below without gradient there; reparameterised draw."""
    mean, logvar = projected.chunk(2, dim=-1)
    logvar = logvar.clamp(min=min_logvar)
    return Posterior(mean + (0.5 * logvar).exp() * noise, mean, logvar)


def log_densities(latent: Posterior) -> tuple[Tensor, Tensor]:
    """Log-densities of the draw, (...): under its posterior, and under the standard normal prior; sums over Z."""
    z, mean, logvar = latent
    log_q = -0.5 * (LOG_TWO_PI + logvar + (z - mean).square() / logvar.exp()).sum(-1)
    return log_q, -0.5 * (LOG_TWO_PI + z.square()).sum(-1)


def latent_term(latent: Posterior) -> Tensor:
    """What A-MIM adds to the negative log-likelihood, (...): both densities with the same sign."""
    log_q, log_prior = log_densities(latent)
    return -0.5 * (log_q + log_prior)


def kl_term(latent: Posterior) -> Tensor:
    """A variational auto-encoder's term, (...): the KL divergence by one draw. (NeMo's code returns its negative.)"""
    log_q, log_prior = log_densities(latent)
    return log_q - log_prior


def contrast(z: Tensor, temperature: float, *, expectation: bool, ids: Sequence[str] = ()) -> Tensor:
    """Repulsion between the codes of a batch, (B,): the positive of a code is the code itself.

    Args:
        z: codes (B, Z).
        temperature: of the cosine similarities.
        expectation: True: the mean over the other items, so that the batch size does not matter; False: their sum.
        ids: items with one id are not each other's negatives.
    """
    count = len(z)
    if count < 2:
        return z.sum(-1) * 0.0
    unit = z / (z.norm(dim=-1, keepdim=True) + NORM_FLOOR)
    similar = unit @ unit.T / temperature
    same = torch.eye(count, dtype=torch.bool, device=z.device)
    if ids:
        numbers = {one: number for number, one in enumerate(dict.fromkeys(ids))}
        number = torch.tensor([numbers[one] for one in ids], device=z.device)
        same = same | (number[:, None] == number[None, :])
    others = (~same).sum(-1)
    spread = similar.masked_fill(same, float("-inf")).logsumexp(-1)
    shift = others.clamp(min=1).to(z.dtype).log() if expectation else 0.0
    return F.softplus(spread - shift - 1.0 / temperature)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid positions: values (B, S) or (B, S, V), valid bool (B, S)."""
    weight = valid.to(values.dtype).reshape(*valid.shape, *[1] * (values.ndim - valid.ndim))
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)


class Cmim(nn.Module):
    """Objective ``generic/cmim``.

    Args:
        config: settings.
        encoder: any :class:`repcore.interfaces.Encoder`.
    """

    target_mean: Tensor
    target_scale: Tensor
    has_target: Tensor

    def __init__(self, config: CmimConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        width = int(cast(Encoder, encoder).dim)
        latent = config.latent_width or width
        self.posterior = nn.Linear(width, 2 * latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, config.decoder_width), nn.GELU(), nn.Linear(config.decoder_width, width)
        )
        self.described = copy.deepcopy(encoder).eval().requires_grad_(False)
        for name in ("target_mean", "target_scale"):
            self.register_buffer(name, torch.zeros(width) if name == "target_mean" else torch.ones(width))
        self.register_buffer("has_target", torch.zeros((), dtype=torch.bool))

    def train(self, mode: bool = True) -> Cmim:
        """The description of an item stays what it was at the start."""
        super().train(mode)
        self.described.eval()
        return self

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``noise`` (B, Z): standard normal."""
        del progress
        device = self.posterior.weight.device
        shape = (batch.size, self.posterior.out_features // 2)
        return {"noise": torch.randn(shape, generator=generator, device=generator.device).to(device)}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Every term is a mean over items."""
        del draws
        return dict.fromkeys(("nll", "latent", "contrast"), batch.size)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        with torch.autocast(batch_device(features.pooled), enabled=False):
            pooled = features.pooled.float()
            latent = posterior(F.linear(pooled, self.posterior.weight, self.posterior.bias),
                               draws["noise"].float(), self.config.min_logvar)  # fmt: skip
            described = self._description(batch)
            error = self.decoder(latent.z) - self._standardised(described)
            nll = 0.5 * (LOG_TWO_PI + error.square()).sum(-1)
            repulsion = contrast(latent.z, self.config.temperature,
                                 expectation=self.config.negatives == "expectation", ids=batch.sample_id)  # fmt: skip
            terms = {"nll": nll.mean(), "latent": latent_term(latent).mean(), "contrast": repulsion.mean()}
        weights = {"nll": 1.0, "latent": 1.0, "contrast": self.config.contrast_weight}
        clamped = (latent.logvar <= self.config.min_logvar).float().mean()
        return LossTerms.of(
            terms, weights, counts=self.counts(batch, draws), carry={"description": described},
            metrics={"clamped_share": clamped, "explained": explained(error, self._standardised(described))},
        )  # fmt: skip

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Tensor]]) -> None:
        """The first batch fixes the scale of what is rebuilt."""
        del progress
        if not bool(self.has_target):
            seen = torch.cat([one["description"] for one in carried])
            self.target_mean.copy_(seen.mean(0))
            self.target_scale.copy_(seen.std(0, correction=0).clamp(min=1e-6))
            self.has_target.fill_(True)

    @torch.no_grad()
    def _description(self, batch: Batch) -> Tensor:
        return torch.as_tensor(self.described(batch).pooled).float()

    def _standardised(self, described: Tensor) -> Tensor:
        return (described - self.target_mean) / self.target_scale


def explained(error: Tensor, target: Tensor) -> Tensor:
    """Share of the target's variance over the batch that the prediction explains."""
    spread = (target - target.mean(0)).square().sum()
    return (1.0 - error.detach().square().sum() / spread.clamp(min=1e-12)).detach()


def batch_device(values: Tensor) -> str:
    """Device type for ``torch.autocast``."""
    return values.device.type
