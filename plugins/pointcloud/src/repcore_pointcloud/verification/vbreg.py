"""Replay of golden folders of ``pointcloud/vbreg``: training step and search for a motion, published and corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_pointcloud.alignment.consensus import voting_maps
from repcore_pointcloud.alignment.motions import refine, refinement_limit
from repcore_pointcloud.alignment.vbreg import chosen, consensus, judge, motions_of
from repcore_pointcloud.checkpoints.vbreg import KEYS, OBJECTIVE, network_config, plain_state
from repcore_pointcloud.configs.vbreg import MatchConsistencyConfig, MotionConfig
from repcore_pointcloud.encoders.match_network import MatchNetwork
from repcore_pointcloud.layers.match_layers import feature_agreement, length_agreement
from repcore_pointcloud.objectives.match_consistency import MatchConsistency, Passes

VARIANTS, SCENES = ("reference", "corrected"), ("rigid", "random")
LETTERS = (("Q", "query"), ("K", "key"), ("V", "value"))


@dataclass(frozen=True)
class Weights:
    """The folder's weights by our names, and the published name of each; unused ones are published alone."""

    ours: Mapping[str, Tensor]
    named: Mapping[str, str]
    unused: Mapping[str, Tensor]
    published: Mapping[str, Tensor]


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """Every stage of a folder, through the plugin's public classes."""
    del fed  # no stage of this system asks for stored upstream tensors
    weights = _weights(golden)
    for variant in VARIANTS:
        yield from _training(golden, weights, variant)
        for scene in SCENES:
            yield from _search(golden, weights, variant, scene)
        yield from _refinement(golden, variant)


def _weights(golden: Golden) -> Weights:
    published = {name: golden.weights[name] for name in golden.weights}
    ours, report = KEYS.apply(plain_state(published), source="weights", target="vbreg")
    unused = {name: published[name] for name in report.dropped if "PointCN" in name}
    return Weights(ours, report.renamed, unused, published)


def _network(golden: Golden, weights: Weights) -> MatchNetwork:
    network = MatchNetwork(network_config(plain_state(weights.published), float(golden.config["sigma_d"])))
    state = network.state_dict()
    state.update({name: value for name, value in weights.ours.items() if name in state})
    network.load_state_dict(state)
    return network.eval()


def _objective(golden: Golden, weights: Weights, variant: str) -> MatchConsistency:
    config = golden.config
    objective = MatchConsistency(
        MatchConsistencyConfig(
            label_width=int(config["lb_dim"]),
            mix=float(config["mix_ratio"]),
            kl_weight=float(config["kl_weight"]),
            kl_balance=float(config["kl_balance"]),
            value_label=config["flags"][variant]["value_label"],
            turn=False,
        ),
        _network(golden, weights),
    )
    state = objective.state_dict()
    trained = {name.removeprefix(OBJECTIVE): one for name, one in weights.ours.items() if name.startswith(OBJECTIVE)}
    state.update({name: value for name, value in trained.items() if name in state})
    objective.load_state_dict(state)
    return objective.train()


# ---------------------------------------------------------------------------------------------- training


def _training(golden: Golden, weights: Weights, variant: str) -> Iterator[StageResult]:
    inputs, objective = golden.inputs, _objective(golden, weights, variant)
    source, target, labels = (inputs[f"train.{name}"] for name in ("src", "tgt", "labels"))
    agreement = length_agreement(source, target, objective.encoder.config.length_tolerance_m)
    draws = {name: inputs[f"train.{name}"] for name in ("noise_posterior", "noise_prior")}
    passes = objective.passes(inputs["train.corr_pos"], agreement, labels, draws)
    found = objective.terms(passes, labels)
    found.total.backward()
    losses = {f"{variant}.train.loss.{name}": value.detach() for name, value in found.terms.items()}
    losses[f"{variant}.train.loss.total"] = found.total.detach()
    judged = {"posterior": passes.posterior, "prior": passes.prior}
    confidence = {f"{variant}.train.confidence_{name}": one.confidence.detach() for name, one in judged.items()}
    gradients = _gradients(golden, weights, objective, f"{variant}.train.grad.")
    if variant == "corrected":
        yield StageResult("corrected_train", {**losses, **confidence})
        yield StageResult("corrected_train_gradients", gradients)
        return
    yield StageResult("reference_train_latents", _moments(passes, "reference.train.latent"))
    more = {"reference.train.spatial_compatibility": agreement}
    for name, one in judged.items():
        features = one.features.detach()
        more[f"reference.train.features_{name}"] = features
        more[f"reference.train.compatibility_{name}"] = feature_agreement(features, objective.encoder.temperature)
    yield StageResult("reference_train_forward", {**more, **confidence})
    yield StageResult("reference_train_losses", losses)
    yield StageResult("reference_train_gradients", gradients)
    yield StageResult("reference_train_statistics", _statistics(golden, weights, objective, "reference.train.stats."))


def _moments(passes: Passes, prefix: str) -> dict[str, Tensor]:
    """Means and deviations (B, S, N) of every layer and branch."""
    found = {}
    for (layer, branch), both in passes.moments.items():
        letter = next(one for one, name in LETTERS if name == branch)
        for name, moments in zip(("prior", "posterior"), both, strict=True):
            place = f"{prefix}.{layer}.{letter}"
            found[f"{place}.mu_{name}"] = moments.mean.detach().transpose(1, 2)
            found[f"{place}.sigma_{name}"] = moments.deviation.detach().transpose(1, 2)
    return found


