"""Settings of the readers, the generated data set and the preprocessor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore_graphs.configs.ehgnn import setting


@dataclass(frozen=True, kw_only=True)
class TUDatasetConfig:
    """TUDataset raw text: ``NAME_A.txt`` and its companions."""

    path: str = setting("", "folder with the files, or with a subfolder raw/ that has them")
    fold: int | None = setting(
        None, "1 .. 10: test = this fold, validation = the one before; null = no split", min=1, max=10
    )
    folds: Literal["published", "stratified"] = setting(
        "published",
        "fold files beside the data (10fold_test_idx.json, 10fold_idx/), or stratified ones drawn from seed",
    )
    seed: int = setting(0, "seed of stratified folds", min=0)
    label_kind: Literal["auto", "class", "regression"] = setting("auto", "what graph_labels hold; by default as stored")


@dataclass(frozen=True, kw_only=True)
class OGBConfig:
    """Open Graph Benchmark graph data sets in their raw CSV form."""

    path: str = setting("", "folder of one data set, with raw/ and split/")
    split: str = setting("", "name of the folder under split/; empty = the only one")
    label_kind: Literal["auto", "class", "regression"] = setting("auto", "what labels are; found from their values")
    add_reverse: bool = setting(True, "add the opposite direction of every stored edge, as ogb does for molecules")


@dataclass(frozen=True, kw_only=True)
class PyGConfig:
    """torch-geometric data on disk: processed/data.pt of a data set, or a .pt file with Data objects."""

    path: str = setting(
        "", "a .pt file; or a folder with processed/data.pt, with train.pt and others, or one file a graph"
    )
    level: Literal["auto", "graph", "node"] = setting(
        "auto", "what y belongs to; found from the shapes of all graphs where they leave no doubt"
    )
    label_kind: Literal["auto", "class", "regression"] = setting("auto", "what y is; found from its values by default")
    first_node: Literal[0, 1] = setting(0, "number of the first node in edge_index")


@dataclass(frozen=True, kw_only=True)
class EdgeListConfig:
    """Edge lists: one text table of edges, or a folder with edges, nodes and graphs tables."""

    path: str = setting("", "file, or folder with edges.csv and optionally nodes.csv and graphs.csv")
    source: str = setting("", "column with the start of each edge; found by name and content when empty")
    target: str = setting("", "column with the end of each edge; found by name and content when empty")
    graph: str = setting("", "column that tells several graphs apart; graph, graph_id, ... when empty")
    edge_label: str = setting(
        "", "column of the table of edges that is a label, no feature; edge_label, class, y when empty"
    )
    label_kind: Literal["auto", "class", "regression"] = setting("auto", "what labels are; found from their values")
    directed: bool = setting(False, "keep edges as one-way; otherwise a missing opposite direction is added")
    sets: Literal["auto", "one", "two"] = setting(
        "auto", "two: the same id in both columns is two nodes (users, items); auto: told by the names of the columns"
    )
    decimal: Literal["auto", "point", "comma"] = setting(
        "auto", "sign of decimals; found in the cells of each table by default"
    )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Network files: GraphML, GML, GEXF, Pajek, node-link JSON, MatrixMarket, edge lists with attributes."""

    path: str = setting("", "file, or folder with one graph a file")
    label_kind: Literal["auto", "class", "regression"] = setting("auto", "what labels are; found from their values")
    directed: bool = setting(False, "edges of formats that do not say (networkx edge lists) are one-way")


@dataclass(frozen=True, kw_only=True)
class PartsConfig:
    """One large graph as many rows: connected parts of about equal size."""

    path: str = setting("", "a file or folder that holds one graph")
    parts: int = setting(0, "number of parts; 0 = as many as nodes asks for", min=0)
    nodes: int = setting(200, "nodes of a part, where parts is 0", "nodes", min=1)
    seed: int = setting(0, "of the nodes from which parts grow", min=0)
    directed: bool = setting(False, "edges of formats that do not say are one-way")


@dataclass(frozen=True, kw_only=True)
class MotifsConfig:
    """Generated graphs whose class lies in how bonds go with their ends, not in how many there are."""

    size: int = setting(600, "graphs", "graphs", min=1)
    seed: int = setting(0, "of all graphs", min=0)
    least_nodes: int = setting(12, "smallest graph", "nodes", min=1)
    most_nodes: int = setting(30, "largest graph", "nodes", min=1)
    noise: float = setting(0.1, "share of bonds whose type is replaced by a random one", min=0, max=1)


@dataclass(frozen=True, kw_only=True)
class GraphPreprocessorConfig:
    """From stored graphs to tensors."""

    labels: Literal["one-hot", "codes"] = setting(
        "one-hot", "node and edge labels as one-hot columns, or as codes to embed"
    )
    standardise: bool = setting(True, "scale continuous attributes by the training mean and standard deviation")
    missing_nodes: Literal["degree", "ones"] = setting("degree", "features of nodes that have none")
    most_degrees: int = setting(64, "degrees with a column of their own; larger ones share the last", min=0)
    duplicate_edges: Literal["first", "keep"] = setting("first", "of repeated (source, target) keep the first, or all")
    self_edges: Literal["keep", "drop"] = setting("keep", "edges from a node to itself")
