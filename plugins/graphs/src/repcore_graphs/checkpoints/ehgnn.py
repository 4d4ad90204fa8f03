"""Key maps from weights of the published code to ours, and what their shapes say about the configuration.

Layouts (public repository harryjo97/EHGNN): ``tu`` graph classifier, ``ogb`` molecule classifier, ``node`` node
classifier, ``zinc`` edge autoencoder. GCN weights come as ``convs.i.weight`` (in, out) of torch-geometric 1.6, or
``convs.i.lin.weight`` (out, in) of later ones; hypergraph convolutions as ``weight`` (in, out), or ``lin.weight``
(out, in) if trained with a later library.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename, Rule
from repcore.errors import CheckpointError

PARTS = ("encoder", "head", "decoder")
LAYOUTS = ("tu", "ogb", "node", "zinc")
UNUSED_SCORE = "score layer of a depth where the published node classifier never scores"


@dataclass(frozen=True, slots=True)
class Converted:
    """Weights under our names, by part; a part that a layout lacks is empty."""

    encoder: Mapping[str, Tensor]
    head: Mapping[str, Tensor]
    decoder: Mapping[str, Tensor]
    report: LoadReport
    keys: KeyMap


def layout_of(keys: Collection[str]) -> str:
    """``"tu"``, ``"ogb"``, ``"node"``, ``"zinc"``, or ``""`` for none of them."""
    if "pool.S" in keys:
        return "zinc"
    if not any(key.startswith("hyperconvs.") for key in keys):
        return ""
    if any(key.startswith("atom_encoder.") for key in keys):
        return "ogb"
    return "tu" if any(key.startswith("classifier.") for key in keys) else "node"


def sniff_graph(keys: frozenset[str]) -> float:
    """Graph classifiers, TU or OGB."""
    return 1.0 if layout_of(keys) in ("tu", "ogb") else 0.0


def sniff_nodes(keys: frozenset[str]) -> float:
    """Node classifiers."""
    return 0.9 if layout_of(keys) == "node" else 0.0


def sniff_clusters(keys: frozenset[str]) -> float:
    """Edge autoencoders."""
    return 1.0 if layout_of(keys) == "zinc" else 0.0


def _matrix(old: str, new: str, *, later_form: bool) -> tuple[Rule, Rule]:
    """A hypergraph convolution: our weight is (in, out), as in the published code."""
    weight = (
        Rename(f"{old}.lin.weight", f"{new}.weight", transpose=True)
        if later_form
        else Rename(f"{old}.weight", f"{new}.weight")
    )
    return weight, Rename(f"{old}.bias", f"{new}.bias")


def key_map(layout: str, keys: Collection[str], *, drop_every: int = 4) -> KeyMap:
    """Rules of one layout in the library form that these keys have.

    Args:
        layout: see :func:`layout_of`.
        keys: published names in the file.
        drop_every: node layout: score layers l with l mod drop_every != 1 are unused and dropped.

    Raises:
        CheckpointError: unknown layout.
    """
    if layout not in LAYOUTS:
        raise CheckpointError(f"{layout!r} is not a layout of EHGNN weights", expected=", ".join(LAYOUTS))

    def later(prefix: str) -> bool:
        return any(re.fullmatch(prefix + r"\.lin\.weight", key) for key in keys)

    if layout == "zinc":
        return KeyMap(_cluster_rules(later))
    rules: list[Rule] = []
    if layout == "node":
        depths = {int(match[1]) for key in keys if (match := re.match(r"scoreconvs\.(\d+)\.", key))}
        unused = sorted(depth for depth in depths if depth % drop_every != 1)
        rules += [Drop(f"scoreconvs.{depth}.{{rest*}}", UNUSED_SCORE) for depth in unused]
    rules += _matrix("hyperconvs.{i}", "encoder.edge_convs.{i}", later_form=later(r"hyperconvs\.\d+"))
    rules += _matrix("scoreconvs.{i}", "encoder.drops.{i}.score_conv", later_form=later(r"scoreconvs\.\d+"))
    if layout == "ogb":
        rules += [
            Rename("atom_encoder.atom_embedding_list.{i}.weight", "encoder.inputs.atom.columns.{i}.weight"),
            Rename("bond_encoder.bond_embedding_list.{i}.weight", "encoder.inputs.bond.columns.{i}.weight"),
            Rename("convs.{i}.root_emb.weight", "encoder.node_convs.{i}.root.weight"),
            Rename("convs.{i}.linear_node.{part}", "encoder.node_convs.{i}.linear_node.{part}"),
            Rename("convs.{i}.linear_edge.{part}", "encoder.node_convs.{i}.linear_edge.{part}"),
        ]
    else:
        old = "convs.{i}.lin.weight" if later(r"convs\.\d+") else "convs.{i}.weight"
        rules += [
            Rename(old, "encoder.node_convs.{i}.conv.lin.weight", transpose=old == "convs.{i}.weight"),
            Rename("convs.{i}.bias", "encoder.node_convs.{i}.conv.bias"),
        ]
    if layout in ("tu", "ogb"):
        rules.append(Rename("classifier.{i}.{part}", "head.layers.{i}.{part}"))
    return KeyMap(tuple(rules))


def _cluster_rules(later: object) -> tuple[Rule, ...]:
    """The edge autoencoder; ``later(prefix)`` tells the library form."""
    assert callable(later)
    rules: list[Rule] = []
    for old, pattern, new in (
        ("convs.{i}", r"convs\.\d+", "encoder.edge_convs.{i}"),
        ("unconvs.{i}", r"unconvs\.\d+", "decoder.convs.{i}"),
        ("last", "last", "decoder.last"),
        ("pool.mab.fc_k", r"pool\.mab\.fc_k", "encoder.key"),
        ("pool.mab.fc_v", r"pool\.mab\.fc_v", "encoder.value"),
    ):
        rules += _matrix(old, new, later_form=bool(later(pattern)))
    rules += [
        Rename("pool.S", "encoder.cluster.seeds"),
        Rename("pool.mab.fc_q.{part}", "encoder.cluster.query.{part}"),
        Rename("pool.mab.fc_o.{part}", "encoder.cluster.output.{part}"),
        Rename("pool.mab.ln0.{part}", "encoder.cluster.norms.0.{part}"),
        Rename("pool.mab.ln1.{part}", "encoder.cluster.norms.1.{part}"),
    ]
    return tuple(rules)


def convert_state(
    state: Mapping[str, Tensor], layout: str, *, source: str = "weights", drop_every: int = 4
) -> Converted:
    """Weights of one layout under our names.

    Raises:
        CheckpointError: unknown layout, or keys that no rule covers.
    """
    keys = key_map(layout, state.keys(), drop_every=drop_every)
    ours, report = keys.apply(state, source=source, target=f"graphs/ehgnn ({layout})")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in ours.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return Converted(parts["encoder"], parts["head"], parts["decoder"], report, keys)


def sizes(converted: Converted, layout: str) -> dict[str, int | tuple[int, ...]]:
    """What shapes tell about the configuration.

    Raises:
        CheckpointError: a layer that every model of the layout has is not there.
    """
    state = converted.encoder
    try:
        if layout == "zinc":
            first, seeds = state["edge_convs.0.weight"], state["cluster.seeds"]
            return {
                "edge_width": first.shape[0],
                "hidden_width": first.shape[1],
                "layers": _count(state, r"edge_convs\.(\d+)\.weight"),
                "seeds": seeds.shape[1],
            }
        found: dict[str, int | tuple[int, ...]] = {"edge_hidden_width": state["edge_convs.0.weight"].shape[1]}
        if layout == "ogb":
            found["hidden_width"] = state["node_convs.0.linear_node.weight"].shape[0]
            found["layers"] = _count(state, r"node_convs\.(\d+)\.linear_node\.weight")
            for kind, name in (("atom", "node_vocabularies"), ("bond", "edge_vocabularies")):
                columns = _count(state, rf"inputs\.{kind}\.columns\.(\d+)\.weight")
                found[name] = tuple(state[f"inputs.{kind}.columns.{place}.weight"].shape[0] for place in range(columns))
            return found
        first = state["node_convs.0.conv.lin.weight"]
        found |= {"node_width": first.shape[1], "hidden_width": first.shape[0]}
        found["layers"] = _count(state, r"node_convs\.(\d+)\.conv\.lin\.weight")
        if layout == "tu":
            found["edge_width"] = state["edge_convs.0.weight"].shape[0]
        else:
            layers = found["layers"]
            found["output_width"] = state[f"node_convs.{int(layers) - 1}.conv.bias"].shape[0]  # type: ignore[arg-type]
        return found
    except KeyError as error:
        raise CheckpointError(f"weights in the {layout!r} layout lack {error.args[0]}") from error


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.fullmatch(pattern, key))})