def _gradients(golden: Golden, weights: Weights, objective: MatchConsistency, prefix: str) -> dict[str, Tensor]:
    """By published names, of their shapes; what no part of ours holds has no gradient, as in the public code."""
    parameters = {_name(name): one for name, one in objective.named_parameters()}
    found = {}
    for stored in golden.outputs.matching([f"{prefix}*"]):
        published = stored.removeprefix(prefix)
        own = parameters.get(weights.named.get(published, ""))
        value = weights.published[published]
        gradient = torch.zeros_like(value) if own is None or own.grad is None else own.grad
        found[stored] = gradient.reshape(value.shape)
    return found


def _statistics(golden: Golden, weights: Weights, objective: MatchConsistency, prefix: str) -> dict[str, Tensor]:
    buffers = {_name(name): one for name, one in objective.named_buffers()}
    found = {}
    for stored in golden.outputs.matching([f"{prefix}*"]):
        published = stored.removeprefix(prefix)
        own = weights.named.get(published, "")
        found[stored] = buffers[own] if own in buffers else weights.unused[published]
    return found


def _name(name: str) -> str:
    """A name inside the objective as the converter's rules write it."""
    return name.removeprefix("encoder.") if name.startswith("encoder.") else f"{OBJECTIVE}{name}"


# ------------------------------------------------------------------------------------------------ search


def _motion_config(config: Mapping[str, Any], variant: str, limit: float | None = None) -> MotionConfig:
    flags = config["flags"][variant]
    return MotionConfig(
        inlier_distance_m=float(config["inlier_threshold"]) if limit is None else limit,
        seed_distance_m=float(config["nms_radius"]),
        seed_share=float(config["ratio"]),
        fewest_seeds=int(config["n_points_min"]),
        set_size=int(config["k"]),
        power_steps=int(config["num_iterations"]),
        seed_mask=flags["seed_mask"],
        vote_zero=bool(flags["vote_zero"]),
        vote_temperature=flags["vote_sigma"],
        refine_distance=flags["refine_threshold"],
        labels_after_refinement=bool(flags["labels_after_refinement"]),
        latent=flags["latent"],
    )


@torch.no_grad()
def _search(golden: Golden, weights: Weights, variant: str, scene: str) -> Iterator[StageResult]:
    inputs, config = golden.inputs, _motion_config(golden.config, variant)
    network = _network(golden, weights)
    source, target = inputs[f"{scene}.src"][0], inputs[f"{scene}.tgt"][0]
    noise = inputs[f"{scene}.noise"] if config.latent == "sample" else None
    judged = judge(network, source, target, noise, inputs[f"{scene}.corr_pos"])
    stage, name = f"{variant}_{scene}", f"{variant}.{scene}"
    everyone = torch.arange(len(source))
    lengths = length_agreement(source, target, network.config.length_tolerance_m, everyone)
    _, last, *_ = voting_maps(judged.trace, everyone, lengths, network.temperature)
    encoder = {f"{name}.confidence": judged.confidence, f"{name}.attention_last": last[None]}
    if f"{name}.features" in golden.outputs:
        encoder[f"{name}.features"] = judged.features
    yield StageResult(f"{stage}_encoder", encoder)
    found = consensus(network, judged, source, target, config)
    selection = {"seeds": found.seeds, "votes": found.votes, "consensus": found.sets}
    yield StageResult(f"{stage}_selection", {f"{name}.{key}": value[None] for key, value in selection.items()})
    scores = {"vote_score": found.score, "consensus_weight": found.weights}
    yield StageResult(f"{stage}_scores", {f"{name}.{key}": value[None] for key, value in scores.items()})
    motions = motions_of(found, source, target)
    solution, values, best = chosen(motions, source, target, config)
    hypotheses = {f"{name}.seed_transforms": motions.matrices[None], f"{name}.fitness": values[None]}
    yield StageResult(f"{stage}_hypotheses", hypotheses)
    choice = {f"{name}.best_seed": torch.tensor([best]), f"{name}.inliers": solution.inliers[None]}
    if f"{name}.refinement_steps" in golden.outputs:
        choice[f"{name}.refinement_steps"] = torch.tensor([solution.rounds])
    yield StageResult(f"{stage}_choice", choice)
    before = motions.matrices[best][None]
    transforms = {f"{name}.transform": solution.matrix[None], f"{name}.transform_before_refinement": before}
    yield StageResult(f"{stage}_transform", transforms)


def _refinement(golden: Golden, variant: str) -> Iterator[StageResult]:
    config = _motion_config(golden.config, variant, float(golden.config["refine_threshold_example"]))
    ends = golden.inputs["rigid.src"][0], golden.inputs["rigid.tgt"][0]
    limit = refinement_limit(config.inlier_distance_m, config.refine_distance)
    found = refine(golden.inputs["refine.start"][0], *ends, limit, config.refine_steps)
    yield StageResult("refinement", {f"{variant}.refine.transform": found.matrix[None]})
