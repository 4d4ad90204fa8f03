"""Replay of the stages below the model: the selective scan alone, and one stand-alone block.

Symbols: as in the golden folder's README; scans there are (B, D, L), here (S, B, L, D).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.nn.selective_scan.selection import selective_scan_op
from repcore.verification.golden import Golden
from repcore_audio.checkpoints.ssamba import KEYS
from repcore_audio.configs.ssamba import SsambaConfig
from repcore_audio.encoders.mamba_block import MambaBlock, scaled_norm

Produced = dict[str, Any]


def scan_stages(golden: Golden) -> Iterator[StageResult]:
    """Forward, gradients, and both again with steps so large that decays underflow."""
    yield StageResult("scan", _scan(golden))
    yield StageResult("scan_gradients", _scan_gradients(golden, "delta", "scan.grad."))
    yield StageResult("scan_stiff", {"scan.stiff.out_z": _scan_outputs(golden, "stiff.delta")["out_z"]})
    yield StageResult("scan_stiff_gradients", _scan_gradients(golden, "stiff.delta", "scan.stiff.grad."))


def _scan_outputs(
    golden: Golden, delta: str, *, back: bool = False, leaves: Mapping[str, Tensor] | None = None
) -> Produced:
    """Gated and ungated output and last state, (B, D, L) and (B, D, N)."""
    given = leaves or {name: golden.inputs[f"scan.{name}"] for name in ("u", "A", "B", "C", "D", "z", "delta_bias")}
    step = given["delta"] if "delta" in given else golden.inputs[f"scan.{delta}"]
    rows = [one.transpose(1, 2)[None] for one in (given["u"], step, given["B"], given["C"])]
    out, last = selective_scan_op()(
        rows[0], rows[1], given["A"][None], rows[2], rows[3], given["D"][None],
        delta_bias=given["delta_bias"][None], reverse=(back,), return_last_state=True,
    )  # fmt: skip
    plain = out[0].transpose(1, 2)
    return {"out_z": plain * F.silu(given["z"]), "out_no_z": plain, "last_state": last[0]}


def _scan(golden: Golden) -> Produced:
    forward = _scan_outputs(golden, "delta")
    produced = {f"scan.{name}": value for name, value in forward.items()}
    produced["scan.reverse.out_z"] = _scan_outputs(golden, "delta", back=True)["out_z"]
    return produced


def _scan_gradients(golden: Golden, delta: str, prefix: str) -> Produced:
    names = ("u", "A", "B", "C", "D", "z", "delta_bias")
    leaves = {name: golden.inputs[f"scan.{name}"].clone().requires_grad_() for name in names}
    leaves["delta"] = golden.inputs[f"scan.{delta}"].clone().requires_grad_()
    out = _scan_outputs(golden, delta, leaves=leaves)["out_z"]
    found = torch.autograd.grad((out * golden.inputs["scan.grad_out"]).sum(), list(leaves.values()))
    return {prefix + name: value for name, value in zip(leaves, found, strict=True)}


def _block_config(golden: Golden) -> SsambaConfig:
    facts = golden.config["block"]
    return SsambaConfig(
        width=facts["width"], depth=1, states=facts["states"], expansion=facts["expansion"],
        convolution_width=facts["convolution_width"], step_rank=facts["step_rank"],
        direction_scale=facts["direction_scale"], norm_epsilon=facts["norm_epsilon"],
    )  # fmt: skip


def _block(golden: Golden, config: SsambaConfig) -> MambaBlock:
    """A stand-alone block with the stored weights, which carry the names of a layer."""
    stored = {name.removeprefix("block."): golden.weights[name] for name in golden.weights if name.startswith("block.")}
    if config.normalisation == "rms":
        stored.pop("norm.bias")
    ours, _ = KEYS.apply(
        {f"v.layers.0.{name}": value for name, value in stored.items()}, source="block", target="block"
    )
    block = MambaBlock(config)
    block.load_state_dict({name.removeprefix("encoder.blocks.0."): value for name, value in ours.items()})
    return block


def _block_names(golden: Golden) -> dict[str, str]:
    """Our parameter name -> published name inside a block."""
    stored = [name.removeprefix("block.") for name in golden.weights if name.startswith("block.")]
    _, report = KEYS.apply({f"v.layers.0.{name}": torch.zeros(()) for name in stored}, source="block", target="block")
    return {
        new.removeprefix("encoder.blocks.0."): old.removeprefix("v.layers.0.") for old, new in report.renamed.items()
    }


def block_stages(golden: Golden) -> Iterator[StageResult]:
    """One block: outputs, inner tensors of both directions, variants, gradients."""
    config, inputs = _block_config(golden), golden.inputs
    block = _block(golden, config)
    hidden = inputs["block.hidden_states"].clone().requires_grad_()
    residual = inputs["block.residual"].clone().requires_grad_()
    entering = residual + hidden
    out = block(entering)
    yield StageResult("block", {"block.out_hidden": out, "block.out_residual": entering})
    loss = (out * inputs["block.grad_hidden"]).sum() + (entering * inputs["block.grad_residual"]).sum()
    loss.backward()
    gradients = {"block.grad.hidden_states": hidden.grad, "block.grad.residual": residual.grad}
    published = _block_names(golden)
    gradients |= {f"block.grad.{published[name]}": value.grad for name, value in block.named_parameters()}
    with torch.no_grad():
        yield StageResult("block_directions", _directions(block, entering))
        first = inputs["block.hidden_states"]
        undivided = _block(
            golden, replace(config, direction_scale=golden.config["block"]["no_divide_variant_direction_scale"])
        )
        epsilon = golden.config["block"]["rms_norm_variant_epsilon"]
        rms = _block(golden, replace(config, normalisation="rms", norm_epsilon=epsilon))
        variants = {
            "block.first_layer.out_hidden": block(first), "block.first_layer.out_residual": first,
            "block.no_divide.out_hidden": undivided(entering),
            "block.rmsnorm.out_hidden": rms(entering), "block.rmsnorm.out_residual": entering,
        }  # fmt: skip
        yield StageResult("block_variants", variants)
    yield StageResult("block_gradients", gradients)


def _directions(block: MambaBlock, entering: Tensor) -> Produced:
    """Inner tensors of both directions; those of the second in reversed time order."""
    mixer = block.mixer
    channels, gate = mixer.in_proj(scaled_norm(block.norm, entering, 1.0)).chunk(2, dim=-1)
    inner = mixer.scan_inputs(channels)
    out, last = mixer.selective_scan(
        *mixer.scan_arguments(inner), delta_bias=mixer.delta_bias, reverse=inner.reverse, return_last_state=True
    )
    produced: Produced = {}
    for number, (name, back) in enumerate((("fwd", False), ("bwd", True))):
        rows = {
            "conv": inner.convolved[number], "x_dbl": inner.projected[number],
            "delta_raw": inner.delta[number], "out_z": out[number] * F.silu(gate),
        }  # fmt: skip
        for key, value in rows.items():
            turned = value.flip(1) if back else value
            produced[f"block.{name}.{key}"] = turned if key == "x_dbl" else turned.transpose(1, 2)
        produced[f"block.{name}.last_state"] = last[number]
    return produced
