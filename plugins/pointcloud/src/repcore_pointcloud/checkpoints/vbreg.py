"""Published weights of VBReg (and the trainer's network): names of the public repository as ours.

Source: public repository `Jiang-HB/VBReg` for the layout; released weights are listed there, none was seen.
What serves training alone (posterior, label embeddings) goes to the objective, the point-wise layer that is built and
never used (``PointCN_layer_0``) is dropped and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repcore.checkpoints.imported import Imported
from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename
from repcore.errors import CheckpointError
from repcore_pointcloud.configs.vbreg import MatchNetworkConfig, MatchSetConfig
from repcore_pointcloud.encoders.match_network import BRANCHES, NAME, MatchNetwork
from repcore_pointcloud.preprocessors.matches import MatchPreprocessor

LETTERS = dict(zip(BRANCHES, "QKV", strict=True))
ROOT = "blocks.corr_encoder.blocks"
LAYER = f"{ROOT}.NonLocal_layer_{{i}}.blocks"
OBJECTIVE = "objective."
NOTICE = "weights of Jiang-HB/VBReg (MIT; parts descend from PointDSC, FCGF, DGR and OverlapPredator)"
PREPROCESSOR = "pointcloud/matches"


def _renames() -> tuple[Rename, ...]:
    found = [
        Rename("sigma", "temperature"),
        Rename(f"{ROOT}.init_mlp.0.{{part}}", "embedding.linear.0.{part}"),
        Rename(f"{ROOT}.init_mlp.1.{{part}}", "embedding.norms.0.{part}"),
        Rename(f"{ROOT}.init_mlp.3.{{part}}", "embedding.linear.1.{part}"),
        Rename("blocks.corr_classifier.{i}.{part}", "score.{i}.{part}"),
    ]
    for place, ours in enumerate(("linear.0", "norms.0", "", "linear.1", "norms.1", "", "linear.2")):
        if ours:
            found.append(Rename(f"{LAYER}.message_mlp.{place}.{{part}}", f"layers.{{i}}.message.{ours}.{{part}}"))
    for name, letter in LETTERS.items():
        branch, trained = f"branches.{name}", f"{OBJECTIVE}posterior.{name}"
        found += [
            Rename(f"{LAYER}.projection_{letter.lower()}.0.{{part}}", f"layers.{{i}}.{name}.{{part}}"),
            Rename(f"{ROOT}.fc_embed_state_action_{letter}.{{part}}", f"{branch}.action.{{part}}"),
            Rename(f"{ROOT}.rnn_{letter}.{{part}}", f"{branch}.memory.{{part}}"),
            Rename(f"{ROOT}.fc_embed_belief_prior_{letter}.{{part}}", f"{branch}.prior.hidden.{{part}}"),
            Rename(f"{ROOT}.fc_state_prior_{letter}.{{part}}", f"{branch}.prior.moments.{{part}}"),
            Rename(f"{ROOT}.fc_embed_belief_sto_{letter}.{{part}}", f"{branch}.emission.{{part}}"),
            Rename(f"{ROOT}.fc_embed_belief_posterior_{letter}.{{part}}", f"{trained}.hidden.{{part}}"),
            Rename(f"{ROOT}.fc_state_posterior_{letter}.{{part}}", f"{trained}.moments.{{part}}"),
            Rename(f"{ROOT}.fc_label_{letter}.{{part}}", f"{OBJECTIVE}labels.{name}.{{part}}"),
        ]
    return tuple(found)


RULES: tuple[Rename | Drop, ...] = (
    Drop("{rest*}.num_batches_tracked", "counts batches, which nothing reads"),
    Drop(f"{ROOT}.PointCN_layer_{{i}}.{{rest*}}", "built and never used by the published network"),
    Drop("sigma_spat", "the tolerance of lengths is a setting here"),
    *_renames(),
)
KEYS = KeyMap(RULES)
COUNTERS = "*.num_batches_tracked"


def sniff(keys: frozenset[str]) -> float:
    """1 for a network with the authors' names."""
    plain = {key.removeprefix("module.") for key in keys}
    marks = (f"{ROOT}.fc_embed_state_action_Q.weight", f"{ROOT}.init_mlp.0.weight")
    return 1.0 if all(mark in plain for mark in marks) else 0.0


