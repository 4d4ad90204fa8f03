"""Running statistics of classes, and contrasts against them in closed form.

Source: Xie et al. 2023 (SePiCo). Symbols: N rows, C classes, A width, M means in a class's bank, S tokens, E elements.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Moments(NamedTuple):
    """Of each class: number of rows (C,), mean and population variance of each feature (C, A), float64."""

    count: Tensor  # type: ignore[assignment]  # a tuple's own count() is not missed
    mean: Tensor
    variance: Tensor


def class_moments(rows: Tensor, labels: Tensor, classes: int) -> Moments:
    """Statistics of rows (N, A) with classes (N,); a class without rows has zeros."""
    values = rows.detach().double()
    zeros = values.new_zeros(classes, values.shape[1])
    count = torch.bincount(labels, minlength=classes).double()
    some = count.clamp(min=1)[:, None]
    mean = zeros.index_add(0, labels, values) / some
    return Moments(count, mean, zeros.index_add(0, labels, (values - mean[labels]).square()) / some)


def merged(one: Moments, other: Moments) -> Moments:
    """Exactly the statistics of all rows of both."""
    total = one.count + other.count
    share = (other.count / total.clamp(min=1))[:, None]
    apart = (one.mean - other.mean).square()
    variance = (1 - share) * one.variance + share * other.variance + share * (1 - share) * apart
    return Moments(total, (1 - share) * one.mean + share * other.mean, variance)


class ClassStatistics(nn.Module):
    """Statistics of all rows so far and the means of recent batches; buffers, so checkpoints hold them.

    Args:
        classes: C.
        width: A.
        length: M.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    bank: Tensor
    filled: Tensor

    def __init__(self, classes: int, width: int, length: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(classes, width, dtype=torch.float64))
        self.register_buffer("variance", torch.zeros(classes, width, dtype=torch.float64))
        self.register_buffer("bank", torch.zeros(classes, length, width, dtype=torch.float64))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @property
    def moments(self) -> Moments:
        """Of all rows so far."""
        return Moments(self.count, self.mean, self.variance)

    @torch.no_grad()
    def add(self, batch: Moments) -> None:
        """Take a batch in; the oldest mean of a full bank gives way."""
        for buffer, value in zip((self.count, self.mean, self.variance), merged(self.moments, batch), strict=True):
            buffer.copy_(value)
        for name in torch.nonzero(batch.count > 0)[:, 0].tolist():
            self.push(name, batch.mean[name])

    @torch.no_grad()
    def push(self, name: int, mean: Tensor) -> None:
        """One more mean into the bank of a class, behind the others."""
        number, length = int(self.filled[name]), self.bank.shape[1]
        if number == length:
            self.bank[name, :-1] = self.bank[name, 1:].clone()
            number -= 1
        self.bank[name, number] = mean
        self.filled[name] = number + 1

    def means(self, name: int) -> Tensor:
        """The bank of a class, oldest first (m, A)."""
        return self.bank[name, : int(self.filled[name])]


def class_logits(rows: Tensor, moments: Moments, temperature: float, *, spread: bool) -> Tensor:
    """Rows (N, A) against classes (N, C): q.mu / t, with ``spread`` plus (q^2).v / (2 t^2)."""
    logits = rows @ moments.mean.to(rows.dtype).T / temperature
    if not spread:
        return logits
    return logits + rows.square() @ moments.variance.to(rows.dtype).T / (2 * temperature**2)


def gaussian_contrast(
    rows: Tensor,
    labels: Tensor,
    moments: Moments,
    temperature: float,
    *,
    spread: bool = True,
    known: Tensor | None = None,
) -> Tensor:
    """Loss of each row (N,): LSE over classes of the logits, less q.mu of its own class / t.

    With ``spread`` an upper bound of the expected contrast with endlessly many Gaussian keys; without, cross-entropy.

    Args:
        known: classes that take part, bool (C,); None = all, as published, where one never seen has logit 0.
    """
    logits = class_logits(rows, moments, temperature, spread=spread)
    if known is not None:
        logits = logits.masked_fill(~known, -float("inf"))
    own = (rows * moments.mean.to(rows.dtype)[labels]).sum(1) / temperature
    return logits.logsumexp(1) - own


def bank_contrast(rows: Tensor, labels: Tensor, bank: Tensor, filled: Tensor, temperature: float) -> Tensor:
    """Loss of each row (N,): mean over its class's stored means of their contrast with the mean similarities to all
    other classes.

    Args:
        bank: (C, M, A), of which the first ``filled`` (C,) count; an empty class takes no part.
    """
    stored = torch.arange(bank.shape[1], device=bank.device) < filled[:, None]
    similarity = torch.einsum("na,cma->ncm", rows, bank.to(rows.dtype)) / temperature
    by_class = (similarity * stored).sum(2) / filled.clamp(min=1)
    own = torch.zeros_like(by_class, dtype=torch.bool).scatter(1, labels[:, None], True)
    away = own | (filled == 0)
    others = torch.where(
        away.all(1, keepdim=True), torch.zeros_like(by_class), by_class.masked_fill(away, -float("inf"))
    )
    against = others.logsumexp(1, keepdim=True).masked_fill(away.all(1, keepdim=True), -float("inf"))
    each = similarity.gather(1, labels[:, None, None].expand(-1, 1, bank.shape[1]))[:, 0]  # (N, M)
    terms = (torch.logaddexp(each, against) - each) * stored[labels]
    return terms.sum(1) / filled[labels].clamp(min=1)


def evenness(rows: Tensor, mean: Tensor, temperature: float) -> Tensor:
    """How unevenly the mean row (of N, A) is spread over the classes of ``mean`` (C, A): 1 when even, more otherwise;
    0 of fewer than two classes. The published term has the other sign, and falls as one class dominates."""
    classes = len(mean)
    if classes < 2 or len(rows) == 0:
        return rows.sum() * 0.0
    logits = rows.mean(0) @ mean.to(rows.dtype).T / temperature
    return -logits.log_softmax(0).sum() / (classes * math.log(classes))


def token_labels(source: Tensor, labels: Tensor, tokens: int, classes: int, least_share: float) -> Tensor:
    """Class of each token, int64 (S,): that of most of its elements, -1 where its share is below ``least_share``.

    Elements without a label count as a class of their own; of equal shares the lowest class wins.

    Args:
        source: token of each element (E,), -1 = none.
        labels: classes of elements (E,), -1 = missing.
    """
    inside = source >= 0
    column = torch.where(labels >= 0, labels, classes)
    shares = torch.zeros(tokens, classes + 1, device=labels.device, dtype=torch.float64)
    place = source[inside] * (classes + 1) + column[inside]
    shares = shares.view(-1).index_add(0, place, torch.ones_like(place, dtype=torch.float64)).view_as(shares)
    most, name = shares.max(1)
    kept = (most > 0) & (most >= least_share * shares.sum(1)) & (name < classes)
    return torch.where(kept, name, -1)
