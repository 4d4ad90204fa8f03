"""Readers and preprocessing: real layouts, damaged files, awkward graphs, folds, nothing written beside the data."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data, InMemoryDataset

from repcore.errors import DataError, ItemError
from repcore.interfaces import Item, Sample
from repcore_graphs.configs.data import (
    EdgeListConfig,
    GraphPreprocessorConfig,
    MotifsConfig,
    OGBConfig,
    PyGConfig,
    TUDatasetConfig,
)
from repcore_graphs.datasets import edge_files, edge_list, ogb, pyg, pyg_paths, tu
from repcore_graphs.datasets.folds import fold_split, stratified_folds
from repcore_graphs.datasets.motifs import Motifs
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.preprocessors.graph import GraphPreprocessor, raw_features, sizes_only
from repcore_graphs.rendering.graphs import draw_sample
from tests.graphs.conftest import random_graph, write_tu


def open_tu(path: Path, **options: object) -> tu.TUDataset:
    return tu.TUDataset(TUDatasetConfig(path=str(path), **options))  # type: ignore[arg-type]


def fitted(reader: object, **options: object) -> GraphPreprocessor:
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig(**options))  # type: ignore[arg-type]
    preprocessor.fit(reader, range(len(reader)))  # type: ignore[arg-type]
    return preprocessor


def test_a_batch_is_torch_geometrics_own_but_for_names_that_it_shifts() -> None:
    graphs = [random_graph(seed) for seed in range(4)]
    for number, graph in enumerate(graphs):
        graph.target_index = torch.full((graph.num_nodes,), float(number))  # a label of nodes that is named "index"
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    batch = preprocessor.collate([Item(one, meta={}) for one in graphs])
    assert batch.targets["index"].tolist() == [float(n) for n, one in enumerate(graphs) for _ in range(one.num_nodes)]
    expected = GraphBatch.from_data_list(graphs)
    assert batch.inputs.num_graphs == expected.num_graphs == 4
    assert {*expected.keys()} == {*batch.inputs.keys()} - {"pair_first", "arc_edge"}
    for name in {*expected.keys()} - {"target_index"}:
        assert torch.equal(batch.inputs[name], expected[name]), name


# ------------------------------------------------------------------------------------------------- TUDataset


def test_tu_text_becomes_graphs(tmp_path: Path) -> None:
    folder = write_tu(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    reader = open_tu(folder)
    assert len(reader) == 3
    assert tu.sniff(folder) == 1.0
    first, last = reader[0], reader[2]
    assert first.id == "TINY-000001"
    assert first.inputs.edge_index.tolist() == [[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]
    assert first.inputs.edge_labels[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert [reader[row].targets["label"] for row in range(3)] == [1.0, 0.0, 1.0]
    assert reader.targets[0].names == ("-1", "1")
    assert last.inputs.num_nodes == 1
    assert last.inputs.edge_index.shape == (2, 0)
    assert reader.by_id("TINY-000003").id == last.id
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"edge_labels": "0\n0\n1\n"}, "edge_labels.txt has 3 lines.*_A.txt stands for 8"),
        ({"node_labels": "0\n1\n"}, "node_labels.txt has 2 lines"),
        ({"graph_labels": "1\n2\n"}, "graph_labels.txt has 2 lines.*stands for 3"),
        ({"A": "1, 2\n2, 1\n2,"}, "TINY_A.txt cannot be read as numbers; is it truncated"),
        ({"A": "1, 2, 3\n2, 1, 4\n"}, "has 3 columns"),
        ({"A": "1, 2\n70, 80\n"}, "line 2 of TINY_A.txt names two nodes that do not exist"),
        ({"graph_indicator": ""}, "graph_indicator"),
        ({"graph_indicator": "one\ntwo\n"}, "graph_indicator.txt cannot be read as numbers"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, replaced: dict[str, str], words: str) -> None:
    folder = write_tu(tmp_path, **replaced)
    with pytest.raises(DataError, match=words):
        _ = open_tu(folder)[0]


@pytest.mark.parametrize(
    ("replaced", "row", "status"),
    [
        ({"A": "1, 2\n2, 1\n2, 3\n3, 2\n3, 1\n1, 3\n4, 99\n5, 4\n"}, 1, "dangling_edge"),
        ({"A": "1, 2\n2, 1\n2, 3\n3, 2\n3, 1\n1, 6\n4, 5\n5, 4\n"}, 0, "dangling_edge"),  # into another graph
        ({"node_attributes": "1.0\n2.0\n3.0\nnan\n5.0\n6.0\n"}, 1, "not_finite"),
        ({"node_attributes": "1.0\ninf\n3.0\n4\n5.0\n6.0\n"}, 0, "not_finite"),
    ],
)
def test_a_damaged_graph_is_one_reported_row(tmp_path: Path, replaced: dict[str, str], row: int, status: str) -> None:
    reader = open_tu(write_tu(tmp_path, **replaced))
    for index in range(3):
        if index == row:
            with pytest.raises(ItemError) as caught:
                _ = reader[index]
            assert caught.value.status == status
        else:
            assert reader[index].inputs.num_nodes >= 1
    preprocessor = fitted(reader)  # the others still train
    assert np.isnan(raw_features(preprocessor, [Sample("x", RawGraph(0, np.zeros((2, 0), np.int64)))])).all()


def test_graph_ids_with_a_gap_are_a_row_without_nodes(tmp_path: Path) -> None:
    reader = open_tu(write_tu(tmp_path, graph_indicator="1\n1\n1\n2\n2\n4\n", graph_labels="1\n1\n-1\n1\n"))
    with pytest.raises(ItemError, match="no_nodes"):
        _ = reader[2]
    assert reader[3].inputs.num_nodes == 1


def test_real_sets_have_the_documented_sizes(shared: Path) -> None:
    for name, graphs, width, edge_width, arcs in (("MUTAG", 188, 7, 4, 7442), ("PROTEINS", 1113, 4, 0, 162088)):
        folder = shared / "data" / "graphs" / name
        if not folder.is_dir():
            pytest.skip(f"no {name}")
        reader = open_tu(folder, fold=1)
        assert len(reader) == graphs
        assert sum(reader[row].inputs.edge_index.shape[1] for row in range(graphs)) == arcs
        facts = fitted(reader).facts()
        assert (facts["node_width"], facts["edge_width"]) == (width, edge_width)
        assert [len(reader.splits[part]) for part in ("validation", "test")] == [graphs // 10] * 2
        assert not set(reader.splits["train"]) & (set(reader.splits["validation"]) | set(reader.splits["test"]))


# ------------------------------------------------------------------------------------------------------ folds


def test_published_folds_in_both_layouts(tmp_path: Path) -> None:
    lines = "1\n" * 20
    folder = write_tu(
        tmp_path, A="", graph_indicator="".join(f"{k}\n" for k in range(1, 21)), graph_labels=lines,
        node_labels=lines, node_attributes=lines, edge_labels="",
    )  # fmt: skip
    with pytest.raises(DataError, match="no fold file"):
        open_tu(folder, fold=1).folds()
    text = folder / "10fold_idx"
    text.mkdir()
    for fold in range(10):
        (text / f"test_idx-{fold + 1}.txt").write_text(f"{2 * fold}\n{2 * fold + 1}\n")
    assert open_tu(folder, fold=1).splits["test"] == [0, 1]
    assert open_tu(folder, fold=1).splits["validation"] == [18, 19]
    (folder / "10fold_test_idx.json").write_text(json.dumps({"test_folds": [[k] for k in range(10)]}))
    assert open_tu(folder, fold=3).splits["validation"] == [1]
    with pytest.raises(DataError, match=r"fold=11 is not a fold"):
        _ = open_tu(folder, fold=11).splits
    (folder / "10fold_test_idx.json").write_text(json.dumps({"test_folds": [[k] for k in range(15, 25)]}))
    with pytest.raises(DataError, match="name graph 24; the data has 20"):
        open_tu(folder, fold=1).folds()
    assert len(open_tu(folder, fold=2, folds="stratified").splits["test"]) == 2


def test_stratified_folds_cover_everything_with_equal_shares() -> None:
    labels = np.array([0] * 63 + [1] * 125)
    folds = stratified_folds(labels, generator=np.random.default_rng(0))
    assert sorted(np.concatenate(folds).tolist()) == list(range(188))
    assert {int((labels[fold] == 0).sum()) for fold in folds} <= {6, 7}
    split = fold_split(folds, 1, 188)
    assert split["validation"].tolist() == folds[9].tolist()


# --------------------------------------------------------------------------------------------------- edge lists


def test_a_plain_list_of_pairs_is_one_graph(tmp_path: Path) -> None:
    (tmp_path / "net.txt").write_text("# a comment\n10 20\n20 30 \n7 10\n")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "net.txt")))
    graph = reader[0].inputs
    assert graph.num_nodes == 4
    assert graph.edge_index.shape == (2, 6)  # the missing directions are added
    directed = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "net.txt"), directed=True))
    assert directed[0].inputs.edge_index.shape == (2, 3)
    assert edge_files.sniff(tmp_path / "net.txt") > 0


def test_tables_with_features_labels_and_several_graphs(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("graph,source,target,type,length\ng1,a,b,0,1.5\ng1,b,c,1,2.5\ng2,x,y,1,0.5\n")
    (tmp_path / "nodes.csv").write_text("graph,node,mass,label\ng1,a,1,u\ng1,b,2,\ng1,c,3,w\ng2,x,4,u\ng2,y,5,w\n")
    (tmp_path / "graphs.csv").write_text("graph,label\ng2,yes\ng1,no\n")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))
    assert [reader.id_of(row) for row in range(2)] == ["g2", "g1"]
    assert [(one.name, one.level, one.names) for one in reader.targets] == [
        ("label", "item", ("no", "yes")), ("node_label", "node", ("u", "w")),
    ]  # fmt: skip
    sample = reader.by_id("g1")
    assert sample.targets["label"] == 0.0
    np.testing.assert_array_equal(sample.targets["node_label"], sample.inputs.node_targets["node_label"])
    assert sample.inputs.edge_labels[:, 0].tolist() == [0, 0, 1, 1]
    assert sample.inputs.edge_attributes[:, 0].tolist() == [1.5, 1.5, 2.5, 2.5]
    batch = fitted(reader).collate(fitted(reader).prepare(sample))
    labels = batch.targets["node_label"]
    assert labels[0] == 0
    assert torch.isnan(labels[1])
    assert labels[2] == 1


@pytest.mark.parametrize(
    ("edges", "status"),
    [
        ("graph,source,target\ng1,a,ghost\n", "dangling_edge"),
        ("graph,source,target\ng1,a\n", "incomplete_row"),
        ("graph,source,target,length\ng1,a,b,long\ng1,b,a,2.5\n", "not_a_number"),
    ],
)
def test_damaged_edge_rows_are_reported_rows(tmp_path: Path, edges: str, status: str) -> None:
    (tmp_path / "edges.csv").write_text(edges)
    (tmp_path / "nodes.csv").write_text("graph,node\ng1,a\ng1,b\n")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))
    with pytest.raises(ItemError) as caught:
        _ = reader[0]
    assert caught.value.status == status


# ---------------------------------------------------------------------------------------------------- PyG, OGB


class _Stored(InMemoryDataset):
    """A data set that only saves what it is given."""

    def __init__(self, root: str, graphs: list[Data]) -> None:
        self.graphs = graphs
        super().__init__(root)

    @property
    def processed_file_names(self) -> list[str]:
        return ["data.pt"]

    def process(self) -> None:
        self.save(self.graphs, self.processed_paths[0])


@pytest.mark.parametrize("form", ["list", "processed"])
def test_pyg_files_are_read_back(tmp_path: Path, form: str) -> None:
    graphs = [random_graph(seed, nodes=6 + seed, pairs=8) for seed in range(3)]
    for number, graph in enumerate(graphs):
        graph.y = torch.tensor([number % 2])
    if form == "list":
        torch.save(graphs, tmp_path / "graphs.pt")
        path = tmp_path / "graphs.pt"
    else:
        _Stored(str(tmp_path / "set"), graphs)
        path = tmp_path / "set"
    reader = pyg.PyGDataset(PyGConfig(path=str(path)))
    assert pyg_paths.sniff(path) > 0
    assert len(reader) == 3
    assert reader.targets[0].kind == "class"
    for number, graph in enumerate(graphs):
        sample = reader[number]
        assert sample.targets["y"] == number % 2
        np.testing.assert_array_equal(sample.inputs.edge_index, graph.edge_index.numpy())
        np.testing.assert_array_equal(sample.inputs.node_attributes, graph.x.numpy())


def test_pyg_node_labels_and_masks(tmp_path: Path) -> None:
    data = random_graph(0)
    data.y = torch.arange(9) % 3
    data.train_mask = torch.arange(9) < 4
    torch.save(data, tmp_path / "one.pt")
    reader = pyg.PyGDataset(PyGConfig(path=str(tmp_path / "one.pt")))
    assert reader.targets[0].level == "node"
    targets = reader[0].inputs.node_targets
    assert targets["y"].tolist() == [0, 1, 2] * 3
    assert np.isnan(targets["y_train"][4:]).all()


def test_files_that_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"x": Path("somewhere")}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="cannot be read safely"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "bad.pt")))
    torch.save({"x": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(DataError, match="holds no graphs"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "weights.pt")))


def write_ogb(folder: Path, **replaced: str) -> Path:
    """Two molecules of 3 and 1 atoms in OGB's raw form."""
    files = {
        "raw/edge": "0,1\n1,2\n",
        "raw/num-node-list": "3\n1\n",
        "raw/num-edge-list": "2\n0\n",
        "raw/node-feat": "5,0,4,5,3,0,2,0,0\n" * 4,
        "raw/edge-feat": "0,0,1\n1,0,0\n",
        "raw/graph-label": "1\n0\n",
        "split/scaffold/train": "0\n",
        "split/scaffold/test": "1\n",
    } | replaced
    for name, text in files.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
    return folder


