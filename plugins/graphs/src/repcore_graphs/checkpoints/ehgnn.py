"""Key maps from weights of the published code to ours. Every key is loaded, renamed or dropped by a rule written here.

Layouts (public repository harryjo97/EHGNN): ``tu`` graph classifier, ``ogb`` molecule classifier, ``node`` node classifier, ``zinc``
edge autoencoder. GCN weights come as ``convs.i.weight`` (in, out) of torch-geometric 1.6, or ``convs.i.lin.weight`` (out, in) of
later ones; hypergraph convolutions as ``weight`` (in, out), or ``lin.weight`` (out, in) if trained with a later library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from repcore.errors import CheckpointError


@dataclass(slots=True)
class Converted:
    """Weights under our names.

    Args:
        encoder / head / decoder: state dicts of the three parts; empty where a layout has none.
        renamed: old name -> new name with its part in front.
        dropped: old name -> reason.
    """

    encoder: dict[str, Tensor] = field(default_factory=dict)
    head: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


Rule = tuple[str, Callable[["re.Match[str]"], str], bool]
"""Pattern of the old name, new name with its part ("encoder.", "head.", "decoder.") in front, whether to transpose."""

_HYPER = "weight|bias"


def _to(template: str) -> Callable[[re.Match[str]], str]:
    return lambda match: match.expand(template)


_DUAL: tuple[Rule, ...] = (
    (rf"hyperconvs\.(\d+)\.({_HYPER})", _to(r"encoder.edge_convs.\1.\2"), False),
    (r"hyperconvs\.(\d+)\.lin\.weight", _to(r"encoder.edge_convs.\1.weight"), True),
    (rf"scoreconvs\.(\d+)\.({_HYPER})", _to(r"encoder.drops.\1.score_conv.\2"), False),
    (r"scoreconvs\.(\d+)\.lin\.weight", _to(r"encoder.drops.\1.score_conv.weight"), True),
)
_GCN: tuple[Rule, ...] = (
    (r"convs\.(\d+)\.(lin\.weight|bias)", _to(r"encoder.node_convs.\1.conv.\2"), False),
    (r"convs\.(\d+)\.weight", _to(r"encoder.node_convs.\1.conv.lin.weight"), True),
)
_CLASSIFIER: tuple[Rule, ...] = ((rf"classifier\.([036])\.({_HYPER})", _to(r"head.layers.\1.\2"), False),)
_CLUSTER: tuple[Rule, ...] = (
    (rf"convs\.(\d+)\.({_HYPER})", _to(r"encoder.edge_convs.\1.\2"), False),
    (r"convs\.(\d+)\.lin\.weight", _to(r"encoder.edge_convs.\1.weight"), True),
    (rf"unconvs\.(\d+)\.({_HYPER})", _to(r"decoder.convs.\1.\2"), False),
    (r"unconvs\.(\d+)\.lin\.weight", _to(r"decoder.convs.\1.weight"), True),
    (rf"last\.({_HYPER})", _to(r"decoder.last.\1"), False),
    (r"last\.lin\.weight", _to(r"decoder.last.weight"), True),
    (r"pool\.S", _to(r"encoder.cluster.seeds"), False),
    (rf"pool\.mab\.fc_q\.({_HYPER})", _to(r"encoder.cluster.query.\1"), False),
    (rf"pool\.mab\.fc_o\.({_HYPER})", _to(r"encoder.cluster.output.\1"), False),
    (rf"pool\.mab\.fc_k\.({_HYPER})", _to(r"encoder.key.\1"), False),
    (r"pool\.mab\.fc_k\.lin\.weight", _to(r"encoder.key.weight"), True),
    (rf"pool\.mab\.fc_v\.({_HYPER})", _to(r"encoder.value.\1"), False),
    (r"pool\.mab\.fc_v\.lin\.weight", _to(r"encoder.value.weight"), True),
    (rf"pool\.mab\.ln([01])\.({_HYPER})", _to(r"encoder.cluster.norms.\1.\2"), False),
)
_OGB: tuple[Rule, ...] = (
    (r"atom_encoder\.atom_embedding_list\.(\d+)\.weight", _to(r"encoder.inputs.atom.columns.\1.weight"), False),
    (r"bond_encoder\.bond_embedding_list\.(\d+)\.weight", _to(r"encoder.inputs.bond.columns.\1.weight"), False),
    (rf"convs\.(\d+)\.(linear_node|linear_edge)\.({_HYPER})", _to(r"encoder.node_convs.\1.\2.\3"), False),
    (r"convs\.(\d+)\.root_emb\.weight", _to(r"encoder.node_convs.\1.root.weight"), False),
)
RULES: Mapping[str, tuple[Rule, ...]] = {
    "tu": (*_DUAL, *_GCN, *_CLASSIFIER),
    "ogb": (*_DUAL, *_OGB, *_CLASSIFIER),
    "node": (*_DUAL, *_GCN),
    "zinc": _CLUSTER,
}
UNUSED_SCORE = "a score layer of a depth where the published node classifier never scores"


def layout_of(keys: frozenset[str]) -> str:
    """``"tu"``, ``"ogb"``, ``"node"``, ``"zinc"``, or ``""`` for none of them."""
    if "pool.S" in keys:
        return "zinc"
    if not any(key.startswith("hyperconvs.") for key in keys):
        return ""
    if any(key.startswith("atom_encoder.") for key in keys):
        return "ogb"
    return "tu" if any(key.startswith("classifier.") for key in keys) else "node"


def convert_state(state: Mapping[str, Tensor], layout: str, *, drop_every: int = 4) -> Converted:
    """Weights of one layout under our names.

    Args:
        state: published name -> tensor.
        layout: see :func:`layout_of`.
        drop_every: node layout: score layers l with l mod drop_every != 1 are unused and are dropped.

    Raises:
        CheckpointError: unknown layout, or keys that no rule covers.
    """
    if layout not in RULES:
        raise CheckpointError(f"layout {layout!r} is not known", expected=", ".join(RULES))
    result = Converted()
    unknown = []
    for key, tensor in state.items():
        name, turned = _renamed(key, layout)
        if name is None:
            unknown.append(key)
            continue
        depth = re.fullmatch(r"encoder\.drops\.(\d+)\..*", name)
        if layout == "node" and depth and int(depth[1]) % drop_every != 1:
            result.dropped[key] = UNUSED_SCORE
            continue
        part, _, rest = name.partition(".")
        getattr(result, part)[rest] = (tensor.t() if turned else tensor).detach().clone().contiguous()
        result.renamed[key] = name
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} of {len(state)} keys have no place in the {layout!r} layout of EHGNN",
            keys=", ".join(sorted(unknown)[:8]),
        )
    return result


def published_names(layout: str, converted: Converted) -> dict[str, tuple[str, bool]]:
    """Our name with its part -> (published name, whether transposed): for comparing gradients."""
    return {new: (old, _renamed(old, layout)[1]) for old, new in converted.renamed.items()}


def _renamed(key: str, layout: str) -> tuple[str | None, bool]:
    for pattern, target, turned in RULES[layout]:
        match = re.fullmatch(pattern, key)
        if match:
            return target(match), turned
    return None, False
