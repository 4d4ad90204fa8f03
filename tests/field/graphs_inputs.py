"""Graphs as people store them, and what their readers say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repcore_graphs.configs.data import (
    EdgeListConfig,
    GraphPreprocessorConfig,
    NetworkConfig,
)
from repcore_graphs.datasets import edge_list, networks
from repcore_graphs.preprocessors.graph import GraphPreprocessor


def edges_of(folder: Path, text: str, name: str = "edges.csv", **settings: Any) -> edge_list.EdgeListDataset:
    (folder / name).write_text(text, encoding="utf-8")
    return edge_list.EdgeListDataset(EdgeListConfig(path=str(folder / name), **settings))


def network(path: Path, **settings: Any) -> networks.NetworkDataset:
    assert networks.sniff(path) >= 0.7
    return networks.NetworkDataset(NetworkConfig(path=str(path), **settings))


def said(reader: Any) -> str:
    return "\n".join(reader.account.sentences())


def prepared(reader: Any, index: int = 0) -> Any:
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(reader, range(len(reader)))
    return preprocessor.prepare(reader[index])[0].values
