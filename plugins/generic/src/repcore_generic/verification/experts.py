"""Replay of golden experts data: routed blocks, low-rank blocks, pooler, and the three contrasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.layers.expert_blocks import Experts, Router, low_rank_experts
from repcore_generic.objectives.experts_loss import Pooler, pair_loss

Produced = dict[str, Any]  # tensor or number by stored name
POOLER_NAMES = {"layernorm.": "norm.", "w1.": "first.", "w2.": "second."}


class GatedBlock(nn.Module):
    """The published feed-forward block: Wo( gelu(u) * v ), [u | v] = Wi x."""

    def __init__(self, width: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.Wi, self.Wo = nn.Linear(width, 2 * inner, bias=bias), nn.Linear(inner, width, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        values, gates = self.Wi(tokens).chunk(2, -1)
        out: Tensor = self.Wo(F.gelu(values) * gates)
        return out


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    hidden, domain = golden.inputs["a.hidden"], golden.inputs["domain"]
    plain, router = _base(golden), Router()
    copies = Experts(plain, int(golden.config["experts"]), router)
    router.experts = domain
    start = {"reference.at_start.out": copies(hidden), "reference.at_start.plain": plain(hidden)}
    yield StageResult("at_start", start)
    experts = _experts(golden, router)
    pooler, _ = _pooler(golden)
    embeddings = {side: _embedding(golden, golden.inputs[f"{side}.hidden"], experts, pooler) for side in "ab"}
    yield StageResult(
        "reference_block",
        {
            "reference.block.a": experts(hidden),
            **{f"reference.embedding.{key}": one for key, one in embeddings.items()},
        },
    )
    for name in ("mnr", "mnr_plus", "contrast"):
        yield from _contrast(golden, name)
    router.experts = golden.inputs["domain_with_unknown"]
    yield StageResult("corrected_unknown", {"corrected.block.unknown": experts(hidden)})
    yield StageResult("low_rank", {"reference.low_rank.a": _low_rank(golden, domain)(hidden)})


def _base(golden: Golden) -> GatedBlock:
    config = golden.config
    block = GatedBlock(int(config["width"]), int(config["inner_width"]), bias=bool(config["bias"]))
    block.load_state_dict(_under(golden, "base."))
    return block


def _under(golden: Golden, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): golden.weights[key] for key in golden.weights if key.startswith(prefix)}


def _experts(golden: Golden, router: Router) -> Experts:
    experts = Experts(_base(golden), int(golden.config["experts"]), router)
    experts.load_state_dict(_under(golden, "block."))
    return experts


def _pooler(golden: Golden) -> tuple[Pooler, dict[str, nn.Parameter]]:
    pooler = Pooler(int(golden.config["width"]), float(golden.config["pooler"]["layer_norm_epsilon"]))
    stored = _under(golden, "pooler.")
    own = {}
    for name in stored:
        first = next(old for old in POOLER_NAMES if name.startswith(old))
        own[name] = POOLER_NAMES[first] + name.removeprefix(first)
    pooler.load_state_dict({own[name]: value for name, value in stored.items()})
    parameters = dict(pooler.named_parameters())
    return pooler, {f"pooler.{name}": parameters[own[name]] for name in stored}


def _embedding(golden: Golden, hidden: Tensor, experts: Experts, pooler: Pooler) -> Tensor:
    through = experts(hidden)
    values = hidden + through if golden.config["residual_around_block"] else through
    return pooler(values, golden.inputs["valid"])


def _contrast(golden: Golden, name: str) -> Iterator[StageResult]:
    """One loss from tokens to gradients, with weights of its own."""
    router = Router()
    router.experts = golden.inputs["domain"]
    experts = _experts(golden, router)
    pooler, pooled = _pooler(golden)
    scale = golden.inputs["log_scale"].clone().requires_grad_()
    leaves: dict[str, Tensor] = {
        f"{side}.hidden": golden.inputs[f"{side}.hidden"].clone().requires_grad_() for side in "ab"
    }
    one, two = (_embedding(golden, leaves[f"{side}.hidden"], experts, pooler) for side in "ab")
    found = pair_loss(one, two, name, scale)  # type: ignore[arg-type]
    prefix = f"{'corrected' if name == 'contrast' else 'reference'}.{name}"
    leaves |= {**pooled, **{f"block.{key}": part for key, part in experts.named_parameters()}, "log_scale": scale}
    gradients = _gradients(golden, found.loss, leaves, prefix)
    stage = prefix.replace(".", "_")
    yield StageResult(stage, {f"{prefix}.loss": found.loss, f"{prefix}.logits": found.logits})
    yield StageResult(f"{stage}_gradients", gradients)
    if name == "mnr_plus":
        told = {"row_targets": found.row_targets, "column_targets": found.column_targets}
        yield StageResult("reference_targets", {f"{prefix}.{key}": value for key, value in told.items()})


def _gradients(golden: Golden, loss: Tensor, leaves: Mapping[str, Tensor], prefix: str) -> Produced:
    """Those that the folder holds; an expert without an item has one of zeros."""
    wanted = {name: one for name, one in leaves.items() if f"{prefix}.grad.{name}" in golden.outputs}
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return {
        f"{prefix}.grad.{name}": torch.zeros_like(wanted[name]) if one is None else one
        for name, one in zip(wanted, found, strict=True)
    }


def _low_rank(golden: Golden, domain: Tensor) -> nn.Module:
    facts, router = golden.config["low_rank"], Router()
    router.experts = domain
    experts = low_rank_experts(
        _base(golden), int(golden.config["experts"]), int(facts["rank"]), float(facts["alpha"]), router
    )
    residual = {}
    for key, value in _under(golden, "low_rank.").items():
        number, layer, part = key.split(".")
        residual[f"experts.{number}.{layer}.{'down' if part == 'A' else 'up'}"] = value
    experts.load_state_dict({**experts.state_dict(), **residual})
    return experts
