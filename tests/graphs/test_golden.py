"""Parity with the published code on golden folders, and with a slow formula where no golden folder is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore.errors import CheckpointError
from repcore.verification.golden import Golden
from repcore.verification.run import verify
from repcore_graphs.checkpoints.ehgnn import convert_state, layout_of
from repcore_graphs.verification.ehgnn import replay
from tests.graphs.conftest import random_graph, undirected
from tests.graphs.slow_formula import dense_conv, hyperdrop_classifier

SIZES = {"hidden_width": 4, "layers": 3, "edge_ratio": 0.6, "dropout": 0.0}


def test_published_numbers_are_reproduced(shared: Path) -> None:
    folder = shared / "golden" / "ehgnn"
    if not folder.is_dir():
        pytest.skip("no golden folder of EHGNN")
    verdict = verify(replay, folder)
    assert verdict.ok, verdict.text()
    assert verdict.run == verdict.due == len(Golden.open(folder).stages)


@pytest.fixture
def small_golden(tmp_path: Path) -> Path:
    """A golden folder with two stages from the slow formula, other sizes and weights than any published one."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    graphs = [random_graph(1, nodes=7, pairs=9, edge_width=2), random_graph(2, nodes=5, pairs=6, edge_width=2)]
    loop = undirected([(2, 2)])  # one self edge
    edge_index = torch.cat([graphs[0].edge_index, graphs[1].edge_index + 7, loop], dim=1)
    owner = [0] * 7 + [1] * 5
    edge_attr = random(edge_index.shape[1], 2)  # differs by direction: no equal scores
    order = torch.tensor([0 if int(u) < 7 else 1 for u in edge_index[0]]).argsort(stable=True)
    edge_index, edge_attr = edge_index[:, order], edge_attr[order]
    ends = [tuple(end) for end in edge_index.T.tolist()]
    weights = {"conv.weight": random(2, 3), "conv.bias": random(3)}
    classifier = _classifier_weights(random)
    x = torch.cat([graph.x for graph in graphs])
    outputs = {"conv.out": dense_conv(edge_attr, ends, weights["conv.weight"], weights["conv.bias"], 12).float()}
    found = hyperdrop_classifier(classifier, x, ends, edge_attr, owner, layers=3, ratio=0.6)
    outputs |= {
        f"hyperdrop_tu.{name}": value.float() if value.is_floating_point() else value for name, value in found.items()
    }
    weights |= {f"hyperdrop_tu.{name}": value for name, value in classifier.items()}
    inputs = {
        "graph.x": x, "graph.edge_index": edge_index, "graph.edge_attr": edge_attr, "graph.batch": torch.tensor(owner),
        "graph.y": torch.tensor([0, 1]), "once.edge_index": edge_index, "once.edge_attr": edge_attr,
        "once.batch": torch.tensor(owner), "once.num_nodes": torch.tensor([12]),
    }  # fmt: skip
    for name, tensors in (("weights", weights), ("inputs", inputs), ("outputs", outputs)):
        save_file({key: value.clone().contiguous() for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
    close = {"kind": "allclose", "rtol": 1e-4, "atol": 1e-5}  # float32 against float64
    manifest = {
        "format": 1,
        "system": "graphs/ehgnn",
        "config": {"hyperdrop_tu": SIZES | {"node_width": 5, "edge_width": 2, "classes": 2}},
        "stages": [
            {"name": "hypergraph_convolution", "outputs": ["conv.*"], "compare": close},
            {
                "name": "hyperdrop_tu",
                "outputs": ["hyperdrop_tu.l*.x", "hyperdrop_tu.l*.edge_attr", "hyperdrop_tu.l*.score",
                            "hyperdrop_tu.readout", "hyperdrop_tu.log_probs"],
                "compare": close,
            },
            {"name": "hyperdrop_tu_kept", "outputs": ["hyperdrop_tu.l*.perm"], "compare": {"kind": "exact"}},
        ],
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def _classifier_weights(random) -> dict[str, torch.Tensor]:
    weights = {}
    for layer, width in enumerate((5, 4, 4)):
        weights |= {f"convs.{layer}.lin.weight": random(4, width) * 0.5, f"convs.{layer}.bias": random(4) * 0.1}
    for layer, width in enumerate((2, 4)):
        weights |= {f"hyperconvs.{layer}.weight": random(width, 4), f"hyperconvs.{layer}.bias": random(4) * 0.1}
        weights |= {f"scoreconvs.{layer}.weight": random(4, 1), f"scoreconvs.{layer}.bias": random(1) * 0.1}
    for place, (wide, narrow) in {0: (12, 4), 3: (4, 2), 6: (2, 2)}.items():
        weights |= {f"classifier.{place}.weight": random(narrow, wide), f"classifier.{place}.bias": random(narrow)}
    return weights


def test_the_slow_formula_is_reproduced(small_golden: Path) -> None:
    verdict = verify(replay, small_golden)
    assert [stage.status for stage in verdict.stages] == ["passed"] * 3, verdict
    assert verdict.ok


@pytest.mark.parametrize("name", ["conv.out", "hyperdrop_tu.l1.x", "hyperdrop_tu.l0.perm"])
def test_an_altered_value_fails(small_golden: Path, name: str) -> None:
    path = small_golden / "outputs.safetensors"
    outputs = load_file(path)
    outputs[name].view(-1)[0] += 1
    save_file(outputs, path)
    assert not verify(replay, small_golden).ok


def test_a_stage_that_is_not_produced_fails(small_golden: Path) -> None:
    def forgetful(golden, fed=frozenset()):
        return (result for result in replay(golden, fed) if result.stage != "hyperdrop_tu_kept")

    assert not verify(forgetful, small_golden).ok


# ------------------------------------------------------------------------------------------------- key names


def _golden_weights(shared: Path, part: str) -> dict[str, torch.Tensor]:
    path = shared / "golden" / "ehgnn" / "weights.safetensors"
    if not path.is_file():
        pytest.skip("no golden folder of EHGNN")
    return {key.removeprefix(part + "."): value for key, value in load_file(path).items() if key.startswith(part + ".")}


@pytest.mark.parametrize(
    ("part", "layout"),
    [("hyperdrop_tu", "tu"), ("hyperdrop_ogb", "ogb"), ("hypercluster", "zinc"), ("hyperdrop_node", "node")],
)
def test_layouts_are_recognised_and_every_key_is_accounted_for(shared: Path, part: str, layout: str) -> None:
    state = _golden_weights(shared, part)
    assert layout_of(state.keys()) == layout
    converted = convert_state(state, layout)
    assert converted.report.total == len(state)
    assert len(converted.report.dropped) == (4 if layout == "node" else 0)  # score layers 0 and 2
    back = converted.keys.reverse(
        {
            f"{name}.{key}": value
            for name in ("encoder", "head", "decoder")
            for key, value in getattr(converted, name).items()
        }
    )
    for key, value in back.items():
        assert torch.equal(value, state[key])


def test_both_library_forms_of_gcn_and_hypergraph_weights_are_accepted(shared: Path) -> None:
    state = _golden_weights(shared, "hyperdrop_tu")
    older = {}
    for key, value in state.items():
        if key.startswith("convs.") and key.endswith("lin.weight"):
            older[key.replace("lin.weight", "weight")] = value.t().contiguous()
        elif key.startswith("hyperconvs.") and key.endswith("weight"):
            older[key.replace("weight", "lin.weight")] = value.t().contiguous()
        else:
            older[key] = value
    first, second = convert_state(state, "tu").encoder, convert_state(older, "tu").encoder
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_key_without_a_place_is_named() -> None:
    state = {
        "hyperconvs.0.weight": torch.zeros(2, 2),
        "classifier.0.bias": torch.zeros(2),
        "surprise.bias": torch.zeros(1),
    }
    with pytest.raises(CheckpointError, match=r"surprise\.bias"):
        convert_state(state, "tu")
