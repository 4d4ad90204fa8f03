"""Answers about nodes and edges go back to the stored graph: dropped edges stay in place, labels may be hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from repcore.embedding.dense import dense_row
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.windows import PreparedRow
from repcore.interfaces import Sample
from repcore_graphs.configs.data import GraphPreprocessorConfig, MotifsConfig, PartsConfig
from repcore_graphs.datasets.motifs import Motifs
from repcore_graphs.datasets.parts import GraphParts
from repcore_graphs.datasets.raw_graph import RawGraph, add_reverse
from repcore_graphs.preprocessors.graph import GraphPreprocessor, raw_elements


def graph() -> RawGraph:
    """Edge 1 is a loop and edge 3 repeats edge 0: both are dropped before the encoder."""
    ends = np.asarray([[0, 1, 1, 0, 2], [1, 1, 2, 1, 0]])
    labels = {"kind": np.asarray([0.0, 1.0, 2.0, 3.0, np.nan], np.float32)}
    return RawGraph(3, ends, node_labels=np.zeros((3, 1), np.int64), edge_targets=labels)


def prepared(sample: Sample) -> tuple[GraphPreprocessor, PreparedRow]:
    class One:
        def __getitem__(self, index: int) -> Sample:
            return sample

    preprocessor = GraphPreprocessor(GraphPreprocessorConfig(self_edges="drop", duplicate_edges="first"))
    preprocessor.fit(One(), [0])  # type: ignore[arg-type]
    return preprocessor, PreparedRow(sample, "g", preprocessor.prepare(sample))


def test_edges_come_back_at_their_stored_places() -> None:
    sample = Sample("g", graph(), graph().element_targets)
    preprocessor, row = prepared(sample)

    def number_of_arc(batch: object) -> torch.Tensor:
        ends = batch.inputs.edge_index  # type: ignore[attr-defined]
        return (10 * ends[0] + ends[1]).float()[:, None]

    found = dense_row(number_of_arc, preprocessor, row, InferenceOptions(), "edge", "graphs")
    assert found.answer is not None
    np.testing.assert_array_equal(found.answer.outputs[:, 0], [1, np.nan, 12, np.nan, 20])
    np.testing.assert_array_equal(found.answer.elements["source"], [0, 1, 1, 0, 2])
    np.testing.assert_array_equal(found.answer.elements["target"], [1, 1, 2, 1, 0])
    batch = preprocessor.collate(row.items)
    assert batch.targets["kind"].tolist()[:2] == [0.0, 2.0]
    assert torch.isnan(batch.targets["kind"][2])
    wrong = dense_row(number_of_arc, preprocessor, row, InferenceOptions(), "point", "graphs")
    assert wrong.status == "other_level"


def test_both_directions_of_an_edge_have_one_number() -> None:
    """Columns 0 and 2 are the two directions of one edge, 1 and 4 of another; 3 has no reverse."""
    ends = np.asarray([[0, 1, 1, 0, 2], [1, 2, 0, 2, 1]])
    sample = Sample("g", RawGraph(3, ends, node_labels=np.zeros((3, 1), np.int64)))
    found = prepared(sample)[0].elements(sample, "edge")
    assert found["edge"].tolist() == [0, 1, 0, 2, 1]
    other = RawGraph(3, ends, edge_attributes=np.asarray([[0.0], [1.0], [5.0], [0.0], [1.0]], np.float32))
    sample = Sample("g", other)  # the directions of 0 and 2 differ in what they carry: two edges
    assert prepared(sample)[0].elements(sample, "edge")["edge"].tolist() == [0, 1, 2, 3, 1]


def test_hidden_labels_of_a_sample_win() -> None:
    """Few-label training hides labels in ``Sample.targets``; the stored graph still has them."""
    hidden = np.asarray([np.nan, 1.0, 2.0, 3.0, np.nan], np.float32)
    preprocessor, row = prepared(Sample("g", graph(), {"kind": hidden}))
    assert torch.isnan(preprocessor.collate(row.items).targets["kind"]).tolist() == [True, False, True]


def test_bridges_are_labelled_and_survive_doubling() -> None:
    reader = Motifs(MotifsConfig(size=3))
    sample = reader[1]
    assert sample.targets["bridge"].shape == (sample.inputs.edge_index.shape[1] // 2,)
    trees = int((sample.targets["bridge"] == 0).sum())
    assert trees == sample.inputs.num_nodes - 1  # the chains are a spanning tree
    doubled = add_reverse(RawGraph(2, np.asarray([[0], [1]]), edge_targets={"kind": np.asarray([4.0])}))
    assert doubled.edge_targets["kind"].tolist() == [4.0]
    assert prepared(Sample("g", doubled))[1].items[0].values["target_kind"].tolist() == [4.0, 4.0]


def one_way() -> RawGraph:
    """Five edges as stored: 1 is a loop, 3 repeats 0, 2 and 4 are both directions of one edge."""
    ends = np.asarray([[0, 1, 1, 0, 2], [1, 1, 2, 1, 1]])
    labels = {"kind": np.asarray([0.0, 1.0, 2.0, 3.0, np.nan], np.float32)}
    return add_reverse(RawGraph(3, ends, node_labels=np.zeros((3, 1), np.int64), edge_targets=labels))


def test_directions_that_a_reader_added_are_no_rows() -> None:
    """One row a stored edge, with the outputs of the arc that stands as stored; labels reach both of its arcs."""
    sample = Sample("g", one_way(), one_way().element_targets)
    assert sample.inputs.edge_index.tolist() == [[0, 1, 1, 1, 0, 1, 2], [1, 0, 1, 2, 1, 0, 1]]
    preprocessor, row = prepared(sample)

    def number_of_arc(batch: object) -> torch.Tensor:
        ends = batch.inputs.edge_index  # type: ignore[attr-defined]
        return (10 * ends[0] + ends[1]).float()[:, None]

    found = dense_row(number_of_arc, preprocessor, row, InferenceOptions(), "edge", "graphs").answer
    assert found is not None
    np.testing.assert_array_equal(found.outputs[:, 0], [1, np.nan, 12, np.nan, 21])
    assert [found.elements[name].tolist() for name in ("source", "target")] == [[0, 1, 1, 0, 2], [1, 1, 2, 1, 1]]
    assert found.elements["edge"].tolist()[2] == found.elements["edge"].tolist()[4]
    np.testing.assert_array_equal(preprocessor.collate(row.items).targets["kind"], [0, 0, 2, np.nan])
    assert preprocessor.cleaned(sample).edge_targets["kind"].tolist()[:2] == [0.0, 2.0]
    assert raw_elements(preprocessor, sample, row.items, "edge").shape[0] == 5


def test_a_part_keeps_the_labels_of_its_edges_and_the_names_of_its_nodes(tmp_path: Path) -> None:
    """A ring of 12 nodes whose edges are labelled, cut into two parts of six nodes: five edges each."""
    rows = [f"n{k},n{(k + 1) % 12},{'red' if k % 2 else 'blue'}" for k in range(12)]
    (tmp_path / "ring.csv").write_text("\n".join(["source,target,class", *rows]))
    reader = GraphParts(PartsConfig(path=str(tmp_path / "ring.csv"), parts=2))
    assert [(one.name, one.level) for one in reader.targets] == [("edge_class", "edge")]
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    seen = set()
    for number in (0, 1):
        part = reader[number]
        found = preprocessor.elements(part, "edge")
        seen |= set(preprocessor.elements(part, "node")["node"])
        assert len(found["edge"]) == len(part.targets["edge_class"]) == 5
        for source, target, label in zip(found["source"], found["target"], part.targets["edge_class"], strict=True):
            assert f"{source},{target},{('blue', 'red')[int(label)]}" in rows
    assert seen == {f"n{k}" for k in range(12)}