def test_ogb_raw_files(tmp_path: Path) -> None:
    reader = ogb.OGBDataset(OGBConfig(path=str(write_ogb(tmp_path))))
    assert ogb.sniff(tmp_path) == 1.0
    assert reader.splits == {"train": [0], "test": [1]}
    graph = reader[0].inputs
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert graph.edge_labels.tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert reader[1].inputs.edge_index.shape == (2, 0)
    facts = fitted(reader, labels="codes").facts()
    assert facts["node_vocabularies"] == (119, 5, 12, 12, 10, 6, 6, 2, 2)
    assert facts["edge_vocabularies"] == (5, 6, 2)
    assert reader.targets[0].kind == "multilabel"


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"raw/graph-label": "1\n"}, "graph-label has 1 rows for 2 graphs"),
        ({"raw/node-feat": "1,2\n"}, "node-feat has 1 rows"),
        ({"raw/num-node-list": "3.5\n1\n"}, "other than whole numbers"),
    ],
)
def test_ogb_files_that_do_not_fit_are_named(tmp_path: Path, replaced: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        _ = ogb.OGBDataset(OGBConfig(path=str(write_ogb(tmp_path, **replaced))))[0]


def test_a_truncated_archive_is_said(tmp_path: Path) -> None:
    path = write_ogb(tmp_path) / "raw" / "edge.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="truncated"):
        _ = ogb.OGBDataset(OGBConfig(path=str(tmp_path)))[0]


# ------------------------------------------------------------------------------------------------- preprocessor


def _sample(**values: object) -> Sample:
    plain = {"num_nodes": 3, "edge_index": np.array([[0, 1, 0, 1, 2], [1, 0, 1, 2, 2]])}
    return Sample("s", RawGraph(**(plain | values)))  # type: ignore[arg-type]


class _One:
    """A reader of given samples."""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def test_duplicate_and_self_edges_are_reported_and_handled() -> None:
    sample = _sample()
    first = fitted(_One(sample)).prepare(sample)[0]
    assert first.values.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 2]]
    assert first.status == "duplicate_edges"
    assert "1 repeated" in first.reason
    kept = fitted(_One(sample), duplicate_edges="keep").prepare(sample)[0]
    assert kept.values.edge_index.shape[1] == 5
    assert kept.status == "ok"
    dropped = fitted(_One(sample), self_edges="drop").prepare(sample)[0]
    assert dropped.values.edge_index.tolist() == [[0, 1, 1], [1, 0, 2]]
    assert "1 self edges" in dropped.reason


