"""``repcore import``: weights trained with the published code to a model folder of ours.

None were ever published, so these are files that users trained themselves. What shapes cannot tell is asked for as an
option: ``edge_ratio`` (share of edges that HyperDrop keeps), and for weights on a TUDataset its folder
(``vocabulary``), from which the order of one-hot labels is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.errors import CheckpointError
from repcore.specs import TargetSpec
from repcore_graphs.checkpoints.ehgnn import Converted, convert_state, layout_of, sizes
from repcore_graphs.configs.data import GraphPreprocessorConfig, TUDatasetConfig
from repcore_graphs.configs.ehgnn import (
    published_graph,
    published_hypercluster,
    published_molecules,
    published_nodes,
)
from repcore_graphs.configs.tasks import GraphTaskConfig, NodeTaskConfig
from repcore_graphs.datasets.tu import TUDataset
from repcore_graphs.preprocessors.features import FeatureEncoding
from repcore_graphs.preprocessors.graph import GraphPreprocessor

PREPROCESSOR = "graphs/graph"
NOTICE = (
    "Weights trained with the public code harryjo97/EHGNN, which has no licence file; ask its authors before sharing."
)
Options = Mapping[str, str]


def convert_graph(state: Mapping[str, Tensor], source: Path, options: Options) -> Imported:
    """A graph or molecule classifier; its classifier becomes the model's task.

    One class of several in the TU layout (cross-entropy), a yes/no label an output in OGB's (binary cross-entropy), as
    the two training scripts have it.
    """
    layout = layout_of(frozenset(state))
    converted = convert_state(state, layout, source=source.name)
    found: dict[str, Any] = dict(sizes(converted, layout))
    ratio = _ratio(options)
    if layout == "ogb":
        config = published_molecules(edge_ratio=ratio, **found)
        preprocessor_config = GraphPreprocessorConfig(labels="codes")
        preprocessor = _fixed(
            preprocessor_config,
            nodes=_codes(found["node_vocabularies"]),
            edges=_codes(found["edge_vocabularies"]),
        )
    else:
        preprocessor_config = GraphPreprocessorConfig(standardise=False, duplicate_edges="keep")
        preprocessor = _fitted(preprocessor_config, options)
        facts = preprocessor.facts()
        if facts["edge_width"] == 0 and found["edge_width"] == 1:
            found["edge_width"] = 0  # the published column of ones
        _agree(found, facts, source)
        config = published_graph(edge_ratio=ratio, **found)
    task = _graph_task(converted.head, layout)
    return _imported(config, converted, preprocessor, preprocessor_config, task)


def _graph_task(head: Mapping[str, Tensor], layout: str) -> ImportedTask | None:
    first, last = head.get("layers.0.weight"), head.get("layers.6.weight")
    if first is None or last is None:
        return None
    name, target = ("graph-class", TargetSpec("class", "class"))
    if layout == "ogb":
        name, target = ("graph-multilabel", TargetSpec("labels", "multilabel"))
    config = GraphTaskConfig(hidden_width=len(first), outputs=len(last))
    state = {f"classifier.{key}": value for key, value in head.items()}
    return ImportedTask(name=name, config=config, target=target, outputs=len(last), state=state)


def convert_nodes(state: Mapping[str, Tensor], source: Path, options: Options) -> Imported:
    """A node classifier; its last convolution gives the classes."""
    converted = convert_state(state, "node", source=source.name)
    found: dict[str, Any] = dict(sizes(converted, "node"))
    config = published_nodes(edge_ratio=_ratio(options), **found)
    preprocessor_config = GraphPreprocessorConfig(standardise=False)
    width = int(found["node_width"])
    nodes = FeatureEncoding(mean=(0.0,) * width, scale=(1.0,) * width)
    preprocessor = _fixed(preprocessor_config, nodes=nodes, edges=FeatureEncoding())
    classes = int(found["output_width"])
    task = ImportedTask(
        name="node-class",
        config=NodeTaskConfig(head="none", outputs=classes),
        target=TargetSpec("class", "class", "node"),
        outputs=classes,
        state={},
    )
    return _imported(config, converted, preprocessor, preprocessor_config, task if classes > 1 else None)


def convert_clusters(state: Mapping[str, Tensor], source: Path, options: Options) -> Imported:
    """An edge autoencoder; its decoder goes along as the state of the objective's decoder."""
    converted = convert_state(state, "zinc", source=source.name)
    found: dict[str, Any] = dict(sizes(converted, "zinc"))
    layer_norm = any(key.startswith("cluster.norms.") for key in converted.encoder)
    if "vocabulary" in options:
        preprocessor_config = GraphPreprocessorConfig(standardise=False, duplicate_edges="keep")
        preprocessor = _fitted(preprocessor_config, options)
        _agree(found, preprocessor.facts(), source)
        node_width = preprocessor.facts()["node_width"]
    else:
        # ZINC: bond types are numbers from 0, one-hot in the published code; its nodes are never looked at
        preprocessor_config = GraphPreprocessorConfig(standardise=False, missing_nodes="ones")
        edges = FeatureEncoding(vocabulary=(tuple(range(int(found["edge_width"]))),))
        preprocessor = _fixed(preprocessor_config, nodes=FeatureEncoding(), edges=edges)
        node_width = 1
    config = published_hypercluster(node_width=node_width, layer_norm=layer_norm, **found)
    return _imported(config, converted, preprocessor, preprocessor_config)


