"""Node classification: one class for every labelled node of a batch of graphs.

Symbols: N nodes of the batch, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, DataError, ShapeError
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_graphs.configs.tasks import NodeTaskConfig


class NodeClassification(nn.Module):
    """A linear layer (or nothing) on node embeddings; cross-entropy over labelled nodes.

    Args:
        config: see :class:`NodeTaskConfig`.
        encoder: with a token level ``"node"``.
        target: a class target of level ``"node"``; ``ignore`` marks nodes without a label, besides NaN.

    Call:
        batch -> (N, K). ``predict`` gives probabilities (N, K).

    Raises:
        ConfigError: number of classes unknown, or other than the encoder's output width when ``head="none"``.
    """

    def __init__(self, config: NodeTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__()
        outputs = config.outputs or len(target.names)
        if outputs < 2:
            raise ConfigError(f"{outputs} classes for target {target.name!r}", hint="task.outputs")
        self.encoder, self.target, self.outputs = encoder, target, outputs
        width = _node_width(encoder)
        if config.head == "none" and width != outputs:
            raise ConfigError(
                f"head='none' gives {width} outputs for {outputs} classes", hint=f"encoder.output_width={outputs}"
            )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, outputs) if config.head == "linear" else nn.Identity()

    def fit_targets(self, values: np.ndarray) -> None:
        """Checks the training labels: class numbers 0 .. K-1, NaN or ``ignore`` for none.

        Raises:
            DataError: no label at all, or one that is not a class number.
        """
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        known = flat[~np.isnan(flat) & (flat != (np.nan if self.target.ignore is None else self.target.ignore))]
        if not known.size:
            raise DataError(f"no training node has a label {self.target.name!r}")
        if ((known < 0) | (known >= self.outputs) | (known != np.round(known))).any():
            raise DataError(f"labels of {self.target.name!r} are not class numbers 0 .. {self.outputs - 1}")

    def forward(self, batch: Batch) -> Tensor:
        nodes = self.encoder(batch).tokens["node"].values
        outputs: Tensor = self.classifier(self.dropout(nodes))
        return outputs

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over labelled nodes; 0 with a gradient when there is none."""
        flat = labels.reshape(-1)
        if len(flat) != len(outputs):
            raise ShapeError(f"{len(flat)} node labels for {len(outputs)} nodes")
        known = ~torch.isnan(flat) if flat.is_floating_point() else torch.ones_like(flat, dtype=torch.bool)
        if self.target.ignore is not None:
            known = known & (flat != self.target.ignore)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs[known], flat[known].long())

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (N, K)."""
        return outputs.float().softmax(dim=-1)


def _node_width(encoder: nn.Module) -> int:
    widths = getattr(encoder, "level_widths", None)
    if isinstance(widths, dict) and "node" in widths:
        return int(widths["node"])
    raise ConfigError(f"encoder {type(encoder).__name__} has no node embeddings")