def plain_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Keys without ``module.``, convolutions of width 1 as matrices, half precision widened."""
    plain = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            flat = value.squeeze(2) if value.ndim == 3 and value.shape[2] == 1 else value
            plain[key.removeprefix("module.")] = flat.float() if flat.is_floating_point() else flat
    return plain


def network_config(plain: Mapping[str, Tensor], tolerance: float | None = None) -> MatchNetworkConfig:
    """Sizes from shapes (plain keys); the tolerance of lengths from the file where none is given.

    Raises:
        CheckpointError: tensors are missing.
    """
    try:
        moments = plain[f"{ROOT}.fc_state_prior_Q.weight"]
        layers = {key.split("NonLocal_layer_")[1].split(".")[0] for key in plain if "NonLocal_layer_" in key}
        stored = float(plain["sigma_spat"]) if tolerance is None else tolerance
        return MatchNetworkConfig(
            layers=len(layers),
            width=len(plain[f"{ROOT}.init_mlp.0.bias"]),
            belief_width=plain[f"{ROOT}.rnn_Q.weight_hh"].shape[1],
            hidden_width=moments.shape[1],
            latent_width=len(moments) // 2,
            length_tolerance_m=round(stored, 6),  # stored in float32
        )
    except KeyError as error:
        raise CheckpointError(f"the file lacks {error.args[0]}", hint="a whole network of VBReg is needed") from error


def convert(state: Mapping[str, Any], source: Path, options: Mapping[str, str]) -> Imported:
    """A published network as ours.

    Args:
        options: ``length_tolerance_m``, instead of the one in the file.

    Raises:
        CheckpointError: keys without a place, missing ones, or an option that is no length.
    """
    plain = plain_state(state)
    tolerance, text = None, options.get("length_tolerance_m")
    try:
        tolerance = None if text is None else float(text)
    except ValueError as error:
        raise CheckpointError(f"length_tolerance_m={text!r} is no number", hint="length_tolerance_m=0.1") from error
    if tolerance is not None and not tolerance > 0:
        raise CheckpointError(f"length_tolerance_m={text} is no length", expected="a number above 0")
    config = network_config(plain, tolerance)
    own = MatchNetwork(config).state_dict()
    trained = {name: value for name, value in KEYS.apply(plain, source="", target="")[0].items() if name not in own}
    found, report = KEYS.apply(
        plain, source=source.name, target=NAME, expected={**own, **trained}, may_miss=(COUNTERS,)
    )
    report.missing = []  # counters of batches say nothing
    _add_notes(report, plain, config)
    heads = {name.removeprefix(OBJECTIVE): value for name, value in trained.items() if name.startswith(OBJECTIVE)}
    counters = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith("num_batches_tracked")}
    settings = MatchSetConfig(inlier_distance_m=config.length_tolerance_m)
    return Imported(
        encoder_config=config,
        state={**counters, **{name: value for name, value in found.items() if name in own}},
        report=report,
        preprocessor=MatchPreprocessor(settings),
        preprocessor_name=PREPROCESSOR,
        preprocessor_config=settings,
        heads={"objective": heads} if heads else {},
        notices=NOTICE,
    )


def _add_notes(report: LoadReport, plain: Mapping[str, Tensor], config: MatchNetworkConfig) -> None:
    tolerance = config.length_tolerance_m
    report.notes.append(f"{config.layers} layers of width {config.width}; tolerance of lengths {tolerance:g}")
    stored = float(plain["sigma_spat"]) if "sigma_spat" in plain else tolerance
    if abs(stored - tolerance) > 1e-6:
        report.notes.append(f"the file was trained with a tolerance of lengths of {stored:g}, not {tolerance:g}")