def _ratio(options: Options) -> float:
    try:
        return float(options["edge_ratio"])
    except KeyError:
        raise CheckpointError(
            "shapes do not tell which share of the edges HyperDrop keeps",
            meaning="edge_ratio of the training script; 0.65 for PROTEINS, 0.9 for MUTAG in the published ones",
            hint="--option edge_ratio=0.65",
        ) from None
    except ValueError:
        raise CheckpointError(f"edge_ratio={options['edge_ratio']!r} is not a number") from None


def _fitted(config: GraphPreprocessorConfig, options: Options) -> GraphPreprocessor:
    """Label order from the TUDataset that the weights were trained on."""
    if "vocabulary" not in options:
        raise CheckpointError(
            "the file does not say which label each one-hot column stands for",
            hint="--vocabulary FOLDER_OF_THE_TUDATASET",
        )
    reader = TUDataset(TUDatasetConfig(path=options["vocabulary"]))
    preprocessor = GraphPreprocessor(config)
    preprocessor.fit(reader, range(len(reader)))
    return preprocessor


def _fixed(config: GraphPreprocessorConfig, *, nodes: FeatureEncoding, edges: FeatureEncoding) -> GraphPreprocessor:
    preprocessor = GraphPreprocessor(config)
    preprocessor.nodes, preprocessor.edges = nodes, edges
    return preprocessor


def _codes(vocabularies: tuple[int, ...]) -> FeatureEncoding:
    return FeatureEncoding(vocabulary=tuple(tuple(range(size)) for size in vocabularies), codes=True)


def _agree(found: Mapping[str, Any], facts: Mapping[str, Any], source: Path) -> None:
    for name in ("node_width", "edge_width"):
        if name in found and found[name] != facts[name]:
            raise CheckpointError(
                f"{source.name} was trained with {name}={found[name]}; the data of --vocabulary gives {facts[name]}"
            )


def _imported(
    config: Any,  # one of the encoder configs
    converted: Converted,
    preprocessor: GraphPreprocessor,
    preprocessor_config: GraphPreprocessorConfig,
    task: ImportedTask | None = None,
) -> Imported:
    heads = {"task": converted.head, "objective": converted.decoder}
    renamed = converted.report.renamed
    renamed |= {
        old: f"task.classifier.{new.removeprefix('head.')}" for old, new in renamed.items() if new.startswith("head.")
    }
    return Imported(
        encoder_config=config,
        state=dict(converted.encoder),
        report=converted.report,
        preprocessor=preprocessor,
        preprocessor_name=PREPROCESSOR,
        preprocessor_config=preprocessor_config,
        heads={name: part for name, part in heads.items() if part},
        task=task,
        notices=NOTICE,
    )
