"""What a run's report shows of masked nodes and of contrasted views: their draws, and results of the same pass."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from repcore.interfaces import Picture
from repcore_graphs.configs.ehgnn import EHGNNConfig
from repcore_graphs.configs.objectives import GraphContrastConfig, MaskedNodeConfig
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.objectives.augmentations import AUGMENTATIONS
from repcore_graphs.objectives.graph_contrast import GraphContrast
from repcore_graphs.objectives.masked_nodes import MaskedNodes
from repcore_graphs.rendering import views as render_views
from repcore_graphs.rendering.graphs import ASKED, RIGHT, WRONG
from tests.graphs.pictures import START, drawn, one_motif, panels_of, rows_of


def masked_nodes(widths: dict[str, object], **changes: object) -> MaskedNodes:
    torch.manual_seed(2)
    encoder = EHGNN(EHGNNConfig(**(widths | {"hidden_width": 8} | changes)))  # type: ignore[arg-type]
    return MaskedNodes(MaskedNodeConfig(mask_ratio=0.6), encoder).eval()


def contrast(widths: dict[str, object], *names: str, both_views: bool = False) -> GraphContrast:
    torch.manual_seed(0)
    encoder = EHGNN(EHGNNConfig(**(widths | {"hidden_width": 8})))  # type: ignore[arg-type]
    config = GraphContrastConfig(augmentations=names, both_views=both_views, projection_width=8, strength=0.4)
    return GraphContrast(config, encoder).eval()


@pytest.mark.parametrize("labels", ["one-hot", "codes"])
def test_hidden_nodes_and_their_guesses_are_those_of_the_loss(labels: str) -> None:
    widths, batch = one_motif(labels)
    objective = masked_nodes(widths)
    caught: list[torch.Tensor] = []
    picture, draws = drawn(objective, batch)
    handle = objective.decoder.register_forward_hook(lambda _module, _inputs, out: caught.append(out.detach()))
    cosine = float(objective(batch, draws).metrics["cosine"])
    handle.remove()
    true = batch.inputs.x.argmax(1) if labels == "one-hot" else batch.inputs.x[:, 0]
    hidden = draws["hidden"].nonzero()[:, 0].tolist()
    rows = rows_of(picture)
    assert [row[:2] for row in rows] == [[str(number), str(node)] for number, node in enumerate(hidden, 1)]
    right = 0
    for row, node in zip(rows, hidden, strict=True):
        vector = caught[0][node].tolist()
        length = sum(value**2 for value in vector) ** 0.5 or 1.0
        order = sorted(range(3), key=lambda kind: -vector[kind])
        assert row[2] == f"type {int(true[node])} {vector[int(true[node])] / length:.2f}"
        assert row[4:] == [f"type {kind} {vector[kind] / length:.2f}" for kind in order]
        is_right = order[0] == true[node] and any(vector)  # a node among hidden ones is restored as zeros: no guess
        assert row[3] == ("✓ right" if is_right else "✗ wrong")
        right += bool(is_right)
    count = len(batch.inputs.x)
    assert picture.alt == f"{len(hidden)} of {count} nodes hidden, {right} guessed right; mean cosine {cosine:.2f}"
    assert 0 < right < len(hidden)  # else circles and squares below are not told apart
    silent = [node for node in hidden if not caught[0][node].any()]
    assert silent
    assert "nothing restored" in picture.html
    truth, restored = panels_of(picture)
    assert len(re.findall(f'<circle[^>]*fill="{ASKED}"', truth)) == len(hidden)
    assert len(re.findall(f'<circle[^>]*fill="{RIGHT}"', restored)) == right
    assert len(re.findall(f'<rect[^>]*fill="{WRONG}"', restored)) == len(hidden) - right


def test_words_say_how_many_show_another_node() -> None:
    widths, batch = one_motif()
    objective = masked_nodes(widths)
    draws = dict(objective.draw(batch, torch.Generator().manual_seed(0), START))
    some = draws | {"replaced": draws["hidden"] & (torch.arange(len(draws["hidden"])) < 6)}
    with torch.no_grad():
        picture = objective.picture(batch, some)
    assert picture.alt.endswith(f"; in {int(some['replaced'].sum())} of them the model sees another's features")


def test_nodes_without_types_are_listed_with_their_cosine() -> None:
    widths, batch = one_motif()
    batch.inputs.x = batch.inputs.x * 1.5 - 0.25
    objective = masked_nodes(widths)
    picture, draws = drawn(objective, batch)
    with torch.no_grad():
        _, original, restored = objective.restore(batch, draws)
    for row, node in zip(rows_of(picture), draws["hidden"].nonzero()[:, 0].tolist(), strict=True):
        a, b = original[node], restored[node]
        length = max(float(b.norm()), 1e-8)
        assert row[2:] == [
            ", ".join(f"{value:.2f}" for value in a.tolist()),
            ", ".join(f"{value:.2f}" for value in (b * a.norm() / length).tolist()),
            f"{float(a @ b / (a.norm() * length)):.2f}",
        ]
    assert len(panels_of(picture)) == 1
    assert "guessed" not in picture.alt


def test_drawing_changes_no_weight_and_draws_nothing() -> None:
    widths, batch = one_motif()
    for objective in (masked_nodes(widths), contrast(widths, *AUGMENTATIONS)):
        weights = {name: value.clone() for name, value in objective.state_dict().items()}
        state = torch.get_rng_state()
        picture, _ = drawn(objective, batch)
        assert drawn(objective, batch)[0] == picture
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(value, weights[name]) for name, value in objective.state_dict().items())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_show_what_was_drawn_in_one_layout(name: str) -> None:
    widths, batch = one_motif()
    picture, draws = drawn(contrast(widths, name), batch)
    dropped, rings, covered = (
        int(draws[f"second_{change}"].sum()) for change in ("drop_edges", "hide_nodes", "hide_edges")
    )
    assert dropped + rings + covered > 0
    first, second = panels_of(picture)
    edges = len(draws["second_drop_edges"])
    assert (first.count("<line"), second.count("<line")) == (edges, edges - dropped)
    assert second.count("<circle cx=") == first.count("<circle cx=")
    assert len(re.findall(f'<circle[^>]*stroke="{ASKED}"', second)) == rings
    assert len(re.findall(f'<line[^>]*stroke="{ASKED}"', second)) == covered
    assert ASKED not in first
    places = [re.findall(r'<circle cx="([^"]+)" cy="([^"]+)"', panel) for panel in (first, second)]
    assert places[0] == places[1]
    assert picture.alt.startswith("first view: the graph itself; second view: ")
    for count, words in ((dropped, "dropped"), (rings, "hidden")):
        assert count == 0 or re.search(rf"\b{count} (node|edge)s? {words}", picture.alt)
    assert ("hidden" in picture.html) == (rings + covered > 0)


def test_types_of_hidden_edges_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    widths, batch = one_motif()
    seen: list[RawGraph] = []

    def note(graph: RawGraph, **rest: object) -> Picture:
        seen.append(graph)
        return Picture("", "")

    monkeypatch.setattr(render_views, "draw_graph", note)
    objective = contrast(widths, "mask-edges")
    _, draws = drawn(objective, batch)
    covered = draws["second_hide_edges"].numpy()
    true = objective.encoder.read(batch.inputs).edges.argmax(1).numpy()
    first, second = (one.edge_labels[:, 0] for one in seen if one.edge_labels is not None)
    assert np.array_equal(first, true)
    assert np.array_equal(second[~covered], true[~covered])
    assert true[covered].any()  # else the next line says nothing
    assert not second[covered].any()


def test_the_cosine_is_that_of_the_two_projections() -> None:
    widths, batch = one_motif()
    objective = contrast(widths, *AUGMENTATIONS, both_views=True)
    picture, draws = drawn(objective, batch)
    views = []
    handle = objective.projection.register_forward_hook(lambda _module, _inputs, out: views.append(out[0].detach()))
    objective(batch, draws)
    handle.remove()
    expected = float(views[0] @ views[1] / (views[0].norm() * views[1].norm()))
    assert picture.alt.endswith(f"; cosine {expected:.2f}")
    assert "the graph itself" not in picture.alt
