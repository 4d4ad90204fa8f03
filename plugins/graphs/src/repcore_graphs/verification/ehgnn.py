"""Replay of an EHGNN golden folder through the plugin's public classes and the published key maps.

Every size comes from the folder's ``config``; tensors go through the same ``encode``, heads and pooling that users
call. Published positions are ordered by graph and falling score, which is also the order of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data

from repcore.errors import DataError
from repcore.interfaces import StageResult
from repcore.specs import TargetSpec
from repcore.verification.golden import Golden
from repcore_graphs.checkpoints.ehgnn import Converted, convert_state
from repcore_graphs.configs.ehgnn import (
    published_graph,
    published_hypercluster,
    published_molecules,
    published_nodes,
)
from repcore_graphs.configs.tasks import GraphTaskConfig
from repcore_graphs.encoders.ehgnn import EHGNN, LayerTrace
from repcore_graphs.encoders.ehgnn_node import NodeEHGNN, NodeTrace
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.objectives.edge_reconstruction import EdgeDecoder
from repcore_graphs.ops.cluster_pooling import dense_assignment
from repcore_graphs.ops.dht import dht
from repcore_graphs.tasks.graph import GraphClassification, GraphMultilabel
from repcore_graphs.tensors import GraphTensors, from_pyg

Produced = dict[str, Tensor]


def replay(golden: Golden, fed: frozenset[str] = frozenset()) -> Iterator[StageResult]:
    """Recompute every stage of the folder.

    Args:
        golden: the folder.
        fed: stages to compute from stored upstream tensors; no stage of this system needs that.
    """
    due = {stage.name for stage in golden.stages}
    for result in _everything(golden):
        if result.stage in due:
            stored = set(golden.expected(result.stage))  # of some stages a folder stores a few gradients only
            yield StageResult(result.stage, {name: value for name, value in result.produced.items() if name in stored})


def _everything(golden: Golden) -> Iterator[StageResult]:
    """All stages whose configuration and weights are there."""
    config: Mapping[str, Any] = golden.config
    parts = _by_part(golden.weights)
    inputs: Mapping[str, Tensor] = golden.inputs
    yield StageResult("dual_hypergraph", _dual_hypergraph(inputs))
    if "conv" in parts:
        yield StageResult("hypergraph_convolution", _convolution(inputs, parts["conv"]))
    for part, run in _PARTS.items():
        if part in config and part in parts:
            yield from run(config[part], inputs, parts[part])


def _by_part(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in weights.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = tensor
    return parts


def _load(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Every tensor must find its place, and every place its tensor."""
    missing, unexpected = module.load_state_dict(dict(state), strict=False)
    if missing or unexpected:
        raise DataError(f"weights do not fit {what}", missing=", ".join(missing), unexpected=", ".join(unexpected))


