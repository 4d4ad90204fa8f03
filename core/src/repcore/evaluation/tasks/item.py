"""Item-level fine-tuning: one class of several, several yes/no labels, or numbers.

Missing labels (NaN) take no part in any loss. What is learned from labels (class weights, scalers) comes from the
training split only, lives in buffers and so travels with the checkpoint; predictions are probabilities or values in
the units of the data.

Differs from SELFormer's scripts: there missing labels count as negatives and each split has its own scaler.

Symbols: B items, K outputs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.data.label_numbers import mean_and_deviation
from repcore.errors import ConfigError, DataError, ShapeError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig, RegressionConfig, TaskConfig
from repcore.evaluation.tasks.heads import build_head
from repcore.interfaces import Batch
from repcore.specs import TargetSpec


class ItemTask(nn.Module):
    """What the three tasks share: the encoder, the head ``classifier``, and label checks.

    Args:
        config: of the task.
        encoder: :class:`repcore.interfaces.Encoder`, trained along with the head.
        target: which label, and the names of its classes or tasks.
        outputs: K where neither the config nor the target's names say it.

    Raises:
        ConfigError: K is not known, or below the least that makes sense.
    """

    kinds: tuple[str, ...] = ()
    least_outputs = 1

    def __init__(self, config: TaskConfig, encoder: nn.Module, target: TargetSpec, outputs: int | None) -> None:
        super().__init__()
        if target.kind not in self.kinds:
            raise ConfigError(
                f"'{target.name}' is a {target.kind} target; {type(self).__name__} learns {' or '.join(self.kinds)}"
            )
        count = config.outputs if config.outputs is not None else (len(target.names) or outputs)
        if count is None or count < self.least_outputs:
            raise ConfigError(
                f"outputs={count} for target '{target.name}'",
                field="task.outputs",
                expected=f"at least {self.least_outputs}; the data names no classes or tasks",
            )
        self.config = config
        self.target = target
        self.outputs = count
        self.encoder = encoder
        self.classifier = build_head(config.head, int(encoder.dim), count, config.dropout)  # type: ignore[arg-type]

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        outputs: Tensor = self.classifier(self.encoder(batch))
        return outputs

    def _matrix(self, values: np.ndarray, columns: int) -> np.ndarray:
        """Training labels as float64 (N, columns)."""
        matrix = np.asarray(values, dtype=np.float64)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        if matrix.ndim != 2 or matrix.shape[1] != columns:
            raise ShapeError(f"labels of '{self.target.name}' have shape {np.shape(values)}; expected (N, {columns})")
        if self.target.ignore is not None:
            matrix = np.where(matrix == self.target.ignore, np.nan, matrix)
        if np.isnan(matrix).all():
            raise DataError(f"no training row has a label '{self.target.name}'", rows=len(matrix))
        return matrix

    def _columns(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Labels in the shape of the outputs (B, K)."""
        shaped = labels[:, None] if labels.ndim == 1 else labels
        if shaped.shape != outputs.shape:
            raise ShapeError(
                f"labels of '{self.target.name}' have shape {tuple(labels.shape)}; expected {tuple(outputs.shape)}"
            )
        return shaped


