"""Variational training of the network over matches: a posterior that knows which are right teaches the prior.

Source: Jiang et al. 2023 (VBReg, arXiv 2304.01514), equations 8 to 13; public repository `Jiang-HB/VBReg`.

Differs by default: the value branch embeds labels by a map of its own (the public code uses the key's, so that the
value's never learns); no seeds and motions are computed in training, where the public code gives them weight 0.

Symbols: B pairs, N matches, S latent, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore_pointcloud.configs.vbreg import MatchConsistencyConfig
from repcore_pointcloud.encoders.match_network import BRANCHES, Judged, MatchNetwork, centred, match_inputs
from repcore_pointcloud.layers.match_layers import MomentNetwork, Moments, feature_agreement, length_agreement

POSTERIOR, PRIOR = "posterior", "prior"
KL_SHARE = 0.5  # of its weight, as published


class Passes(NamedTuple):
    """Both passes of a step, and the moments of the posterior one: (layer, branch) -> (prior, posterior)."""

    posterior: Judged
    prior: Judged
    moments: Mapping[tuple[int, str], tuple[Moments, Moments]]


class MatchConsistency(nn.Module):
    """Objective ``pointcloud/match-consistency``.

    Args:
        config: weights.
        encoder: a :class:`MatchNetwork`; becomes part of this module.

    Call:
        batch.inputs: as of the encoder, and ``right`` float (B, N): 1 right, 0 wrong, NaN where the motion is unknown.
        draws: ``noise_posterior`` and ``noise_prior`` (L, 3, B, S, N); ``turn`` (B, 3, 3) of the targets and ``swap``
            bool (B,), or neither.
    Returns:
        terms classification, spectral (each of the posterior and the prior pass) and kl.

    Raises:
        ConfigError: another encoder. RunError: no match of a batch has a known motion.
    """

    def __init__(self, config: MatchConsistencyConfig, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, MatchNetwork):
            raise ConfigError(f"encoder {type(encoder).__name__} judges no matches", hint="encoder: pointcloud/vbreg")
        self.config, self.encoder = config, encoder
        sizes = encoder.config
        named = BRANCHES if config.value_label == "own" else BRANCHES[:2]
        self.labels = nn.ModuleDict({name: nn.Linear(2, config.label_width) for name in named})
        inputs = sizes.belief_width + config.label_width
        self.posterior = nn.ModuleDict(
            {name: MomentNetwork(inputs, sizes.hidden_width, sizes.latent_width) for name in BRANCHES}
        )

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Noise of both passes, a turn of the targets and whether both sides change places."""
        del progress
        source, _, _ = match_inputs(batch)
        sizes = self.encoder.config
        shape = (sizes.layers, len(BRANCHES), len(source), sizes.latent_width, source.shape[1])
        device = source.device
        draws = {
            name: torch.randn(shape, generator=generator, device=device) for name in ("noise_posterior", "noise_prior")
        }
        if self.config.turn:
            raw = torch.randn(len(source), 4, generator=generator, device=device)
            draws["turn"] = rotations(raw)
            draws["swap"] = torch.rand(len(source), generator=generator, device=device) < 0.5
        return draws

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        source, target, valid = match_inputs(batch)
        right = batch.inputs.get("right") if isinstance(batch.inputs, Mapping) else None
        known = valid & right.isfinite() if right is not None else torch.zeros_like(valid)
        if right is None or not known.any():
            raise RunError("no match of the batch has a known motion", hint="pairs with a 4x4 motion, as match-pairs")
        source, target = _moved(source, target, draws)
        agreement = length_agreement(source, target, self.encoder.config.length_tolerance_m)
        passes = self.passes(centred(source, target, known), agreement, right.nan_to_num(), draws, known)
        return self.terms(passes, right.nan_to_num(), known)

    def passes(
        self, matches: Tensor, agreement: Tensor, right: Tensor, draws: Draws, valid: Tensor | None = None
    ) -> Passes:
        """The posterior pass and then the prior pass, which is the order in which batch norms see them."""
        onehot = torch.stack([1.0 - right, right], dim=-1)
        moments: dict[tuple[int, str], tuple[Moments, Moments]] = {}

        def from_posterior(layer: int, branch: str, belief: Tensor, prior: Moments) -> Tensor:
            label = self.labels[branch if branch in self.labels else "key"](onehot)
            found = self.posterior[branch](torch.cat([belief, label], dim=-1))
            moments[layer, branch] = prior, found
            return _drawn(found, draws["noise_posterior"], layer, branch)

        def from_prior(layer: int, branch: str, belief: Tensor, prior: Moments) -> Tensor:
            del belief
            return _drawn(prior, draws["noise_prior"], layer, branch)

        posterior = self.encoder.judge(matches, agreement, from_posterior, valid)
        return Passes(posterior, self.encoder.judge(matches, agreement, from_prior, valid), moments)

    def terms(self, passes: Passes, right: Tensor, valid: Tensor | None = None) -> LossTerms:
        """The five terms, weighted as published."""
        known = torch.ones_like(right, dtype=torch.bool) if valid is None else valid
        pairs = known[:, :, None] & known[:, None, :]
        together = right[:, :, None] * right[:, None, :]
        together = together * (1.0 - torch.eye(right.shape[1], dtype=right.dtype, device=right.device))
        terms: dict[str, Tensor] = {}
        for name, judged in ((POSTERIOR, passes.posterior), (PRIOR, passes.prior)):
            loss = F.binary_cross_entropy_with_logits(judged.confidence.float(), right, reduction="none")
            terms[f"classification_{name}"] = loss[known].mean()
            found = feature_agreement(judged.features.float(), self.encoder.temperature.float())
            terms[f"spectral_{name}"] = (found - together).square()[pairs].mean()
        terms["kl"] = self._divergence(passes, known)
        mix, kl = self.config.mix, KL_SHARE * self.config.kl_weight
        share = {POSTERIOR: mix, PRIOR: 1.0 - mix}
        weights = {name: share.get(name.rpartition("_")[2], kl) for name in terms}
        counts = {name: pairs.sum() if name.startswith("spectral") else known.sum() for name in terms}
        return LossTerms.of(terms, weights, counts=counts, metrics=_judgement(passes.prior.confidence, right, known))

    def _divergence(self, passes: Passes, known: Tensor) -> Tensor:
        balance = self.config.kl_balance
        found = []
        for prior, posterior in passes.moments.values():
            still = Moments(*(one.detach() for one in posterior)), Moments(*(one.detach() for one in prior))
            one = balance * divergence(still[0], prior) + (1.0 - balance) * divergence(posterior, still[1])
            found.append(one[known].mean())
        return torch.stack(found).mean()

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Matches and pairs of matches whose motion is known."""
        del draws
        known = batch.inputs["valid"] & batch.inputs["right"].isfinite()
        number = known.sum()
        pairs = known.sum(1).square().sum()
        names = (f"{kind}_{one}" for kind in ("classification", "spectral") for one in (POSTERIOR, PRIOR))
        return {**{name: pairs if name.startswith("spectral") else number for name in names}, "kl": number}

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The pair with the matches that the network believes most."""
        del draws
        from repcore_pointcloud.rendering.matches import judged_picture

        valid = batch.inputs["valid"][0]
        score = self.encoder(batch).extras["confidence"][0][valid]
        sides = [batch.inputs[name][0][valid].cpu().numpy() for name in ("source", "target")]
        return judged_picture(
            sides[0], sides[1], score.float().cpu().numpy(), batch.inputs["right"][0][valid].cpu().numpy()
        )


