"""Edge importance: the HyperDrop score that a model gives to every stored arc of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_graphs.preprocessors.graph import GraphPreprocessor


@torch.no_grad()
def edge_importance(encoder: nn.Module, preprocessor: GraphPreprocessor, sample: Sample) -> np.ndarray:
    """Last score that each arc had, in [-1, 1]; (A,) in the order after cleaning (see the preprocessor's item status).

    Raises:
        ConfigError: the encoder has no HyperDrop.
    """
    encoder.eval()
    features = encoder(preprocessor.collate(preprocessor.prepare(sample)))
    score = features.extras.get("edge_score")
    if score is None:
        raise ConfigError("this encoder does not score edges", hint="train it with encoder.edge_pool=hyperdrop")
    source = features.tokens["edge"].source  # arc -> edge
    return score[source].cpu().numpy()


def with_importance(encoder: nn.Module, preprocessor: GraphPreprocessor, samples: Sequence[Sample]) -> list[Sample]:
    """Samples whose ``meta`` carries ``edge_importance`` for the renderer."""
    found = []
    for sample in samples:
        values = edge_importance(encoder, preprocessor, sample)
        graph = preprocessor.cleaned(sample)
        found.append(replace(sample, inputs=graph, meta={**sample.meta, "edge_importance": values}))
    return found