def _gradients(loss: Tensor, parts: Mapping[str, nn.Module], converted: Converted) -> Produced:
    """Gradient of every parameter under its published name and layout; zero where none arrives."""
    for module in parts.values():
        module.zero_grad(set_to_none=True)
    loss.backward()
    found: Produced = {}
    for part, module in parts.items():
        for name, parameter in module.named_parameters():
            found[f"{part}.{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return converted.keys.reverse(found)


# ---------------------------------------------------------------------------------------------- transformation


def _dual_hypergraph(inputs: Mapping[str, Tensor]) -> Produced:
    batch, once_batch = inputs["graph.batch"], inputs["once.batch"]
    dual = dht(inputs["graph.edge_index"], batch.numel())
    once = dht(inputs["once.edge_index"], int(inputs["once.num_nodes"]))
    return {
        "dht.hyperedge_index": dual.incidence(),
        "dht.edge_batch": batch[dual.ends[0]],
        "dht_noloop.hyperedge_index": dual.incidence(private=False),
        "once_dht.hyperedge_index": once.incidence(),
        "once_dht.edge_batch": once_batch[once.ends[0]],
    }


def _structure(edge_index: Tensor, node_graph: Tensor, num_graphs: int) -> GraphTensors:
    data = Data(x=torch.zeros(node_graph.numel(), 1), edge_index=edge_index)
    data.batch = node_graph
    data.num_graphs = num_graphs
    return from_pyg(data, edges="as-stored")


def _convolution(inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Produced:
    conv = DualHypergraphConv(*weights["weight"].shape)
    _load(conv, weights, "one convolution")
    graph = _structure(inputs["graph.edge_index"], inputs["graph.batch"], _count(inputs["graph.batch"]))
    once = _structure(inputs["once.edge_index"], inputs["once.batch"], _count(inputs["once.batch"]))
    features = inputs["graph.edge_attr"]
    with torch.no_grad():
        return {
            "conv.out": conv(graph, features),
            "conv.out_once": conv(once, inputs["once.edge_attr"]),
            "conv.out_const": conv(graph, torch.ones_like(features)),
        }


def _count(batch: Tensor) -> int:
    return int(batch.max()) + 1


def _batch(x: Tensor, edge_attr: Tensor | None, inputs: Mapping[str, Tensor]) -> Data:
    data = Data(x=x, edge_index=inputs["graph.edge_index"], edge_attr=edge_attr)
    data.batch = inputs["graph.batch"]
    data.num_graphs = _count(inputs["graph.batch"])
    return data


# -------------------------------------------------------------------------------------------------- classifiers


def _encoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden_width": config["hidden_width"],
        "layers": config["layers"],
        "edge_ratio": config["edge_ratio"],
        "dropout": 0.0,
    }


def _embedded(encoder: EHGNN | HyperClusterEncoder, data: Data) -> GraphTensors:
    return encoder.embed_edges(encoder.embed_nodes(encoder.read(data)))


def _graph_classifier(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[StageResult]:
    encoder = EHGNN(
        published_graph(node_width=config["node_width"], edge_width=config["edge_width"], **_encoder_settings(config))
    )
    target = TargetSpec("y", "class", names=tuple(str(number) for number in range(config["classes"])))
    task = GraphClassification(GraphTaskConfig(dropout=config["dropout"]), encoder, target)
    converted = convert_state(weights, "tu")
    _load(encoder, converted.encoder, "the encoder")
    _load(task.classifier, converted.head, "the head")
    task.eval()
    trace: list[LayerTrace] = []
    data = _batch(inputs["graph.x"], inputs["graph.edge_attr"], inputs)
    features = encoder.encode(_embedded(encoder, data), trace)
    outputs = task.classifier(features)
    loss = task.loss(outputs, inputs["graph.y"])
    produced: Produced = {
        "readout": features.pooled,
        "log_probs": F.log_softmax(outputs, dim=-1),
        "nll_loss": loss,
    }
    produced |= {f"l{number}.x": step.nodes for number, step in enumerate(trace)}
    produced |= {f"l{n}.edge_attr": step.edges for n, step in enumerate(trace) if step.edges is not None}
    produced |= {f"l{n}.score": step.score for n, step in enumerate(trace) if step.score is not None}
    yield StageResult("hyperdrop_tu", _named("hyperdrop_tu.", produced))
    yield StageResult("hyperdrop_tu_kept", _named("hyperdrop_tu.", _kept(trace)))
    gradients = _gradients(loss, {"encoder": encoder, "head": task.classifier}, converted)
    yield StageResult("hyperdrop_tu_gradients", _named("hyperdrop_tu.grad.", gradients))


def _kept(trace: list[LayerTrace]) -> Produced:
    return {f"l{number}.perm": step.kept for number, step in enumerate(trace) if step.kept is not None}


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> Produced:
    return {prefix + name: tensor.detach() for name, tensor in tensors.items()}


def _no_edge_features(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[StageResult]:
    encoder = EHGNN(published_graph(node_width=config["node_width"], edge_width=0, **_encoder_settings(config)))
    _load(encoder, convert_state(weights, "tu").encoder, "the encoder")
    encoder.eval()
    trace: list[LayerTrace] = []
    with torch.no_grad():
        encoder.encode(_embedded(encoder, _batch(inputs["graph.x"], None, inputs)), trace)
    scores = {f"l{n}.score": step.score for n, step in enumerate(trace) if step.score is not None}
    yield StageResult("hyperdrop_tu_noattr", _named("hyperdrop_tu_noattr.", scores))


def _molecule_classifier(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[StageResult]:
    encoder = EHGNN(
        published_molecules(
            node_vocabularies=tuple(config["atom_vocabularies"]),
            edge_vocabularies=tuple(config["bond_vocabularies"]),
            **_encoder_settings(config),
        )
    )
    target = TargetSpec("y", "multilabel", names=tuple(str(number) for number in range(config["tasks"])))
    task = GraphMultilabel(GraphTaskConfig(dropout=config["dropout"]), encoder, target)
    converted = convert_state(weights, "ogb")
    _load(encoder, converted.encoder, "the encoder")
    _load(task.classifier, converted.head, "the head")
    task.eval()
    trace: list[LayerTrace] = []
    data = _batch(inputs["ogb.x"], inputs["ogb.edge_attr"], inputs)
    outputs = task.classifier(encoder.encode(_embedded(encoder, data), trace))
    loss = task.loss(outputs, inputs["ogb.y"])
    produced: Produced = {"logits": outputs, "bce_loss": loss}
    produced |= {f"l{n}.score": step.score for n, step in enumerate(trace) if step.score is not None}
    yield StageResult("hyperdrop_ogb", _named("hyperdrop_ogb.", produced))
    yield StageResult("hyperdrop_ogb_kept", _named("hyperdrop_ogb.", _kept(trace)))
    gradients = _gradients(loss, {"encoder": encoder, "head": task.classifier}, converted)
    yield StageResult("hyperdrop_ogb_gradients", _named("hyperdrop_ogb.grad.", gradients))


# --------------------------------------------------------------------------------------------------- clusters


def _autoencoder(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[StageResult]:
    classes = config["edge_classes"]
    encoder = HyperClusterEncoder(
        published_hypercluster(
            node_width=inputs["graph.x"].shape[1],
            edge_width=classes,
            average_edges=config["average_edges"],
            hidden_width=config["hidden_width"],
            layers=config["layers"],
            edge_ratio=config["edge_ratio"],
            heads=config["attention_heads"],
            layer_norm=config["layer_norm"],
            softmax_over="clusters" if config["softmax_over"] == "clusters" else "elements",
        )
    )
    decoder = EdgeDecoder(config["hidden_width"], classes, layers=config["layers"], self_term=False)
    converted = convert_state(weights, "zinc")
    _load(encoder, converted.encoder, "the encoder")
    _load(decoder, converted.decoder, "the decoder")
    yield StageResult("hypercluster_seeds", {"hypercluster.num_seeds": torch.tensor([encoder.num_seeds])})

    labels = inputs["zinc.edge_class"]
    data = _batch(inputs["graph.x"], F.one_hot(labels, classes).float(), inputs)
    trace: list[Tensor] = []
    features = encoder.encode(_embedded(encoder, data), trace)
    clusters, graph = features.extras["clusters"], features.extras["graph"]
    unpooled = clusters.unpool()
    logits = decoder(graph, unpooled)
    loss = F.cross_entropy(logits, labels)
    by_cluster = config["softmax_over"] == "clusters"
    attention = dense_assignment(
        clusters.assignment,
        clusters.owner,
        num_graphs=graph.num_graphs,
        longest=int(torch.bincount(graph.edge_graph).max()),
        padding=1 / encoder.num_seeds if by_cluster else 0.0,
    )
    produced: Produced = {f"enc{number}": edges for number, edges in enumerate(trace)}
    produced |= {"attn": attention, "pooled": clusters.values, "unpooled": unpooled}
    produced |= {"logits": logits, "ce_loss": loss}
    yield StageResult("hypercluster", _named("hypercluster.", produced))
    gradients = _gradients(loss, {"encoder": encoder, "decoder": decoder}, converted)
    yield StageResult("hypercluster_gradients", _named("hypercluster.grad.", gradients))


# ------------------------------------------------------------------------------------------------------ nodes


def _node_classifier(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[StageResult]:
    encoder = NodeEHGNN(
        published_nodes(
            node_width=config["node_width"],
            hidden_width=config["hidden_width"],
            edge_hidden_width=config["edge_hidden_width"],
            output_width=config["classes"],
            layers=config["layers"],
            edge_ratio=config["edge_ratio"],
            dropout=config["dropout"],
        )
    )
    _load(encoder, convert_state(weights, "node").encoder, "the encoder")
    encoder.eval()
    graph = from_pyg(Data(x=inputs["node.x"], edge_index=inputs["node.edge_index"]), edges="as-stored")
    trace: list[NodeTrace] = []

    def log_probabilities(run: Callable[[], Any]) -> Tensor:
        with torch.no_grad():
            return F.log_softmax(run().tokens["node"].values, dim=-1)

    produced = {
        "eval_log_probs": log_probabilities(lambda: encoder.encode(graph, drop_edges=False, trace=trace)),
        "train_log_probs": log_probabilities(lambda: encoder.encode(graph, drop_edges=True)),
        "score": trace[0].score,
    }
    yield StageResult("hyperdrop_node", _named("hyperdrop_node.", produced))
    yield StageResult("hyperdrop_node_kept", _named("hyperdrop_node.", {"perm": trace[0].kept}))


_PARTS: Mapping[
    str, Callable[[Mapping[str, Any], Mapping[str, Tensor], Mapping[str, Tensor]], Iterator[StageResult]]
] = {
    "hyperdrop_tu": _graph_classifier,
    "hyperdrop_tu_noattr": _no_edge_features,
    "hyperdrop_ogb": _molecule_classifier,
    "hypercluster": _autoencoder,
    "hyperdrop_node": _node_classifier,
}