def divergence(one: Moments, other: Moments) -> Tensor:
    """KL(one || other) of diagonal normal distributions, summed over the latent width: (B, N)."""
    ratio = (one.deviation / other.deviation).square()
    shift = ((one.mean - other.mean) / other.deviation).square()
    return 0.5 * (ratio + shift - 1.0 - ratio.log()).sum(-1)


def rotations(raw: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of normal numbers (B, 4): unit quaternions, evenly over all rotations."""
    w, x, y, z = F.normalize(raw, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _moved(source: Tensor, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Targets turned about 0, and both sides changed where the draw says so."""
    if "turn" not in draws:
        return source, target
    turned = target @ draws["turn"].to(target.dtype).transpose(1, 2)
    swap = draws["swap"][:, None, None]
    return torch.where(swap, turned, source), torch.where(swap, source, turned)


def _drawn(moments: Moments, noise: Tensor, layer: int, branch: str) -> Tensor:
    return moments.mean + moments.deviation * noise[layer, BRANCHES.index(branch)].transpose(1, 2)


def _judgement(confidence: Tensor, right: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Share of right ones among the matches and among as many that are believed most."""
    truth = right[known] > 0.5
    score = confidence.detach()[known]
    number = int(truth.sum())
    top = truth[score.topk(number).indices].float().mean() if number else score.new_zeros(())
    return {"inlier_share": truth.float().mean(), "precision_of_top": top}
