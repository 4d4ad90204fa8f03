"""Graphs in tables, network files and TUDataset folders, as people store them; the inputs are made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import io as matrix_io
from scipy import sparse

from repcore.data.misfits import HARDLY
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore_graphs.configs.data import (
    EdgeListConfig,
    GraphPreprocessorConfig,
    NetworkConfig,
    PartsConfig,
    TUDatasetConfig,
)
from repcore_graphs.datasets import edge_files, edge_list, networks, tu
from repcore_graphs.datasets.parts import GraphParts
from repcore_graphs.preprocessors.graph import GraphPreprocessor
from tests.field.graphs_inputs import edges_of, network, prepared, said

# ------------------------------------------------------------------------------------------------ edge lists

ENDS = [(0, 1), (1, 2), (2, 0), (2, 3)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "source,target\n{,}"),
        ("a.csv", "Source;Target\n{;}"),
        ("a.csv", "node1,node2\n{,}"),
        ("a.csv", "id_1,id_2\n{,}"),
        ("a.tsv", "FromNodeId\tToNodeId\n{\t}"),
        ("a.csv", "one,other\n{,}"),
        ("a.txt", "# FromNodeId\tToNodeId\n{\t}"),
        ("a.txt", "# a remark\n# another\n{ }"),
        ("a.txt", "{ }"),
        ("a.edges", "{ }"),
        ("a.edgelist", "{ }"),
    ],
)
def test_pairs_are_edges_however_they_are_written(tmp_path: Path, name: str, text: str) -> None:
    sign = text[text.index("{") + 1]
    body = "\n".join(f"{u}{sign}{v}" for u, v in ENDS)
    reader = edges_of(tmp_path, text[: text.index("{")] + body + "\n", name)
    assert edge_files.sniff(tmp_path / name) >= 0.3
    graph = reader[0].inputs
    assert graph.num_nodes == 4
    assert {tuple(pair) for pair in graph.edge_index.T.tolist()} == {*ENDS, *((v, u) for u, v in ENDS)}
    one_way = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / name), directed=True))
    assert [tuple(pair) for pair in one_way[0].inputs.edge_index.T.tolist()] == ENDS
    assert "an edge list does not say" in said(reader)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cloud.txt", "0.1 0.2 0.3\n0.4 0.5 0.6\n0.7 0.8 0.9\n"),
        ("mols.csv", "smiles,y\nCCO,1.5\nCCN,2.5\nCCC,0.5\n"),
        ("prose.txt", "the dog ran\nacross a field\nand came home\nto eat supper\n"),
        ("wavs.txt", "a/one.wav\na/two.wav\n"),
        ("raven.txt", "Selection\tBegin Time (s)\tEnd Time (s)\n1\t0.5\t1.5\n2\t2.25\t3.5\n"),
    ],
)
def test_other_tables_are_no_edges(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert edge_files.sniff(tmp_path / name) <= HARDLY


def test_matrices_and_triples_are_told_from_pairs(tmp_path: Path) -> None:
    text = "\n".join(",".join(str((u * v) % 2) for v in range(5)) for u in range(5))
    with pytest.raises(DataError, match=r"5 columns and 5 rows[\s\S]*adjacency matrix"):
        edges_of(tmp_path, text + "\n", "matrix.csv")
    assert edge_files.sniff(tmp_path / "matrix.csv") <= HARDLY
    triples = "".join(f"e{u}\trel{(u + v) % 2}\te{v}\n" for u, v in ENDS * 3)
    graph = edges_of(tmp_path, triples, "triples.tsv")[0].inputs
    assert (graph.num_nodes, sorted(set(graph.edge_labels[:, 0].tolist()))) == (4, ["rel0", "rel1"])
    assert edge_files.sniff(tmp_path / "triples.tsv") > 0.0


def test_ids_are_text_and_whole_numbers_with_decimals_are_whole(tmp_path: Path) -> None:
    padded = edges_of(tmp_path, "source,target\n01,1\n1,2\n")
    assert padded[0].inputs.num_nodes == 3
    assert "'01' and '1' are two nodes" in said(padded)
    whole = edges_of(tmp_path, "source,target\n0.0,1\n1.0,2\n2.0,0\n")
    assert whole[0].inputs.num_nodes == 3
    assert "node ids: whole numbers" in said(whole)


def test_words_of_edges_become_one_hot_columns_and_are_remembered(tmp_path: Path) -> None:
    rows = "".join(
        f"g{k % 3},{u},{v},{'single' if u else 'double'},2012-01-{10 + k}{u}\n" for k in range(6) for u, v in ENDS
    )
    reader = edges_of(tmp_path, "graph,source,target,bond,when\n" + rows)
    assert "edge column 'bond': 2 categories" in said(reader)
    assert "edge column 'when': left out" in said(reader)
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(reader, range(3))
    preprocessor.save(tmp_path)
    again = GraphPreprocessor.load(GraphPreprocessorConfig(), tmp_path)
    item = again.prepare(reader[0])[0].values
    kinds = {tuple(pair): row for pair, row in zip(item.edge_index.T.tolist(), item.edge_attr.tolist(), strict=True)}
    assert kinds[0, 1] == kinds[1, 0] == [1.0, 0.0]  # double before single
    assert kinds[1, 2] == [0.0, 1.0]
    other = edges_of(
        tmp_path, "graph,source,target,bond\ng0,a,b,triple\ng0,b,c,double\ng1,a,b,double\ng1,b,c,double\n", "b.csv"
    )
    assert again.prepare(other[0])[0].status == "unknown_label"
    assert again.prepare(other[1])[0].values.edge_attr.tolist() == [[1.0, 0.0]] * 4


def test_decimal_commas_and_odd_cells(tmp_path: Path) -> None:
    reader = edges_of(tmp_path, "Source;Target;Weight\n0;1;0,5\n1;2;1,25\n2;0;0,75\n")
    assert sorted(set(reader[0].inputs.edge_attributes[:, 0].tolist())) == [0.5, 0.75, 1.25]
    text = "Source;Target;Weight;Share\n0;1;1.100.000;0,5\n1;2;1.101;0,25\n2;0;1.102;0,75\n"
    thousands = edges_of(tmp_path, text, "thousands.csv")
    assert sorted(set(thousands[0].inputs.edge_attributes[:, 0].tolist())) == [1101.0, 1102.0, 1_100_000.0]
    assert "column 'Share' has a decimal comma" in said(thousands)
    either = edges_of(tmp_path, text.replace("1.100.000", "1.100"), "either.csv")  # 1.1 or 1,100: nothing tells
    assert sorted(set(either[0].inputs.edge_attributes[:, 0].tolist())) == [0.25, 0.5, 0.75], "Share only"
    assert "'1.100'" in said(either)
    odd = edges_of(tmp_path, "graph,source,target,weight\na,0,1,2.5\na,1,2,3.5\nb,0,1,<0.1\nb,1,2,4.5\n", "odd.csv")
    assert odd[0].inputs.edge_attributes.shape == (4, 1)
    with pytest.raises(ItemError, match=r"not_a_number: column 'weight' has '<0.1' in row 2"):
        _ = odd[1]
    assert "look like censored" in said(odd)


def test_graph_tables_give_targets_of_every_kind_by_key(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("graph,source,target\n" + "".join(f"g{k},0,1\ng{k},1,2\n" for k in range(12)))
    rows = [
        f"g{k},{0.5 * k:.2f},{k % 2},{('yes', 'no')[k % 2]},{('train', 'test')[k > 8]}" for k in reversed(range(12))
    ]
    (tmp_path / "graphs.csv").write_text("graph,energy,toxic,active,split\n" + "\n".join(rows) + "\n")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))
    assert [(one.name, one.kind) for one in reader.targets] == [
        ("energy", "regression"), ("toxic", "class"), ("active", "class"), ("all-binary", "multilabel"),
    ]  # fmt: skip
    sample = reader.by_id("g3")
    assert sample.targets["energy"] == 1.5
    assert sample.targets["toxic"] == 1.0
    assert sample.targets["active"] == 0.0  # "no"
    assert {name: len(part) for name, part in reader.splits.items()} == {"train": 9, "test": 3}
    (tmp_path / "graphs.csv").write_text("graph,label\ng1,1\ng1,0\n")
    with pytest.raises(DataError, match="stand more than once"):
        edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))


def test_one_large_graph_without_labels_is_read_quickly(tmp_path: Path) -> None:
    count = 100_000
    ends = np.random.default_rng(0).integers(0, 60_000, (count, 2))  # in the first thousands few ids come again
    np.savetxt(tmp_path / "large.txt", ends, fmt="%d")
    assert edge_files.sniff(tmp_path / "large.txt") >= 0.3
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "large.txt")))
    assert reader.targets == []
    graph = reader[0].inputs
    places = np.searchsorted(np.unique(ends), ends)  # nodes are numbered by size of their ids
    pairs = {tuple(pair) for pair in places.tolist()}
    assert {tuple(pair) for pair in graph.edge_index.T.tolist()} == pairs | {(v, u) for u, v in pairs}
    assert prepared(reader).x.shape[0] == graph.num_nodes


def test_one_large_graph_is_cut_into_connected_parts_for_training(tmp_path: Path) -> None:
    grid = nx.grid_2d_graph(20, 20)
    nodes = {node: number for number, node in enumerate(grid)}
    pairs = [(nodes[u], nodes[v]) for u, v in grid.edges]
    np.savetxt(tmp_path / "grid.txt", pairs, fmt="%d")
    reader = GraphParts(PartsConfig(path=str(tmp_path / "grid.txt"), parts=8))
    assert len(reader) == 8
    samples = [reader[row] for row in range(8)]
    assert sorted(node for one in samples for node in one.meta["node_numbers"].tolist()) == list(range(400))
    assert {one.inputs.num_nodes for one in samples} == {50}
    kept = 0
    stored_pairs = {frozenset(pair) for pair in pairs}
    for one in samples:
        ends = one.meta["node_numbers"][one.inputs.edge_index]
        assert {frozenset(pair) for pair in ends.T.tolist()} <= stored_pairs
        kept += one.inputs.edge_index.shape[1]
    assert kept > 0.7 * 2 * len(pairs)
    assert f"{1 - kept / (2 * len(pairs)):.1%} of its edges run between two parts" in said(reader)
    assert reader.by_id(samples[3].id).meta["node_numbers"].tolist() == samples[3].meta["node_numbers"].tolist()
    assert "cut it into parts" in said(edges_of(tmp_path, "source,target\n0,1\n"))
    (tmp_path / "two.csv").write_text("graph,source,target\na,0,1\nb,0,1\n")
    with pytest.raises(DataError, match="holds 2 graphs"):
        GraphParts(PartsConfig(path=str(tmp_path / "two.csv")))


# -------------------------------------------------------------------------------------------- network files


@pytest.fixture
def club() -> nx.Graph:
    return nx.karate_club_graph()


@pytest.mark.parametrize("suffix", ["graphml", "gml", "gexf", "node-link", "adjacency", "cytoscape"])
def test_formats_of_networks_agree(tmp_path: Path, club: nx.Graph, suffix: str) -> None:
    path = tmp_path / ("club." + ("json" if suffix in ("node-link", "adjacency", "cytoscape") else suffix))
    if path.suffix == ".json":
        write = {"node-link": nx.node_link_data, "adjacency": nx.adjacency_data, "cytoscape": nx.cytoscape_data}[suffix]
        path.write_text(json.dumps(write(club)))
    else:
        getattr(nx, f"write_{suffix}")(club, path)
    reader = network(path)
    graph = reader[0].inputs
    assert (graph.num_nodes, graph.edge_index.shape[1]) == (34, 2 * 78)
    assert {tuple(sorted(pair)) for pair in graph.edge_index.T.tolist()} == {tuple(sorted(pair)) for pair in club.edges}
    assert graph.edge_attributes is not None
    assert set(graph.edge_attributes[:, 0].tolist()) == {float(data["weight"]) for _, _, data in club.edges(data=True)}
    assert [(one.name, one.level, one.names) for one in reader.targets] == [
        ("node_club", "node", ("Mr. Hi", "Officer"))
    ]
    clubs = [club.nodes[node]["club"] == "Officer" for node in club]
    assert graph.node_targets["node_club"].tolist() == clubs
    assert "undirected" in said(reader)


def test_directed_and_parallel_edges_of_networks_stay(tmp_path: Path) -> None:
    one_way = nx.MultiDiGraph([(0, 1), (0, 1), (2, 2)])
    nx.write_graphml(one_way, tmp_path / "a.graphml")
    reader = network(tmp_path / "a.graphml")
    assert sorted(map(tuple, reader[0].inputs.edge_index.T.tolist())) == [(0, 1), (0, 1), (2, 2)]
    assert "stored as directed" in said(reader)


def test_edge_lists_of_networkx_bring_their_attributes(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_edges_from([(0, 10, {"weight": 0.5}), (10, 2, {"weight": 1.5})])
    nx.write_edgelist(graph, tmp_path / "a.edgelist")
    reader = network(tmp_path / "a.edgelist")
    found = reader[0].inputs
    assert found.edge_index.tolist() == [[0, 2, 1, 2], [2, 0, 2, 1]]  # 0, 2, 10 by size
    assert found.edge_attributes[:, 0].tolist() == [0.5, 0.5, 1.5, 1.5]
    assert network(tmp_path / "a.edgelist", directed=True)[0].inputs.edge_index.shape == (2, 2)


@pytest.mark.parametrize("suffix", ["mtx", "npz"])
def test_matrices_are_graphs_if_they_are_square(tmp_path: Path, suffix: str) -> None:
    def write(name: str, table: np.ndarray) -> Path:
        path = tmp_path / f"{name}.{suffix}"
        matrix = sparse.coo_matrix(table)
        matrix_io.mmwrite(path, matrix) if suffix == "mtx" else sparse.save_npz(path, matrix)
        return path

    directed = network(write("a", np.array([[0, 2.5, 0], [0, 0, 1], [0, 0, 0]])))
    assert directed[0].inputs.edge_index.tolist() == [[0, 1], [1, 2]]
    assert directed[0].inputs.edge_attributes[:, 0].tolist() == [2.5, 1.0]
    both = network(write("b", np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])))
    assert both[0].inputs.edge_index.shape == (2, 4)
    assert both[0].inputs.edge_attributes is None
    assert "undirected" in said(both)
    with pytest.raises(DataError, match="2 x 3 joins two sets of nodes"):
        network(write("c", np.ones((2, 3))))


def test_a_folder_of_networks_counts_every_file(tmp_path: Path) -> None:
    for kind, make in (("ring", nx.cycle_graph), ("star", nx.star_graph)):
        (tmp_path / kind).mkdir()
        for size in (4, 5, 6):
            nx.write_gml(make(size), tmp_path / kind / f"{size}.gml")
    (tmp_path / "ring" / "broken.gml").write_text("graph [ node [")
    (tmp_path / "ring" / "notes.txt").write_text("x")
    reader = network(tmp_path)
    assert len(reader) == 7
    assert [(one.name, one.names) for one in reader.targets] == [("folder", ("ring", "star"))]
    assert reader.by_id("star/5.gml").targets == {"folder": 1.0}
    with pytest.raises(ItemError, match="not readable as gml"):
        _ = reader.by_id("ring/broken.gml")
    assert reader.account.counts == {"used": 6, "ignored": 1, "unreadable": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"nodes": [{"id": 1}], "links": [{"source": 1, "target": 5}]}', "link 0 names node 5"),
        ('{"nodes": [{"id": 1}], "links": [{"source": 1}]}', "link 0 has no target"),
        ('{"nodes": [{"id": 1}], "links": [', "not readable as json"),
    ],
)
def test_broken_json_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=words):
        networks.NetworkDataset(NetworkConfig(path=str(tmp_path / "a.json")))
    (tmp_path / "b.json").write_text('{"train": ["a.wav"]}')
    assert networks.sniff(tmp_path / "b.json") == 0.0


# -------------------------------------------------------------------------------------------------- TUDataset


def _both(u: int, v: int) -> list[tuple[int, int]]:
    return [(u, v), (v, u)]


def tu_folder(folder: Path, newline: str = "\n", **files: str) -> tu.TUDataset:
    """Ten cycles of four nodes."""
    pairs = [(4 * g + u, 4 * g + v) for g in range(10) for k in range(4) for u, v in _both(k, (k + 1) % 4)]
    texts = {
        "A": "".join(f"{u + 1}, {v + 1}\n" for u, v in pairs),
        "graph_indicator": "".join(f"{g + 1}\n" * 4 for g in range(10)),
        **files,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"RING_{name}.txt").write_bytes(text.replace("\n", newline).encode())
    assert tu.sniff(folder) == 1.0
    return tu.TUDataset(TUDatasetConfig(path=str(folder)))


def test_line_ends_of_windows(tmp_path: Path) -> None:
    labels = "".join(f"{k % 2}\n" for k in range(10))
    reader = tu_folder(
        tmp_path / "a", "\r\n", graph_labels=labels, node_labels="".join(f"{k % 3}\n" for k in range(40))
    )
    assert [reader[row].targets["label"] for row in range(4)] == [0.0, 1.0, 0.0, 1.0]
    assert reader[1].inputs.node_labels[:, 0].tolist() == [1, 2, 0, 1]


def test_values_and_several_values_of_graphs(tmp_path: Path) -> None:
    one = tu_folder(tmp_path / "a", graph_attributes="".join(f"{0.1 * k:.2f}\n" for k in range(10)))
    assert [(spec.name, spec.kind) for spec in one.targets] == [("value", "regression")]
    assert one[3].targets == {"value": 0.3}
    two = tu_folder(tmp_path / "b", graph_attributes="".join(f"{0.1 * k:.2f},{k * 10.5}\n" for k in range(10)))
    assert [spec.name for spec in two.targets] == ["value", "value-0", "value-1"]
    assert two[2].targets["value-1"] == 21.0
    real = tu_folder(tmp_path / "c", graph_labels="".join(f"{k + 0.25}\n" for k in range(10)))
    assert [(spec.name, spec.kind) for spec in real.targets] == [("label", "regression")]
    (tmp_path / "c" / "notes.md").write_text("x")
    again = tu.TUDataset(TUDatasetConfig(path=str(tmp_path / "c")))
    assert again.account.counts == {"used": 3, "ignored": 1, "unreadable": 0}


def test_a_reader_s_word_labels_are_numbers_of_the_same_text_elsewhere() -> None:
    from repcore_graphs.datasets.raw_graph import RawGraph

    def graph(labels: list[Any]) -> Sample:
        return Sample("0", RawGraph(2, np.array([[0, 1], [1, 0]]), node_labels=np.array(labels).reshape(-1, 1)))

    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit([graph([6, 8])], [0])  # type: ignore[arg-type]
    assert preprocessor.prepare(graph(["8", "6"]))[0].values.x.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_graph_ids_that_nearly_agree_are_said(tmp_path: Path) -> None:
    reader = edges_of(tmp_path, "graph,source,target\n0,a,b\n0,b,c\n00,a,b\nX,a,b\nx,b,c\n")
    assert [reader.id_of(row) for row in range(len(reader))] == ["0", "00", "X", "x"]
    told = "\n".join(reader.account.sentences())
    assert "graph ids are text, and '0' and '00' differ in leading zeros or the way of writing numbers only (2" in told


def test_patients_keep_their_graphs_together(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "edges.csv").write_text(
        "graph,source,target\n" + "".join(f"g{one},a,b\ng{one},b,c\n" for one in range(6)), encoding="utf-8"
    )
    table = "graph,patient,y\n" + "".join(f"g{one},P{one // 2},{one % 2}\n" for one in range(6))
    (tmp_path / "set" / "graphs.csv").write_text(table, encoding="utf-8")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "set")))
    assert [reader[row].group for row in range(6)] == reader.groups == ["P0", "P0", "P1", "P1", "P2", "P2"]
    assert [target.name for target in reader.targets] == ["y"]
    assert "3 of them, by its name; kept together in splits" in "\n".join(reader.account.sentences())
    for one in range(4):
        place = tmp_path / "files" / f"sub-{one // 2:02d}" / f"run{one % 2}_{one}.graphml"
        place.parent.mkdir(parents=True, exist_ok=True)
        nx.write_graphml(nx.cycle_graph(3 + one), place)
    files = network(tmp_path / "files")
    assert sorted(str(files[row].group) for row in range(4)) == ["sub-00", "sub-00", "sub-01", "sub-01"]
