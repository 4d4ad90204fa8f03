"""Tasks about elements: a class or a number for every point, voxel, frame, node or edge.

A linear layer (or a small network) on the tokens of one level; ``Tokens.source`` carries the outputs from tokens to
elements. Elements without a token get NaN, elements without a label take no part in a loss.

Symbols: E elements of a batch, S tokens, D width, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.data.label_numbers import check_size, mean_and_deviation
from repcore.errors import ConfigError, DataError, RunError, ShapeError
from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig, DenseConfig, DenseRegressionConfig
from repcore.interfaces import Batch, Features, Tokens
from repcore.specs import TargetSpec


def flat_tokens(tokens: Tokens) -> Tensor:
    """Values (S, D): ragged as they are, dense without padding (with ``source``: all of them, which it counts)."""
    if tokens.owner is not None:
        return tokens.values
    flat = tokens.values.reshape(-1, tokens.values.shape[-1])
    if tokens.source is not None or tokens.valid is None:
        return flat
    return flat[tokens.valid.reshape(-1)]


def at_elements(tokens: Tokens, rows: Tensor) -> Tensor:
    """Rows of tokens (S, K) at the elements (E, K); NaN where an element has no token."""
    if tokens.source is None:
        return rows
    found = rows[tokens.source.clamp(min=0)]
    return found.masked_fill((tokens.source < 0)[:, None], float("nan"))


def level_tokens(features: Features, level: str) -> Tokens:
    """Tokens by level name.

    Raises:
        RunError: the encoder gives no such level.
    """
    if level not in features.tokens:
        raise RunError(f"the encoder gives no tokens {level!r}", levels=", ".join(features.tokens) or "none")
    return features.tokens[level]


class DenseTask(nn.Module):
    """What both tasks share: the encoder and the head ``classifier`` on one token level.

    Args:
        config: ``tokens`` and ``width`` known.
        encoder: with that token level.
        target: of a level below the item.
        outputs: K.

    Raises:
        ConfigError: a size is not known, or the target is of another kind.
    """

    kinds: tuple[str, ...] = ()

    def __init__(self, config: DenseConfig, encoder: nn.Module, target: TargetSpec, outputs: int) -> None:
        super().__init__()
        if target.kind not in self.kinds:
            raise ConfigError(
                f"'{target.name}' is a {target.kind} target; {type(self).__name__} learns {self.kinds[0]}"
            )
        if not config.tokens or not config.width:
            raise ConfigError(f"tokens={config.tokens!r}, width={config.width}: the level is not known", field="task")
        self.config, self.encoder, self.target, self.outputs = config, encoder, target, outputs
        parts: list[nn.Module] = [nn.Dropout(config.dropout)]
        if config.head == "mlp":
            parts += [nn.Linear(config.width, config.width), nn.GELU()]
        self.classifier = nn.Sequential(*parts, nn.Linear(config.width, outputs))

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs of the elements (E, K), item after item."""
        tokens = level_tokens(self.encoder(batch), self.config.tokens)
        return at_elements(tokens, self.classifier(flat_tokens(tokens)))

    def _check(self, outputs: Tensor, labels: Tensor) -> None:
        if len(labels) != len(outputs):
            raise ShapeError(
                f"{len(labels)} labels of '{self.target.name}' for {len(outputs)} elements",
                hint="the preprocessor has to give dense labels in the order of the tokens' source",
            )


