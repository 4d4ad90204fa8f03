"""Small graphs of every awkward kind, and readers over files written for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch_geometric")

import torch
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data


def undirected(pairs: list[tuple[int, int]]) -> torch.Tensor:
    """Both directions of every pair, interleaved."""
    arcs = [arc for u, v in pairs for arc in ([(u, v)] if u == v else [(u, v), (v, u)])]
    return torch.tensor(arcs, dtype=torch.long).reshape(-1, 2).t().contiguous()


def random_graph(seed: int, *, nodes: int = 9, pairs: int = 12, node_width: int = 5, edge_width: int = 3) -> Data:
    """A random simple graph whose edge features are the same in both directions."""
    generator = torch.Generator().manual_seed(seed)
    chosen: dict[tuple[int, int], torch.Tensor] = {}
    while len(chosen) < pairs:
        u, v = torch.randint(nodes, (2,), generator=generator).tolist()
        if u != v:
            chosen.setdefault((min(u, v), max(u, v)), torch.randn(edge_width, generator=generator))
    features = torch.stack([value for value in chosen.values() for _ in range(2)])
    x = torch.randn(nodes, node_width, generator=generator)
    return Data(x=x, edge_index=undirected(list(chosen)), edge_attr=features)


def edgeless(nodes: int = 3, node_width: int = 5, edge_width: int = 3) -> Data:
    return Data(
        x=torch.linspace(0, 1, nodes * node_width).reshape(nodes, node_width),
        edge_index=torch.zeros(2, 0, dtype=torch.long),
        edge_attr=torch.zeros(0, edge_width),
    )


def single_edge(node_width: int = 5, edge_width: int = 3) -> Data:
    return Data(
        x=torch.arange(2.0 * node_width).reshape(2, node_width) / 7,
        edge_index=undirected([(0, 1)]),
        edge_attr=torch.ones(2, edge_width) * 0.3,
    )


def with_loops() -> Data:
    """A triangle with a self edge and an isolated node."""
    edge_index = undirected([(0, 1), (1, 2), (2, 0), (1, 1)])
    return Data(
        x=torch.randn(4, 5, generator=torch.Generator().manual_seed(3)),
        edge_index=edge_index,
        edge_attr=torch.tensor([0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.9])[:, None].repeat(1, 3),
    )


AWKWARD = {"single edge": single_edge, "edgeless": edgeless, "self edge and isolated node": with_loops}


@pytest.fixture
def graphs() -> list[Data]:
    """Random graphs and every awkward one."""
    return [random_graph(0), edgeless(), random_graph(1, nodes=6, pairs=7), single_edge(), with_loops()]


@pytest.fixture
def batch(graphs: list[Data]) -> GraphBatch:
    return GraphBatch.from_data_list(graphs)


def write_tu(folder: Path, name: str = "TINY", **replaced: str) -> Path:
    """A TUDataset of three graphs: a triangle, one edge, and a node alone. ``replaced`` overwrites a file's text."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    files = {
        "A": "1, 2\n2, 1\n2, 3\n3, 2\n3, 1\n1, 3\n4, 5\n5, 4\n",
        "graph_indicator": "1\n1\n1\n2\n2\n3\n",
        "graph_labels": "1\n-1\n1\n",
        "node_labels": "0\n1\n0\n2\n2\n1\n",
        "node_attributes": "1.0\n2.0\n3.0\n4.0\n5.0\n6.0\n",
        "edge_labels": "0\n0\n1\n1\n0\n0\n2\n2\n",
    } | replaced
    for suffix, text in files.items():
        (raw / f"{name}_{suffix}.txt").write_text(text)
    return folder / name
