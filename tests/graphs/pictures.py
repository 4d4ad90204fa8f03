"""What tests of drawn graphs share: one small graph, and the parts of a picture."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import Batch, Picture, Progress
from repcore_graphs.configs.data import GraphPreprocessorConfig, MotifsConfig
from repcore_graphs.datasets.motifs import Motifs
from repcore_graphs.preprocessors.graph import GraphPreprocessor

START = Progress(step=0, total_steps=1)


def one_motif(labels: str = "one-hot") -> tuple[dict[str, object], Batch]:
    """Sizes for an encoder, and a batch of one generated graph."""
    reader = Motifs(MotifsConfig(size=3, least_nodes=12, most_nodes=14))
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig(labels=labels))  # type: ignore[arg-type]
    preprocessor.fit(reader, range(3))
    facts = preprocessor.facts()
    widths = {name: facts[name] for name in ("node_width", "edge_width", "node_vocabularies", "edge_vocabularies")}
    return widths, preprocessor.collate(preprocessor.prepare(reader[1]))


def drawn(objective: Any, batch: Batch, seed: int = 0) -> tuple[Picture, dict[str, Tensor]]:
    """The picture of a batch, and the draws it was made with."""
    draws = dict(objective.draw(batch, torch.Generator().manual_seed(seed), START))
    with torch.no_grad():
        return objective.picture(batch, draws), draws


def rows_of(picture: Picture) -> list[list[str]]:
    """Cells of the table without marks of HTML."""
    rows = re.findall(r"<tr>(.*?)</tr>", picture.html)[1:]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td.*?</td>", row)] for row in rows]


def panels_of(picture: Picture) -> list[str]:
    return re.findall(r"<svg xmlns.*?</svg>", picture.html)