def test_missing_node_features_become_degrees_with_a_shared_last_column() -> None:
    star = _sample(num_nodes=6, edge_index=np.array([[0, 0, 0, 0, 1], [1, 2, 3, 4, 0]]))
    preprocessor = fitted(_One(star), most_degrees=2)
    assert preprocessor.facts()["node_width"] == 3
    degrees = preprocessor.prepare(star)[0].values.x
    assert degrees.argmax(1).tolist() == [2, 1, 0, 0, 0, 0]


def test_labels_never_trained_on_are_zero_rows_with_a_note() -> None:
    known = _sample(node_labels=np.array([[3], [5], [3]]))
    new = _sample(node_labels=np.array([[3], [9], [5]]))
    item = fitted(_One(known), duplicate_edges="keep").prepare(new)[0]
    assert item.values.x.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert item.status == "unknown_label"
    with pytest.raises(ItemError, match="node 1 has labels"):
        fitted(_One(known), labels="codes").prepare(new)


def test_attributes_are_scaled_by_training_graphs_and_a_saved_state_is_the_same(tmp_path: Path) -> None:
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], np.float32)
    sample = _sample(node_attributes=values)
    preprocessor = fitted(_One(sample))
    x = preprocessor.prepare(sample)[0].values.x
    torch.testing.assert_close(x[:, 0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, 0].std(unbiased=False), torch.tensor(1.0))
    assert (x[:, 1] == 0).all()  # a constant column is centred, not divided by zero
    preprocessor.save(tmp_path)
    loaded = GraphPreprocessor.load(GraphPreprocessorConfig(), tmp_path)
    assert loaded.facts() == preprocessor.facts()
    assert torch.equal(loaded.prepare(sample)[0].values.x, x)
    with pytest.raises(ItemError, match="0 columns of node attributes; the model was trained on 2"):
        loaded.prepare(_sample())


