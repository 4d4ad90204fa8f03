"""Losses that several systems share. All compute in float32 at least and stay finite for large logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError, ShapeError


def _widened(values: Tensor) -> Tensor:
    """float32, or float64 if it is that already."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def masked_mean(values: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Mean of the values whose mask is True; 0 (with gradient 0) where there is none.

    Args:
        values: any shape; NaN and infinity outside the mask do no harm.
        mask: bool, broadcastable to ``values``.
        dim: dimensions to average over; None = all.
    """
    mask = mask.expand_as(values)
    kept = values.masked_fill(~mask, 0.0)
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim) / mask.sum(dim).clamp(min=1)


def info_nce(queries: Tensor, keys: Tensor, *, negatives: Tensor | None = None, temperature: float = 0.1) -> Tensor:
    """Mean over rows of -log softmax of the matching pair; one direction.

    Source: van den Oord et al. 2018 (arXiv 1807.03748); with ``negatives`` He et al. 2020 (arXiv 1911.05722), eq. 1.

    Args:
        queries: float (N, D), of unit length for a cosine similarity.
        keys: float (N, D); row i matches query i.
        negatives: float (K, D), a queue; then the other keys are no negatives. None: the other rows of ``keys`` are.
        temperature: divides similarities.

    Returns:
        scalar.

    Raises:
        ConfigError: temperature is not positive.
        ShapeError: shapes differ or there is no row.
    """
    if temperature <= 0:
        raise ConfigError(f"temperature={temperature} is not positive")
    if queries.shape != keys.shape or queries.ndim != 2 or not len(queries):
        raise ShapeError(f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} are not pairs of rows")
    queries, keys = _widened(queries), _widened(keys)
    if negatives is None:
        logits = queries @ keys.T / temperature
        return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
    positive = (queries * keys).sum(1) / temperature
    others = torch.logsumexp(queries @ _widened(negatives).T / temperature, dim=1)
    return (torch.logaddexp(positive, others) - positive).mean()


def centred_teacher(logits: Tensor, centre: Tensor | float, temperature: float) -> Tensor:
    """Teacher probabilities softmax((logits - centre) / temperature), without gradient.

    Source: Caron et al. 2021 (arXiv 2104.14294), eq. 1 and section 3.1 (centring and sharpening).
    """
    return F.softmax((_widened(logits.detach()) - centre) / temperature, dim=-1)


def soft_cross_entropy(student_logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """-sum_k teacher_k log softmax(student / temperature)_k, one value a row.

    Args:
        student_logits: float (..., K).
        teacher: probabilities (..., K) that sum to 1, without gradient.
        temperature: of the student.

    Returns:
        float (...). The log-probabilities themselves are never stored: logsumexp minus a dot product.
    """
    scaled = _widened(student_logits) / temperature
    return torch.logsumexp(scaled, dim=-1) - (teacher * scaled).sum(-1)
