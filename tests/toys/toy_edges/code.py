from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from repcore.interfaces import (
    Batch,
    DatasetReader,
    Draws,
    Features,
    Item,
    LossTerms,
    Progress,
    Sample,
    StageResult,
    Tokens,
)
from repcore.specs import TargetSpec
from tests.toys.toy_edges.configs import EdgeNetConfig, GraphBatchesConfig, MaskedEdgesConfig, RingsConfig


class Rings:
    """Rings of 4 to 9 nodes; smooth or alternating edge attributes; a group key every two graphs."""

    def __init__(self, config: RingsConfig) -> None:
        self.config = config
        self.targets = (
            TargetSpec("alternating", "class", names=("no", "yes")),
            TargetSpec("phase", "regression", unit="rad"),
        )
        self.splits: Mapping[str, Sequence[int]] = {}
        self.groups = [f"g{index // 2}" for index in range(config.items)]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.config).encode()).hexdigest()

    def __len__(self) -> int:
        return self.config.items

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        n = 4 + index % 6
        phase = rng.random() * 3
        wave = np.sin(phase + np.arange(n)) if index % 2 == 0 else (-1.0) ** np.arange(n) * np.cos(phase)
        attributes = np.stack([wave, rng.normal(size=n) * 0.1], 1).astype(np.float32)
        nodes = np.arange(n)
        graph = {"edge_index": np.stack([nodes, (nodes + 1) % n]), "edge_attr": attributes, "num_nodes": n}
        return Sample(f"ring-{index}", graph, {"alternating": index % 2, "phase": phase}, group=self.groups[index])

    def by_id(self, sample_id: str) -> Sample:
        return self[int(sample_id.split("-")[1])]


class GraphBatches:
    def __init__(self, config: GraphBatchesConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, config: GraphBatchesConfig, folder: Path) -> GraphBatches:
        return cls(config)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        return None

    def facts(self) -> Mapping[str, Any]:
        return {"edge_width": 2}

    def prepare(self, sample: Sample) -> list[Item]:
        graph = sample.inputs
        data = Data(
            edge_index=torch.from_numpy(graph["edge_index"]),
            edge_attr=self.config.scale * torch.from_numpy(graph["edge_attr"]),
            num_nodes=graph["num_nodes"],
        )
        return [Item(data, meta={"edges": graph["edge_index"].shape[1]})]

    def collate(self, items: Sequence[Item]) -> Batch:
        return Batch(inputs=GraphBatch.from_data_list([item.values for item in items]), size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["edges"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        return {}


def edge_means(preprocessor: GraphBatches, samples: Iterable[Sample]) -> np.ndarray:
    return np.stack([np.concatenate([s.inputs["edge_attr"].mean(0), s.inputs["edge_attr"].std(0)]) for s in samples])


class EdgeNet(nn.Module):
    def __init__(self, config: EdgeNetConfig) -> None:
        super().__init__()
        assert config.edge_width is not None
        self.dim = config.width
        self.lift = nn.Linear(config.edge_width, config.width)
        self.mix = nn.Linear(2 * config.width, config.width)
        self.hidden_edge = nn.Parameter(torch.zeros(config.width))

    def forward(self, batch: Batch, layers: Sequence[int] = (), hidden: Tensor | None = None) -> Features:
        graph = batch.inputs
        edges = self.lift(graph.edge_attr)  # (E, D)
        if hidden is not None:
            edges = torch.where(hidden[:, None], self.hidden_edge, edges)
        source, target = graph.edge_index
        nodes = scatter(edges, source, dim_size=graph.num_nodes) + scatter(edges, target, dim_size=graph.num_nodes)
        edges = torch.tanh(self.mix(torch.cat([edges, nodes[source] * nodes[target]], 1)))
        owner = graph.batch[source]
        pooled = scatter(edges, owner, dim_size=batch.size, reduce="mean")
        tokens = {"edge": Tokens(edges, owner=owner), "node": Tokens(nodes, owner=graph.batch)}
        return Features(pooled, tokens, dict.fromkeys(layers, tokens["edge"]))


class MaskedEdges(nn.Module):
    def __init__(self, config: MaskedEdgesConfig, encoder: EdgeNet) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.head = nn.Linear(encoder.dim, 2)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        attributes = batch.inputs.edge_attr
        return {
            "hidden": torch.rand(len(attributes), generator=generator, device=attributes.device)
            < self.config.mask_ratio
        }

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        return {"edges": draws["hidden"].sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        hidden = draws["hidden"]
        features = self.encoder(batch, hidden=hidden)
        errors = (self.head(features.tokens["edge"].values) - batch.inputs.edge_attr).square().mean(1)
        loss = (errors * hidden).sum() / hidden.sum().clamp(min=1)
        return LossTerms.of({"edges": loss}, counts={"edges": hidden.sum()})


def replay(golden: Any, fed: frozenset[str]) -> Iterator[StageResult]:
    encoder = EdgeNet(EdgeNetConfig(**golden.config["encoder"])).eval()
    encoder.load_state_dict(golden.weights)
    data = Data(edge_index=golden.inputs["edge_index"], edge_attr=golden.inputs["edge_attr"])
    data.batch, data.num_nodes = golden.inputs["batch"], len(golden.inputs["batch"])
    features = encoder(Batch(inputs=data, size=golden.config["items"]))
    yield StageResult("pooled", {"pooled": features.pooled.detach()})