def test_nothing_usable_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 1 training graphs"):
        fitted(_One(_sample(edge_index=np.array([[0], [7]]))))


def test_collating_carries_the_pairing_of_arcs() -> None:
    reader = Motifs(MotifsConfig(size=4))
    preprocessor = fitted(reader)
    batch = preprocessor.collate([preprocessor.prepare(reader[row])[0] for row in range(4)])
    arcs = batch.inputs.edge_index
    assert len(batch.inputs.pair_first) * 2 == arcs.shape[1]
    ends = arcs[:, batch.inputs.pair_first][:, batch.inputs.arc_edge]
    assert torch.equal(ends.sort(0).values, arcs.sort(0).values)


# ----------------------------------------------------------------------------------------------------- motifs


def test_motifs_are_repeatable_and_counts_do_not_give_the_class_away() -> None:
    reader, again = Motifs(MotifsConfig(size=240)), Motifs(MotifsConfig(size=240))
    for row in (0, 17, 239):
        assert np.array_equal(reader[row].inputs.edge_labels, again[row].inputs.edge_labels)
        assert np.array_equal(reader[row].inputs.edge_index, again[row].inputs.edge_index)
    samples = [reader[row] for row in range(240)]
    labels = np.array([sample.targets["rule"] for sample in samples])
    assert np.bincount(labels.astype(int)).min() > 50
    preprocessor = fitted(reader)
    for features in (raw_features(preprocessor, samples), sizes_only(preprocessor, samples)):
        means = np.stack([features[labels == one].mean(0) for one in range(3)])
        deviation = features.std(0) / np.sqrt(80)
        assert (np.abs(means - features.mean(0)) < 5 * deviation + 1e-9).all()
    assert Motifs(MotifsConfig(seed=1)).fingerprint != reader.fingerprint


