"""Replay of golden SHERL data: token blocks of two forms, the pooled block, and a token of zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.layers.side_blocks import Form, PooledSide, Redundancy, TokenSide

Produced = dict[str, Any]  # tensor or number by stored name
KINDS: Mapping[str, Redundancy] = {"self_term_computed": "reference", "self_term_one": "exact"}
TOKEN_NAMES = {
    "fc_out.1.": "output.1.", "fc_out.2.": "output.2.", "fc_out.": "output.1.", "gate_params": "theta",
    "guide_block.fc_attn.": "score.", "hor_block.": "projections.",
}  # fmt: skip
INSIDE = {".fc1.": ".input.", ".fc2.": ".value.", ".fc3.": ".gate.", ".fc.": "."}
POOLED_NAMES = {
    "fc_out.": "output.1.", "guide_block.gate_parameters": "gates", "guide_block.layer_attn.": "score.",
    "guide_block.spatial_attn.": "attention.", "hor_block_last.fc.": "guide.1.", "hor_block.": "projections.",
}  # fmt: skip


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for form in golden.config["forms"]:
        for variant, facts in golden.config["variants"].items():
            yield from _tokens(golden, form, variant, KINDS[facts["redundancy"]])
    yield from _pooled(golden)
    for variant, facts in golden.config["variants"].items():
        yield _zero_token(golden, variant, KINDS[facts["redundancy"]])


def _own_name(name: str, names: Mapping[str, str], inside: Mapping[str, str]) -> str:
    """Our name of a published parameter; the first prefix that fits counts."""
    for old, new in names.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for old, new in inside.items():
        name = name.replace(old, new)
    return name


def _loaded(golden: Golden, module: nn.Module, form: str, names: Mapping[str, str], inside: Mapping[str, str]) -> dict[
    str, nn.Parameter
]:  # fmt: skip
    """The module's parameters by published name, with the stored weights."""
    stored = {key.removeprefix(f"{form}."): golden.weights[key] for key in golden.weights if key.startswith(f"{form}.")}
    own = {name: _own_name(name, names, inside) for name in stored}
    module.load_state_dict({own[name]: value for name, value in stored.items()})
    parameters = dict(module.named_parameters())
    return {name: parameters[own[name]] for name in stored}


def _side(golden: Golden, form: Form, kind: Redundancy) -> tuple[TokenSide, dict[str, nn.Parameter]]:
    config = golden.config
    side = TokenSide(
        int(config["width"]), int(config["layers"]), form=form,
        reduction=int(config["width"]) / int(config["hidden"]), redundancy=kind,
    ).eval()  # fmt: skip
    side.epsilon = float(config["forms"][form]["norm_epsilon"])
    return side, _loaded(golden, side, form, TOKEN_NAMES, INSIDE)


def _tokens(golden: Golden, form: Form, variant: str, kind: Redundancy) -> Iterator[StageResult]:
    values: Produced = {}
    gradients: Produced = {}
    for number, theta in enumerate(golden.config["theta"]):
        side, parameters = _side(golden, form, kind)
        with torch.no_grad():
            side.theta.fill_(float(theta))
        count = int(golden.config["layers"])
        leaves = {f"layer{one}": golden.inputs[f"tokens.layer{one}"].clone().requires_grad_() for one in range(count)}
        leaves["last"] = golden.inputs["tokens.last"].clone().requires_grad_()
        out, found = side([leaves[f"layer{one}"] for one in range(count)], leaves["last"])
        loss = (out * golden.inputs["tokens.probe"]).sum()
        prefix = f"{variant}.{form}.theta{number}"
        values |= {
            f"{prefix}.redundancy": found.redundancy, f"{prefix}.weights": found.weights, f"{prefix}.out": out,
            f"{prefix}.loss": loss,
        }  # fmt: skip
        gradients |= _gradients(golden, loss, {**leaves, **parameters}, prefix)
    yield StageResult(f"{variant}_{form}", values)
    yield StageResult(f"{variant}_{form}_gradients", gradients)


def _gradients(golden: Golden, loss: Tensor, leaves: Mapping[str, Tensor], prefix: str) -> Produced:
    """Those that the folder holds."""
    wanted = {name: one for name, one in leaves.items() if f"{prefix}.grad.{name}" in golden.outputs}
    found = torch.autograd.grad(loss, list(wanted.values()))
    return {f"{prefix}.grad.{name}": one for name, one in zip(wanted, found, strict=True)}


def _pooled(golden: Golden) -> Iterator[StageResult]:
    facts, count = golden.config["pooled"], int(golden.config["pooled"]["layers"])
    side = PooledSide(
        int(golden.config["width"]), count, int(facts["embedding_width"]),
        reduction=int(golden.config["width"]) / int(golden.config["hidden"]), gated=bool(facts["token_gates"]),
        redundancy="reference",
    )  # fmt: skip
    side.epsilon = float(facts["norm_epsilon"])
    inside = {f".{number}.fc.": f".{number}.1." for number in range(count)}
    parameters = _loaded(golden, side, "pooled", POOLED_NAMES, inside)
    leaves = {f"layer{one}": golden.inputs[f"pooled.layer{one}"].clone().requires_grad_() for one in range(count)}
    leaves["last"] = golden.inputs["pooled.last"].clone().requires_grad_()
    out, found = side(
        [leaves[f"layer{one}"] for one in range(count)], leaves["last"][:, 0],
        golden.inputs["pooled.mask"], golden.inputs["pooled.position"],
    )  # fmt: skip
    loss = (out * golden.inputs["pooled.probe"]).sum()
    prefix = "reference.pooled"
    values = {f"{prefix}.out": out, f"{prefix}.loss": loss, f"{prefix}.redundancy": found.redundancy}
    yield StageResult("reference_pooled", values)
    yield StageResult("reference_pooled_gradients", _gradients(golden, loss, {**leaves, **parameters}, prefix))


def _zero_token(golden: Golden, variant: str, kind: Redundancy) -> StageResult:
    """Biases of 0, and a first token of zeros in every layer."""
    side, parameters = _side(golden, "gated", kind)
    with torch.no_grad():
        for name, one in parameters.items():
            if name.endswith("bias"):
                one.zero_()
    count = int(golden.config["layers"])
    leaves: dict[str, Tensor] = {}
    for number in range(count):
        layer = golden.inputs[f"tokens.layer{number}"].clone()
        layer[0, 0] = 0.0
        leaves[f"layer{number}"] = layer.requires_grad_()
    out, _ = side([leaves[f"layer{number}"] for number in range(count)], golden.inputs["tokens.last"])
    prefix = f"{variant}.zero_token"
    if variant == "reference":
        return StageResult("zero_token_reference", {f"{prefix}.finite": out.isfinite().all(-1)})
    loss = (out * golden.inputs["tokens.probe"]).sum()
    return StageResult(
        "zero_token_corrected", {f"{prefix}.out": out, **_gradients(golden, loss, {**leaves, **parameters}, prefix)}
    )
