"""Replay of golden MambaMIL data: bags one by one through the aggregator, its gradients, orders, and survival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.configs.mamba_mil import MambaMilConfig
from repcore_generic.layers.bag_pooling import BagPooling, Pooled
from repcore_generic.layers.bag_scan import stride_order
from repcore_generic.objectives.survival import risk, survival_curve, survival_loss

Produced = dict[str, Any]  # tensor or number by stored name
DIRECTIONS = {"": 0, "_b": 1}
PARTS = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias")


def published_names(layers: int, directions: int) -> dict[str, str]:
    """Authors' key -> name in :class:`BagPooling` with scans; ``classifier.*`` is the task's."""
    names = {f"_fc1.0.{one}": f"input.{one}" for one in ("weight", "bias")}
    names |= {f"attention.{number}.{one}": f"score.{number}.{one}" for number in (0, 2) for one in ("weight", "bias")}
    names |= {f"norm.{one}": f"scans.norm.{one}" for one in ("weight", "bias")}
    for layer in range(layers):
        theirs, ours = f"layers.{layer}.1", f"scans.mixers.{layer}"
        names |= {f"layers.{layer}.0.{one}": f"scans.norms.{layer}.{one}" for one in ("weight", "bias")}
        names |= {f"{theirs}.{one}.weight": f"{ours}.{one}.weight" for one in ("in_proj", "out_proj")}
        for suffix, number in DIRECTIONS.items():
            if number >= directions:
                continue
            own = f"{ours}.directions.{number}"
            for part in PARTS:
                module, _, kind = part.partition(".")
                names[f"{theirs}.{module}{suffix}.{kind}"] = f"{own}.{part}"
            names[f"{theirs}.A{suffix}_log"] = f"{own}.A_log"
            names[f"{theirs}.D{suffix}"] = f"{own}.D"
    return names


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    for group, facts in golden.config["groups"].items():
        values, gradients = _group(golden, group, facts)
        stem = group.replace(".", "_")
        yield StageResult(f"{stem}_forward", values)
        yield StageResult(f"{stem}_gradients", gradients)
    rate = int(golden.config["rate"])
    orders = {f"corrected.order.bag_{n}": stride_order(len(bag), rate) for n, bag in enumerate(_bags(golden))}
    yield StageResult("corrected_order", orders)
    yield StageResult("corrected_survival", _survival(golden))


def _bags(golden: Golden) -> list[Tensor]:
    return [golden.inputs[f"bag_{number}"] for number in range(len(golden.config["bags"]))]


def _aggregator(golden: Golden, group: str, facts: Mapping[str, Any]) -> tuple[BagPooling, dict[str, Tensor]]:
    """With the folder's weights, and its parameters by the authors' names."""
    given = golden.config
    config = MambaMilConfig(
        scan=facts["scan"], rate=int(facts.get("rate", given["rate"])), width=int(given["width"]),
        padding=given["variants"][group.partition(".")[0]]["padding"], layers=int(given["layers"]),
        states=int(given["state"]), attention_width=int(given["attention_width"]), dropout=float(given["dropout"]),
    )  # fmt: skip
    pooling = BagPooling(config, int(given["input_width"]))
    names = published_names(config.layers, 1 if config.scan == "mamba" else 2)
    weights = {ours: golden.weights[theirs] for theirs, ours in names.items()}
    pooling.load_state_dict({**dict(pooling.named_buffers()), **weights})
    return pooling.eval(), {theirs: pooling.get_parameter(ours) for theirs, ours in names.items()}


def _classifier(golden: Golden, prefix: str = "") -> nn.Linear:
    weight, bias = golden.weights[f"{prefix}classifier.weight"], golden.weights[f"{prefix}classifier.bias"]
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _group(golden: Golden, group: str, facts: Mapping[str, Any]) -> tuple[Produced, Produced]:
    pooling, parameters = _aggregator(golden, group, facts)
    classifier = _classifier(golden)
    parameters = {**parameters, "classifier.weight": classifier.weight, "classifier.bias": classifier.bias}
    values: Produced = {}
    gradients: Produced = {}
    for number, stored in enumerate(_bags(golden)):
        bag, prefix = stored.clone().requires_grad_(), f"{group}.bag_{number}"
        mixed: dict[str, Tensor] = {}
        pooled = _watched(pooling, bag, mixed)
        logits = classifier(pooled.vectors)
        loss = F.cross_entropy(logits, golden.inputs["labels"][number : number + 1])
        found = {
            "embedded": mixed.pop("embedded"), **mixed, "normed": pooled.hidden, "attention": pooled.attention,
            "attention_logits": pooled.logits, "pooled": pooled.vectors[0], "logits": logits[0],
            "probability": logits[0].softmax(-1), "loss": loss,
        }  # fmt: skip
        values |= {f"{prefix}.{key}": one for key, one in found.items() if f"{prefix}.{key}" in golden.outputs}
        leaves = {"bag": bag, **parameters}
        wanted = {name: one for name, one in leaves.items() if f"{prefix}.grad.{name}" in golden.outputs}
        results = torch.autograd.grad(loss, list(wanted.values())) if wanted else ()
        gradients |= {f"{prefix}.grad.{name}": one for name, one in zip(wanted, results, strict=True)}
    return values, gradients


def _watched(pooling: BagPooling, bag: Tensor, mixed: dict[str, Tensor]) -> Pooled:
    """One bag through the aggregator; what its parts gave is written into ``mixed``."""
    assert pooling.scans is not None
    hooks = [pooling.dropout.register_forward_hook(lambda *seen: mixed.update(embedded=seen[2]))]
    for layer, mixer in enumerate(pooling.scans.mixers):

        def keep(_: nn.Module, __: Any, out: Tensor, layer: int = layer) -> None:
            mixed[f"mixer_{layer}"] = out[0]

        hooks.append(mixer.register_forward_hook(keep))
    found: Pooled = pooling(bag, torch.zeros(len(bag), dtype=torch.int64), 1)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def _survival(golden: Golden) -> Produced:
    facts = golden.config["groups"]["corrected.srmamba"]
    pooling, _ = _aggregator(golden, "corrected.srmamba", facts)
    head = _classifier(golden, "survival.")
    bags = _bags(golden)
    owner = torch.repeat_interleave(torch.arange(len(bags)), torch.tensor([len(one) for one in bags]))
    scores = head(pooling(torch.cat(bags), owner, len(bags)).vectors)
    hazards, curve = survival_curve(scores)
    bins, censored = golden.inputs["event_bin"], golden.inputs["censored"]
    losses = [survival_loss(scores, bins, censored, float(one)) for one in golden.config["survival_alphas"]]
    return {
        "corrected.survival.hazards": hazards, "corrected.survival.survival": curve,
        "corrected.survival.nll": torch.stack(losses, dim=1), "corrected.survival.risk": risk(scores),
    }  # fmt: skip