def test_labels_of_edges_and_names_of_nodes(tmp_path: Path) -> None:
    """A label of edges is no feature; answers name nodes as the file does; data without the label can be predicted."""
    edges = "graph,source,target,weight,class\ng1,ann,bob,1.5,pos\ng1,bob,cat,2.5,\ng2,x,y,0.5,neg\n"
    (tmp_path / "e.csv").write_text(edges)
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "e.csv")))
    assert [(one.name, one.level, one.names) for one in reader.targets] == [("edge_class", "edge", ("neg", "pos"))]
    sample = reader.by_id("g1")
    assert sample.inputs.edge_labels is None
    np.testing.assert_array_equal(sample.targets["edge_class"], [1, np.nan])
    columns = fitted(reader).elements(sample, "edge")
    assert columns["source"].tolist() == ["ann", "bob"]
    assert columns["target"].tolist() == ["bob", "cat"]
    assert fitted(reader).elements(sample, "node")["node"].tolist() == ["ann", "bob", "cat"]
    named = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "e.csv"), edge_label="weight"))
    assert [(one.name, one.kind) for one in named.targets] == [("edge_weight", "regression")]
    assert named.by_id("g1").inputs.edge_attributes is None
    (tmp_path / "new.csv").write_text("graph,source,target\ng1,ann,bob\n")
    assert edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "new.csv"), edge_label="weight")).targets == []
    with pytest.raises(DataError, match="read as ends or graphs"):
        edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "e.csv"), edge_label="source"))


def test_graphs_whose_types_are_words_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("source,target,bond\na,b,single\nb,c,double\nc,d,single\n")
    (tmp_path / "nodes.csv").write_text("node,kind\na,C\nb,N\nc,C\nd,O\n")
    sample = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))[0]
    picture = draw_sample(sample).html
    assert picture.count("<line") == 3
    dashes = re.findall(r"<line [^>]*?(?:stroke-dasharray=\"([^\"]*)\")?/>", picture)
    assert dashes[0] == dashes[2]  # the same word, the same line
    fills = re.findall(r'<circle [^>]*fill="([^"]*)"', picture)
    assert fills[0] == fills[2]
