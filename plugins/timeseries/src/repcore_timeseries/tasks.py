"""A task for fine-tuning.

``repcore timeseries finetune MODEL --data DATA --label NAME`` with
``--task timeseries-class``.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, Encoder
from repcore.specs import TargetSpec
from torch import Tensor, nn
from torch.nn import functional as F

from repcore_timeseries.configs import CosineClassConfig


class CosineClass(nn.Module):
    """Cosines between the vector of a row and one of each class, and the shares of the classes in training.

    Symbols: B rows, K classes.

    Raises:
        ConfigError: fewer than two classes.
    """

    log_shares: Tensor

    def __init__(self, config: CosineClassConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__()
        if len(target.names) < 2:
            raise ConfigError(f"{len(target.names)} classes of {target.name!r}", expected="two or more")
        self.config, self.encoder = config, encoder
        self.classes = nn.Parameter(torch.randn(len(target.names), cast(Encoder, encoder).dim))
        self.register_buffer("log_shares", torch.zeros(len(target.names)))

    def fit_targets(self, values: np.ndarray) -> None:
        """Shares of the classes among training labels (N,), NaN = missing; saved with the task.

        Raises:
            DataError: no label at all.
        """
        known = values[~np.isnan(values)].astype(np.int64)
        if not known.size:
            raise DataError("no training row has a label")
        counts = np.bincount(known, minlength=len(self.log_shares)) + 1.0
        self.log_shares.copy_(torch.as_tensor(np.log(counts / counts.sum())))

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, K)."""
        vectors = F.normalize(self.encoder(batch).pooled, dim=1)
        return self.config.scale * vectors @ F.normalize(self.classes, dim=1).T + self.log_shares

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over the rows with a label (B,); 0 with a gradient where there is none."""
        known = ~torch.isnan(labels)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs[known], labels[known].long())

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (B, K)."""
        return outputs.float().softmax(-1)