class DenseClassification(DenseTask):
    """A class for every element; cross-entropy over labelled elements, optionally with soft Dice.

    ``predict`` gives probabilities (E, K).
    """

    kinds = ("class",)
    weights: Tensor
    values: Tensor

    def __init__(self, config: DenseClassificationConfig, encoder: nn.Module, target: TargetSpec) -> None:
        values = config.values or tuple(range(len(target.names)))
        if len(values) < 2:
            raise ConfigError(f"{len(values)} classes for target '{target.name}'", field="task.values")
        super().__init__(config, encoder, target, len(values))
        self.balanced, self.dice_weight = config.class_weights == "balanced", config.dice_weight
        self.register_buffer("values", torch.as_tensor(values, dtype=torch.int64))
        self.register_buffer("weights", torch.ones(len(values)))

    def fit_counts(self, counts: Mapping[int, int]) -> None:
        """Class weights N / (K n_c) from the numbers of labelled training elements by value.

        Raises:
            DataError: fewer than two classes occur.
        """
        number = np.asarray([counts.get(int(one), 0) for one in self.values], np.float64)
        if (number > 0).sum() < 2:
            raise DataError(f"training elements show {int((number > 0).sum())} classes of '{self.target.name}'")
        if self.balanced:
            weights = np.where(number > 0, number.sum() / (len(number) * np.maximum(number, 1)), 1.0)
            self.weights.copy_(torch.as_tensor(weights))

    def fit_targets(self, values: np.ndarray) -> None:
        """The same from labels (N,), NaN = missing."""
        known = np.asarray(values, np.float64).reshape(-1)
        found, number = np.unique(known[~np.isnan(known)], return_counts=True)
        self.fit_counts({int(one): int(n) for one, n in zip(found, number, strict=True)})

    def classes(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Class numbers int64 (E,) and which of them are known, bool (E,)."""
        known = ~torch.isnan(labels) if labels.is_floating_point() else torch.ones_like(labels, dtype=torch.bool)
        whole = torch.nan_to_num(labels).long() if labels.is_floating_point() else labels.long()
        if self.target.ignore is not None:
            known = known & (whole != self.target.ignore)
        order = torch.argsort(self.values)
        place = torch.searchsorted(self.values[order], whole).clamp(max=len(self.values) - 1)
        numbers = order[place]
        return numbers, known & (self.values[numbers] == whole)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar; 0 with a graph where no element is labelled.

        Args:
            labels: the data's numbers (E,); NaN, ``ignore`` and numbers that are no class = missing.
        """
        labels = labels.reshape(-1)
        self._check(outputs, labels)
        numbers, known = self.classes(labels)
        known = known & torch.isfinite(outputs.detach()).all(1)
        if not bool(known.any()):
            return torch.nan_to_num(outputs).sum() * 0.0
        logits, wanted = outputs[known], numbers[known]
        weights = self.weights.to(logits.dtype) if self.balanced else None
        total = F.cross_entropy(logits, wanted, weight=weights)
        return total + self.dice_weight * soft_dice(logits, wanted) if self.dice_weight else total

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (E, K)."""
        return outputs.float().softmax(dim=-1)


def soft_dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """1 - Dice of probabilities, the mean over classes that occur (Milletari et al. 2016).

    Args:
        logits: (E, K). wanted: int64 (E,).
    """
    p = logits.float().softmax(1)
    truth = F.one_hot(wanted, logits.shape[1]).to(p.dtype)
    dice = (2 * (p * truth).sum(0) + 1e-5) / (p.sum(0) + truth.sum(0) + 1e-5)
    return (1 - dice[truth.sum(0) > 0]).mean()


class DenseRegression(DenseTask):
    """Numbers for every element; mean squared error on standardised labels, predictions in original units."""

    kinds = ("regression",)
    takes_float64 = True
    mean: Tensor
    scale: Tensor

    def __init__(self, config: DenseRegressionConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__(config, encoder, target, config.outputs)
        self.register_buffer("mean", torch.zeros(self.outputs, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.outputs, dtype=torch.float64))

    def fit_targets(self, values: np.ndarray) -> None:
        """Mean and standard deviation of training labels (N,) or (N, K)."""
        matrix = np.asarray(values, np.float64).reshape(-1, self.outputs)
        if np.isnan(matrix).all():
            raise DataError(f"no training element has a label '{self.target.name}'")
        check_size(matrix, self.target)
        for k in range(self.outputs):
            known = matrix[~np.isnan(matrix[:, k]), k]
            if known.size:
                self.mean[k], deviation = mean_and_deviation(known, self.target.name)
                self.scale[k] = deviation or 1.0

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar in standardised units.

        Args:
            labels: (E,) or (E, K) in original units; NaN = missing.
        """
        shaped = labels.double().reshape(-1, self.outputs)
        self._check(outputs, shaped)
        shaped = ((shaped - self.mean) / self.scale).float()
        known = ~torch.isnan(shaped) & torch.isfinite(outputs.detach())
        error = torch.where(known, outputs.float() - shaped.nan_to_num(0.0), 0.0)
        return error.square().sum() / known.sum().clamp(min=1)

    def predict(self, outputs: Tensor) -> Tensor:
        """Values in the units of the labels (E, K), float64."""
        return outputs.double() * self.scale + self.mean


def own_level_widths(encoder: nn.Module) -> Mapping[str, Any]:
    """Widths that an encoder names itself (``level_widths``); empty where it does not."""
    widths = getattr(encoder, "level_widths", {})
    return widths if isinstance(widths, Mapping) else {}