class ClassificationTask(ItemTask):
    """One class of K; cross-entropy, mean over labelled items (weighted mean with class weights).

    ``predict`` gives class probabilities (B, K). Class numbers are 0 .. K-1; two classes are two outputs.
    """

    kinds = ("class",)
    least_outputs = 2
    weights: Tensor

    def __init__(self, config: ClassificationConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__(config, encoder, target, outputs=2)
        self.balanced = config.class_weights == "balanced"
        self.register_buffer("weights", torch.ones(self.outputs))

    def fit_targets(self, values: np.ndarray) -> None:
        """Class weights N / (K * n_c) of training labels (N,) or (N, 1); classes without a row weigh 1.

        Raises:
            DataError: a label is not a class number below K.
        """
        matrix = self._matrix(values, 1)[:, 0]
        known = matrix[~np.isnan(matrix)]
        if ((known != np.round(known)) | (known < 0) | (known >= self.outputs)).any():
            wrong = ", ".join(f"{one:g}" for one in np.unique(known)[:8])
            raise DataError(
                f"labels of '{self.target.name}' are not class numbers 0 .. {self.outputs - 1}",
                found=wrong,
                hint="task.outputs",
            )
        counts = np.bincount(known.astype(np.int64), minlength=self.outputs)
        if self.balanced:
            weights = np.where(counts > 0, known.size / (self.outputs * np.maximum(counts, 1)), 1.0)
            self.weights.copy_(torch.as_tensor(weights))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar; 0 with a graph when no item of the batch is labelled.

        Args:
            outputs: (B, K).
            labels: class numbers (B,) or (B, 1); NaN or ``target.ignore`` = missing.
        """
        flat = labels.reshape(len(outputs))
        known = ~torch.isnan(flat) if flat.is_floating_point() else torch.ones_like(flat, dtype=torch.bool)
        if self.target.ignore is not None:
            known = known & (flat != self.target.ignore)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        weights = self.weights.to(outputs.dtype) if self.balanced else None
        return F.cross_entropy(outputs[known], flat[known].long(), weight=weights)

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (B, K)."""
        return outputs.float().softmax(dim=-1)


class MultilabelTask(ItemTask):
    """K yes/no labels; binary cross-entropy on logits, mean over the labels that are known.

    ``predict`` gives the probability of 1 (B, K).
    """

    kinds = ("multilabel",)
    weights: Tensor

    def __init__(self, config: MultilabelConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__(config, encoder, target, outputs=None)
        self.balanced = config.class_weights == "balanced"
        self.largest_weight = config.largest_weight
        self.register_buffer("weights", torch.ones(self.outputs))

    def fit_targets(self, values: np.ndarray) -> None:
        """Weight of the ones of each task, zeros / ones of training labels (N, K), within bounds.

        Raises:
            DataError: a label is neither 0, 1 nor missing.
        """
        matrix = self._matrix(values, self.outputs)
        if not np.isin(matrix[~np.isnan(matrix)], (0.0, 1.0)).all():
            raise DataError(f"labels of '{self.target.name}' are not 0, 1 or missing")
        if self.balanced:
            ones, zeros = (matrix == 1).sum(axis=0), (matrix == 0).sum(axis=0)
            ratio = np.where((ones > 0) & (zeros > 0), zeros / np.maximum(ones, 1), 1.0)
            self.weights.copy_(torch.as_tensor(ratio.clip(1 / self.largest_weight, self.largest_weight)))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar; 0 with a graph when no label of the batch is known.

        Args:
            outputs: (B, K).
            labels: 0/1 (B, K); NaN = missing.
        """
        shaped = self._columns(outputs, labels).to(outputs.dtype)
        known = ~torch.isnan(shaped)
        weights = self.weights.to(outputs.dtype) if self.balanced else None
        each = F.binary_cross_entropy_with_logits(outputs, shaped.nan_to_num(0.0), pos_weight=weights, reduction="none")
        return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (B, K)."""
        return outputs.float().sigmoid()


class RegressionTask(ItemTask):
    """K numbers; mean squared error on standardised labels, mean over the labels that are known.

    ``predict`` gives values in original units (B, K).
    """

    kinds = ("regression", "landmark")
    takes_float64 = True
    mean: Tensor
    scale: Tensor

    def __init__(self, config: RegressionConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__(config, encoder, target, outputs=1)
        self.standardise = config.standardise
        self.register_buffer("mean", torch.zeros(self.outputs, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.outputs, dtype=torch.float64))

    def fit_targets(self, values: np.ndarray) -> None:
        """Mean and standard deviation of each column of training labels (N,) or (N, K); scale 1 if constant.

        Raises:
            DataError: labels differ by so little that no loss can be computed.
        """
        matrix = self._matrix(values, self.outputs)
        if not self.standardise:
            return
        for k in range(self.outputs):
            known = matrix[~np.isnan(matrix[:, k]), k]
            if known.size:
                self.mean[k], deviation = mean_and_deviation(known, self.target.name)
                self.scale[k] = deviation or 1.0

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar in standardised units; 0 with a graph when no label of the batch is known.

        Args:
            outputs: (B, K).
            labels: (B,) or (B, K) in original units; NaN = missing.
        """
        shaped = ((self._columns(outputs, labels).double() - self.mean) / self.scale).float()
        known = ~torch.isnan(shaped)
        error = torch.where(known, outputs.float() - shaped.nan_to_num(0.0), 0.0)
        return error.square().sum() / known.sum().clamp(min=1)

    def predict(self, outputs: Tensor) -> Tensor:
        """Values in the units of the labels (B, K), float64."""
        return outputs.double() * self.scale + self.mean
