"""2D Matryoshka: every layer depth and every prefix width of the embedding is trained to be useful alone.

Li et al., arXiv 2402.14776 (2DMSE, later Espresso); public code: huggingface/sentence-transformers (Matryoshka2dLoss),
SeanLee97/AnglE (Espresso). Wraps an inner objective whose loss is a function of pooled vectors of two views.

Corrected here by default: the distillation towards the last layer is a mean over drawn layers like the pair loss (the
published code sums it), rows are standardised before its softmax, its teacher is detached.

Symbols: B items, D width of the vectors, L layers after the embedding output, W widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore import registry
from repcore.config.resolve import resolve_part
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress
from repcore.training.assembly import build
from repcore_generic.configs.matryoshka import MatryoshkaConfig
from repcore_generic.objectives.layer_pooling import token_mean
from repcore_generic.objectives.pairs import no_autocast, two_views

Views = Mapping[str, Tensor]  # pooled vectors of each view, (B, D)
PairLoss = Callable[[Views], Tensor]
Weighting = Literal["uniform", "log", "linear"]
ROW_SCALE_FLOOR = 1e-6


def truncated(vectors: Views, width: int) -> dict[str, Tensor]:
    """The first ``width`` dimensions of each view, at unit length."""
    return {name: F.normalize(value[:, :width], dim=-1) for name, value in vectors.items()}


def width_loss(vectors: Views, widths: Sequence[int], weights: Mapping[int, float], loss: PairLoss) -> Tensor:
    """Weighted sum of the pair loss over prefix widths."""
    return torch.stack([weights[width] * loss(truncated(vectors, width)) for width in widths]).sum()


def layer_weight(layer: int, weighting: Weighting, offset: int = 0) -> float:
    """Weight of a drawn earlier layer; ``offset`` 1 numbers H_1 as 0, as older published code does."""
    index = layer - offset
    return {"uniform": 1.0, "log": 1.0 / (1.0 + math.log1p(index)), "linear": 1.0 / (1.0 + index)}[weighting]


def standardised_rows(values: Tensor) -> Tensor:
    """Rows with mean 0 and population standard deviation 1; a constant row becomes 0."""
    centred = values - values.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp(min=ROW_SCALE_FLOOR)


def layer_divergence(last: Views, earlier: Views, temperature: float, *, standardise: bool, detach: bool) -> Tensor:
    """Temperature times the KL divergence of an earlier layer's softmax over dimensions from the last layer's.

    Both over the full, un-normalised pooled vectors of all views, mean over the rows.
    """
    teacher, student = torch.cat(list(last.values())), torch.cat(list(earlier.values()))
    teacher = teacher.detach() if detach else teacher
    if standardise:
        teacher, student = standardised_rows(teacher), standardised_rows(student)
    target, guess = (F.log_softmax(value / temperature, dim=-1) for value in (teacher, student))
    return temperature * (target.exp() * (target - guess)).sum(-1).mean()


def gram_compression(values: Tensor, width: int) -> Tensor:
    """How far the cosines of the prefix are from those of the whole vectors: mean square over ordered pairs i != j."""
    full, prefix = (F.normalize(one, dim=-1) for one in (values.detach(), values[:, :width]))
    error = (prefix @ prefix.T - full @ full.T).square()
    count = len(values)
    return (error.sum() - error.diagonal().sum()) / max(1, count * (count - 1))


def svd_compression(values: Tensor, width: int, temperature: float, target: Tensor) -> Tensor:
    """Espresso's compression: square distance of the prefix from a target, and KL of their softmaxes over dimensions.

    Args:
        values: all rows of the batch (2B, D).
        target: projection of the rows onto leading directions, scaled by their singular values, (2B, width).
    """
    prefix = values[:, :width]
    wanted, got = (F.log_softmax(one / temperature, dim=-1) for one in (target, prefix))
    divergence = temperature * (wanted.exp() * (wanted - got)).sum(-1).mean()
    return F.mse_loss(prefix, target) + divergence


def svd_target(values: Tensor, directions: Tensor, singular: Tensor) -> Tensor:
    """Rows projected onto directions (D, k) and scaled by singular values (k,); without gradient."""
    return (values @ directions * singular).detach()


def similarity_of_dimensions(values: Tensor) -> Tensor:
    """Softmax over each row of E'E / sqrt(D), (D, D): the matrix whose leading directions Espresso keeps."""
    return F.softmax(values.T @ values / math.sqrt(values.shape[1]), dim=-1)


