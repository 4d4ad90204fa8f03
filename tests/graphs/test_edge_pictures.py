"""What a run's report shows of objectives about edges: the edges of the loss, and the guesses of the same pass."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch as GraphBatch

from repcore.interfaces import Batch, Picture, Sample
from repcore_graphs.configs.ehgnn import EHGNNConfig, HyperClusterConfig
from repcore_graphs.configs.objectives import EdgeReconstructionConfig, MaskedEdgeConfig
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder
from repcore_graphs.objectives.edge_reconstruction import EdgeReconstruction
from repcore_graphs.objectives.masked_edges import MaskedEdges
from repcore_graphs.rendering import edges as render_edges
from repcore_graphs.rendering.edges import WORST
from repcore_graphs.rendering.graphs import ASKED, RIGHT, WRONG, Mark, draw_graph, overlay
from repcore_graphs.rendering.tables import MOST_ROWS
from tests.graphs.conftest import edgeless, random_graph
from tests.graphs.pictures import drawn, one_motif, panels_of, rows_of


def masked_edges(widths: dict[str, object], kind: str | None = "one-hot", **changes: object) -> MaskedEdges:
    torch.manual_seed(1)
    values = widths | {"hidden_width": 8} | changes
    return MaskedEdges(MaskedEdgeConfig(edge_kind=kind, mask_ratio=0.4), EHGNN(EHGNNConfig(**values))).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", ["one-hot", "codes"])
def test_hidden_edges_and_their_guesses_are_those_of_the_loss(labels: str) -> None:
    widths, batch = one_motif(labels)
    objective = masked_edges(widths, labels)
    picture, draws = drawn(objective, batch)
    graph = objective.encoder.read(batch.inputs)
    with torch.no_grad():
        terms = objective(batch, draws)
        embedded = objective.encoder.embed_edges(objective.encoder.embed_nodes(graph))
        features = embedded.edges.clone()
        features[draws["hidden"]] = objective.token
        scores = objective.decoder(
            objective.encoder.encode(embedded.with_features(edges=features)).tokens["edge"].values
        )
    chances = scores.double().exp() / scores.double().exp().sum(1, keepdim=True)
    kinds = graph.edges.argmax(1) if labels == "one-hot" else graph.edges[:, 0]
    rows = rows_of(picture)
    hidden = draws["hidden"].nonzero()[:, 0].tolist()
    assert [row[1] for row in rows] == [f"{graph.ends[0, edge]}–{graph.ends[1, edge]}" for edge in hidden]
    for number, (row, edge) in enumerate(zip(rows, hidden, strict=True), 1):
        order = sorted(range(3), key=lambda kind: -float(chances[edge, kind]))
        assert row[0] == str(number)
        assert [cell.rsplit(" ", 1)[0] for cell in row[4:]] == [f"type {kind}" for kind in order]
        for cell, kind in zip([row[2], *row[4:]], [int(kinds[edge]), *order], strict=True):
            assert cell.startswith(f"type {kind} ")
            found = cell.rsplit(" ", 1)[1].removesuffix("%").replace("<1", "0.25")
            assert abs(float(found) - 100 * float(chances[edge, kind])) < 0.51  # rounded to whole percents
        assert row[3] == ("✓ right" if order[0] == kinds[edge] else "✗ wrong")
    right = round(float(terms.metrics["masked_accuracy"]) * len(hidden))
    assert picture.alt == f"{right} of {len(hidden)} hidden edges guessed right; {graph.num_edges} edges in all"
    assert 0 < right < len(hidden)  # else circles and squares below are not told apart
    truth, restored = panels_of(picture)
    assert truth.count(f'fill="{ASKED}"') == len(hidden)
    assert len(re.findall(f'<circle[^>]*fill="{RIGHT}"', restored)) == right
    assert len(re.findall(f'<rect[^>]*fill="{WRONG}"', restored)) == len(hidden) - right


def test_panels_show_true_and_restored_types(monkeypatch: pytest.MonkeyPatch) -> None:
    widths, batch = one_motif()
    objective = masked_edges(widths)
    seen: list[RawGraph] = []

    def note(graph: RawGraph, **rest: object) -> Picture:
        seen.append(graph)
        return Picture("", "")

    monkeypatch.setattr(render_edges, "draw_graph", note)
    _, draws = drawn(objective, batch)
    graph, hidden = objective.encoder.read(batch.inputs), draws["hidden"].numpy()
    with torch.no_grad():
        _, outputs = objective.predict(batch, draws)
    true, restored = (one.edge_labels[:, 0] for one in seen if one.edge_labels is not None)
    assert np.array_equal(true, graph.edges.argmax(1).numpy())
    assert np.array_equal(restored[~hidden], true[~hidden])
    assert np.array_equal(restored[hidden], outputs.argmax(1).numpy()[hidden])
    assert all(
        np.array_equal(one.node_labels[:, 0], batch.inputs.x.argmax(1).numpy())
        for one in seen
        if one.node_labels is not None
    )


def test_drawing_changes_no_weight_and_draws_nothing() -> None:
    widths, batch = one_motif()
    clusters = HyperClusterEncoder(HyperClusterConfig(hidden_width=8, average_edges=30, **widths))  # type: ignore[arg-type]
    for objective in (
        masked_edges(widths),
        EdgeReconstruction(EdgeReconstructionConfig(edge_kind="one-hot"), clusters).eval(),
    ):
        weights = {name: value.clone() for name, value in objective.state_dict().items()}
        state = torch.get_rng_state()
        picture, _ = drawn(objective, batch)
        assert drawn(objective, batch)[0] == picture
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(value, weights[name]) for name, value in objective.state_dict().items())


def test_both_directions_of_a_bond_share_a_number() -> None:
    widths, batch = one_motif()
    picture, draws = drawn(masked_edges(widths, edges="as-stored"), batch)
    rows = rows_of(picture)
    pairs = {frozenset(row[1].split("–")): row[0] for row in rows}
    assert len(rows) == min(int(draws["hidden"].sum()), MOST_ROWS)
    assert all(row[0] == pairs[frozenset(row[1].split("–"))] for row in rows)
    assert len(pairs) < len(rows)
    assert panels_of(picture)[0].count(f'fill="{ASKED}"') == len(pairs)


def test_continuous_edge_features_are_listed_with_their_error() -> None:
    batch = Batch(inputs=GraphBatch.from_data_list([random_graph(0)]), size=1)
    widths: dict[str, object] = {"node_width": 5, "edge_width": 3}
    objective = masked_edges(widths, None)
    picture, draws = drawn(objective, batch)
    with torch.no_grad():
        raw, outputs = objective.predict(batch, draws)
        loss = float(objective(batch, draws).total)
    hidden = draws["hidden"].nonzero()[:, 0].tolist()
    for row, edge in zip(rows_of(picture), hidden, strict=True):
        error = float((outputs[edge] - raw.edges[edge]).square().mean())
        assert row[2:] == [
            ", ".join(f"{value:.2f}" for value in raw.edges[edge].tolist()),
            ", ".join(f"{value:.2f}" for value in outputs[edge].tolist()),
            f"{error:.3g}",
        ]
    assert picture.alt.startswith(f"{len(hidden)} hidden edges, mean squared error {loss:.3g}")
    assert len(panels_of(picture)) == 1


def test_reconstruction_numbers_the_wrong_edges() -> None:
    widths, batch = one_motif()
    torch.manual_seed(0)
    encoder = HyperClusterEncoder(HyperClusterConfig(hidden_width=8, average_edges=30, **widths))  # type: ignore[arg-type]
    objective = EdgeReconstruction(EdgeReconstructionConfig(edge_kind="one-hot"), encoder).eval()
    picture, draws = drawn(objective, batch)
    assert draws == {}
    with torch.no_grad():
        raw = encoder.read(batch.inputs)
        kinds = objective.logits(encoder.encode(encoder.embed_edges(encoder.embed_nodes(raw)))).argmax(1)
    wrong = (kinds != raw.edges.argmax(1)).nonzero()[:, 0].tolist()
    assert 0 < len(wrong) <= MOST_ROWS
    assert [row[1] for row in rows_of(picture)] == [f"{raw.ends[0, edge]}–{raw.ends[1, edge]}" for edge in wrong]
    assert picture.alt == f"{raw.num_edges - len(wrong)} of {raw.num_edges} edges guessed right"
    assert "numbered" in picture.html


def test_graphs_without_edges_and_with_too_many() -> None:
    widths: dict[str, object] = {"node_width": 5, "edge_width": 3}
    objective = masked_edges(widths, "one-hot")
    picture, _ = drawn(objective, Batch(inputs=GraphBatch.from_data_list([edgeless()]), size=1))
    assert picture.alt == "0 of 0 hidden edges guessed right"
    assert "<table" not in picture.html
    crowd = random_graph(0, nodes=15, pairs=60)
    picture, draws = drawn(objective, Batch(inputs=GraphBatch.from_data_list([crowd]), size=1))
    assert len(rows_of(picture)) == MOST_ROWS
    assert f"and {int(draws['hidden'].sum()) - MOST_ROWS} more, without numbers" in picture.html


def test_the_worst_of_continuous_features_are_the_largest_errors() -> None:
    error = np.array([0.1, 5.0, 0.2, 4.0, *[1.0 + 0.1 * place for place in range(8)]])
    restored = render_edges.RestoredEdges(np.zeros((12, 2)), np.zeros((12, 2)), error, None)
    assert restored.is_right is None
    assert set(np.flatnonzero(restored.worst())) == set(sorted(range(12), key=lambda edge: -error[edge])[:WORST])


def test_marks_stay_inside_the_picture() -> None:
    graph = RawGraph(3, np.array([[0, 1, 2], [1, 2, 2]]))
    marks = {(0, 1): Mark(1), (1, 2): Mark(2, True), (2, 2): Mark(3, False)}
    html = draw_graph(graph, marks=marks).html
    assert re.findall(r">(\d)</text>", html) == ["1", "2", "3"]
    places = [float(value) for value in re.findall(r'<(?:text|rect) [xy]="([-\d.]+)"', html)]
    assert all(0 <= value <= 220 for value in places)
    for colour in (ASKED, RIGHT, WRONG):
        assert f'stroke="{colour}"' in html


def test_classes_of_edges_and_nodes_are_drawn_with_what_is_wrong() -> None:
    arcs = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
    labels = {"kind": np.array([0.0, 0.0, 1.0, 1.0])}
    sample = Sample("g", RawGraph(3, arcs, edge_targets=labels), labels)
    wrong = np.array([0, 0, 0, 0])
    picture = overlay(sample, {"labelled": np.array([0, 0, 1, 1]), "predicted": wrong})
    asked, predicted = picture.html.split("</figure>")[:2]
    assert asked.count("<line") == predicted.count("<line") == 2
    assert (asked.count(RIGHT), asked.count(WRONG)) == (0, 0)
    assert RIGHT in predicted
    assert WRONG in predicted
    assert "classes of its edges; in this order: labelled, predicted" in picture.alt
    nodes = Sample("g", RawGraph(3, arcs, node_targets={"role": np.array([0.0, 1.0, np.nan])}), {})
    drawn = overlay(nodes, {"labelled": np.array([0, 1, -1]), "predicted": np.array([0, 1, 1])})
    assert "classes of its nodes" in drawn.alt
    assert WRONG not in drawn.html  # where there is no label nothing is wrong
