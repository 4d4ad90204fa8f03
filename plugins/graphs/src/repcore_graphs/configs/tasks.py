"""Settings of the supervised tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore_graphs.configs.ehgnn import setting


@dataclass(frozen=True, kw_only=True)
class GraphTaskConfig:
    """Graph classification with the published three-layer head."""

    head: Literal["pooled-linear"] = setting("pooled-linear", "the head sees the graph vector")
    hidden_width: int = setting(
        0, "width of the first hidden layer; 0 = hidden_width of the encoder (published)", min=0
    )
    dropout: float = setting(0.5, "dropout of both hidden layers; published 0.5", min=0, below=1)
    outputs: int | None = setting(None, "classes or tasks; null = from the data", min=1)
    class_weights: Literal["none", "balanced"] = setting("none", "weights of classes, or of ones against zeros")
    largest_weight: float = setting(100.0, "bound of a balanced weight of a multilabel task", min=0)


@dataclass(frozen=True, kw_only=True)
class NodeTaskConfig:
    """Classification of every node."""

    head: Literal["linear", "none"] = setting(
        "linear", "linear layer on node embeddings; none = the encoder's last convolution gives the classes (published)"
    )
    dropout: float = setting(0.0, "dropout before the linear layer", min=0, below=1)
    outputs: int | None = setting(None, "classes; null = from the data", min=1)