class Matryoshka2d(nn.Module):
    """Objective ``generic/matryoshka-2d``.

    Args:
        config: settings; ``inner`` names the pair objective.
        encoder: with capability ``layers``: tokens of equal width at each layer, and a number of layers ``depth``.

    Raises:
        ConfigError: the inner objective has no ``pair_loss``, or a width does not fit the encoder.
    """

    def __init__(self, config: MatryoshkaConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.width, self.depth = int(encoder.token_width()), int(encoder.depth)  # type: ignore[operator,arg-type]  # layers
        self.first_layer = int(getattr(encoder, "first_layer", 0))
        self.widths = _checked_widths(config, self.width)
        part = resolve_part(registry.default(), "objective", config.inner, {}, "generic")
        self.inner: Any = build(part, encoder)
        if not hasattr(self.inner, "pair_loss"):
            raise ConfigError(
                f"objective {part.name} cannot be wrapped: it has no pair_loss(vectors, batch, draws)",
                field="objective.inner",
                hint="objective.inner=generic/simclr",
            )
        for parameter in self.inner.parameters():
            parameter.requires_grad_(any(parameter is one for one in encoder.parameters()))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``layers`` int64 (n,): earlier layers; ``widths`` int64 (1 + n, m): widths of the last and of each layer."""
        layers = self.config.layers_per_step
        earlier = self.depth - self.first_layer
        count = earlier if layers < 0 else min(layers, earlier)
        many = (
            len(self.widths) if self.config.widths_per_step < 0 else min(self.config.widths_per_step, len(self.widths))
        )
        device = generator.device
        chosen = self.first_layer + torch.randperm(earlier, generator=generator, device=device)[:count].sort().values
        every = torch.tensor(self.widths, device=device)
        rows = [torch.randperm(len(self.widths), generator=generator, device=device)[:many] for _ in range(1 + count)]
        widths = torch.stack([every[row].sort(descending=True).values for row in rows])
        return {"layers": chosen.cpu(), "widths": widths.cpu(), "inner": self.inner.draw(batch, generator, progress)}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Every term is a mean over items."""
        del draws
        return dict.fromkeys(("last", "prior", "kl"), batch.size)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        layers = [int(one) for one in draws["layers"]]
        pooled: dict[int, dict[str, Tensor]] = {}
        for name, view in two_views(batch).items():
            features: Features = self.encoder(view, layers=[*layers, self.depth])
            for layer in (*layers, self.depth):
                pooled.setdefault(layer, {})[name] = token_mean(features.layers[layer], view.size).float()
        with no_autocast(next(iter(pooled[self.depth].values()))):
            terms = self._terms(pooled, layers, draws["widths"].tolist(), batch, draws["inner"])
        config = self.config
        weights = {"last": config.last_weight, "prior": config.prior_weight, "kl": config.kl_weight}
        return LossTerms.of(terms, weights, counts=self.counts(batch, draws))

    def _terms(
        self, pooled: Mapping[int, Views], layers: list[int], widths: list[list[int]], batch: Batch, inner: Draws
    ) -> dict[str, Tensor]:
        def loss(vectors: Views) -> Tensor:
            value: Tensor = self.inner.pair_loss(vectors, batch, inner)
            return value

        return depth_terms(
            pooled[self.depth], {layer: pooled[layer] for layer in layers}, widths, dict.fromkeys(self.widths, 1.0),
            loss, weighting=self.config.layer_weighting, temperature=self.config.kl_temperature,
        )  # fmt: skip


def depth_terms(
    last: Views,
    earlier: Mapping[int, Views],
    widths: Sequence[Sequence[int]],
    weights: Mapping[int, float],
    loss: PairLoss,
    *,
    weighting: Weighting = "log",
    temperature: float = 0.3,
    offset: int = 0,
    detach: bool = True,
    standardise: bool = True,
    sum_divergence: bool = False,
) -> dict[str, Tensor]:
    """Terms ``last``, ``prior`` and ``kl``, each unweighted.

    Args:
        last / earlier: pooled vectors of the last layer, and of each drawn earlier layer by number.
        widths: prefix widths of the last layer's call, then of each earlier layer's in order.
        weights: of each width.
        loss: pair loss on vectors of the views.
        weighting / offset: of earlier layers; see :func:`layer_weight`.
        detach / standardise / sum_divergence: how the last layer teaches the earlier ones; the published code does not
            standardise and sums over layers.
    """
    terms = {"last": width_loss(last, widths[0], weights, loss)}
    if not earlier:
        return {**terms, "prior": terms["last"] * 0.0, "kl": terms["last"] * 0.0}
    losses, divergences = [], []
    for (layer, vectors), chosen in zip(earlier.items(), widths[1:], strict=True):
        losses.append(layer_weight(layer, weighting, offset) * width_loss(vectors, chosen, weights, loss))
        divergences.append(layer_divergence(last, vectors, temperature, standardise=standardise, detach=detach))
    divergence = torch.stack(divergences)
    return {
        **terms,
        "prior": torch.stack(losses).mean(),
        "kl": divergence.sum() if sum_divergence else divergence.mean(),
    }


def _checked_widths(config: MatryoshkaConfig, full: int) -> list[int]:
    widths = sorted(set(config.widths) or {max(1, full >> step) for step in range(4)}, reverse=True)
    wrong = [width for width in widths if not 0 < width <= full]
    if wrong:
        raise ConfigError(f"width {wrong[0]} does not fit embeddings of width {full}", field="objective.widths")
    return widths
