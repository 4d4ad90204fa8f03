"""Published Adam-v2 and Adam-v1 weights: every key accounted for, in every layout their code writes.

Source: `MR-HosseinzadehTaher/Eden`; method card, section 7. Layouts, after the reader has taken ``module.`` off:

- joint stage, entry ``model``: ``student.``, ``teacher.`` (each ``backbone.`` and ``head.``), ``compose_head.``,
  ``decompose_head.``;
- localizability stage, entry ``student`` or ``teacher``: ``backbone.`` and ``head.``;
- Adam-v1, entry ``state_dict``: ``encoder_q.``, ``encoder_k.`` (each with ``fc.``), ``queue``, ``queue_ptr``;
- a bare backbone, with or without ``fc.``.

Heads and the other network are kept for continued training. The final layer norm of ConvNeXt is kept: the published
conversion for fine-tuning renames it to ``head.norm`` and then drops every ``head`` key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repcore.checkpoints.imported import Imported
from repcore.checkpoints.keymap import Drop, KeyMap, Rename, Rule
from repcore.errors import CheckpointError
from repcore_medical3d.configs.adam_v2 import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    AnatomyEncoderConfig,
    ConvNextConfig,
    ResNetConfig,
)
from repcore_medical3d.configs.images import ImageConfig

KEYS = KeyMap(
    (
        Rename("student.backbone.{rest*}", "encoder.backbone.{rest*}"),
        Rename("student.head.{rest*}", "head.{rest*}"),
        Rename("teacher.backbone.{rest*}", "teacher_encoder.backbone.{rest*}"),
        Rename("teacher.head.{rest*}", "teacher_head.{rest*}"),
        Rename("compose_head.{rest*}", "compose_head.{rest*}"),
        Rename("decompose_head.{rest*}", "decompose_head.{rest*}"),
    )
)
"""Joint-stage names without ``module.``, to names inside :class:`repcore_medical3d.objectives.adam_v2.AdamV2`."""

NOTICES = (
    "The authors' weights are for non-commercial academic research only (ASU GitHub Project License, revocable). The "
    "method may be covered by a pending patent (US 2025/0316058)."
)
CONVNEXT_MARK, RESNET_MARK = "downsample_layers.0.0.weight", "conv1.weight"
BRANCHES = ("teacher", "student")
SIBLINGS = (("weight", "bias"), ("weight_g", "weight_v"), ("queue", "queue_place"))
OTHER_NETWORKS = ("objective.encoder.", "objective.teacher_encoder.")
PUBLISHED_EDGE = 224


def sniff_convnext(keys: frozenset[str]) -> float:
    """Adam-v2's heads around a ConvNeXt: 1; a bare ConvNeXt with these names: 0.5."""
    return _sniffed(keys, CONVNEXT_MARK)


def sniff_resnet(keys: frozenset[str]) -> float:
    """Adam's heads around a ResNet: 1; a bare ResNet with torchvision's names: 0.5."""
    return _sniffed(keys, RESNET_MARK)


def _sniffed(keys: frozenset[str], mark: str) -> float:
    plain = {key.removeprefix("module.") for key in keys}
    for prefix in ("teacher.backbone.", "student.backbone.", "backbone.", "encoder_q."):
        if prefix + mark in plain:
            return 1.0
    return 0.5 if mark in plain else 0.0


def convert_convnext(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """A ConvNeXt checkpoint; see :func:`converted`."""
    from repcore_medical3d.encoders.convnext import ConvNextEncoder

    return converted(state, source, options, CONVNEXT_MARK, convnext_config, ConvNextEncoder)


def convert_resnet(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """A ResNet checkpoint; see :func:`converted`."""
    from repcore_medical3d.encoders.resnet import ResNetEncoder

    return converted(state, source, options, RESNET_MARK, resnet_config, ResNetEncoder)


def converted(
    state: Mapping[str, Tensor], source: Path, options: Mapping[str, str], mark: str, configure: Any, build: Any
) -> Imported:
    """Published tensors into an encoder that computes the same.

    Args:
        state: keys with or without ``module.``.
        source: for messages.
        options: ``branch``: teacher (default) or student; of Adam-v1 student is the query encoder and the default.
        mark: first tensor of the backbone, without prefixes.
        configure: backbone tensors -> encoder config; build: encoder config -> encoder.

    Raises:
        CheckpointError: keys or shapes that are not of this system, or an unknown option.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    rules, prefix = _rules(plain, source, _branch(options), mark)
    config = configure({key.removeprefix(prefix): value for key, value in plain.items() if key.startswith(prefix)})
    encoder: nn.Module = build(config)
    expected = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    keys = KeyMap(rules)
    renamed = keys.apply(plain, source=source.name, target="medical3d/adam-v2")[1].renamed
    for old, new in renamed.items():
        other = next((one for one in OTHER_NETWORKS if new.startswith(one)), None)
        if other is not None:  # the network that is not taken must be complete as well
            expected |= {other + name: value for name, value in encoder.state_dict().items()}
        elif new.startswith("objective."):
            expected[new] = plain[old]  # may replace a placeholder
            expected |= {name: torch.empty(0) for name in _beside(new) if name not in expected}
    ours, report = keys.apply(plain, source=source.name, target=f"a {type(encoder).__name__}", expected=expected)
    report.notes.append(f"network taken: {prefix.rstrip('.') or 'the only one'}")
    front_end = ImageConfig(
        edge=PUBLISHED_EDGE, input_channels=config.input_channels, normalisation="imagenet", window="full"
    )
    from repcore_medical3d.preprocessors.images import ImagePreprocessor

    heads = {name.removeprefix("objective."): one for name, one in ours.items() if name.startswith("objective.")}
    return Imported(
        encoder_config=config,
        state={name.removeprefix("encoder."): one for name, one in ours.items() if name.startswith("encoder.")},
        report=report,
        preprocessor=ImagePreprocessor(front_end),
        preprocessor_name="medical3d/image",
        preprocessor_config=front_end,
        heads={"objective": heads} if heads else {},
        notices=NOTICES,
    )


def _beside(name: str) -> list[str]:
    """Tensors that a file with this one must have as well: a layer's weight and bias, a prototype's length and
    direction, the queue and its place."""
    stem, _, last = name.rpartition(".")
    for siblings in SIBLINGS:
        if last in siblings:
            return [f"{stem}.{other}" for other in siblings]
    return []


def _branch(options: Mapping[str, str]) -> str | None:
    unknown = sorted(set(options) - {"branch"})
    if unknown:
        raise CheckpointError(f"no option {unknown[0]!r} for Adam weights", known="branch")
    branch = options.get("branch")
    if branch is not None and branch not in BRANCHES:
        raise CheckpointError(f"branch={branch!r} is unknown", expected=", ".join(BRANCHES))
    return branch


def _rules(state: Mapping[str, Tensor], source: Path, branch: str | None, mark: str) -> tuple[tuple[Rule, ...], str]:
    """Rules of the file's layout, and the prefix of the backbone that is taken."""
    if f"teacher.backbone.{mark}" in state or f"student.backbone.{mark}" in state:
        return _joint_rules(state, source, branch or "teacher", mark)
    if f"encoder_q.{mark}" in state:
        return _first_version_rules(branch or "student")
    if f"backbone.{mark}" in state:
        return (
            Rename("backbone.{rest*}", "encoder.backbone.{rest*}"),
            Rename("head.{rest*}", "objective.head.{rest*}"),
        ), "backbone."
    if mark in state:
        return (
            Drop("fc.{rest*}", "classifier or projection head"),
            Drop("head.{rest*}", "classifier or projection head"),
            Rename("{rest*}", "encoder.backbone.{rest*}"),
        ), ""
    raise CheckpointError(
        f"{source.name} holds no backbone of Adam",
        expected=f"a tensor {mark}, alone or below backbone, teacher or student",
    )


def _joint_rules(state: Mapping[str, Tensor], source: Path, branch: str, mark: str) -> tuple[tuple[Rule, ...], str]:
    prefix = f"{branch}.backbone."
    if prefix + mark not in state:
        raise CheckpointError(f"{source.name} has no {branch}", hint=f"branch={BRANCHES[BRANCHES[0] == branch]}")
    rules: list[Rule] = [Rename(prefix + "{rest*}", "encoder.backbone.{rest*}")]
    for rule in KEYS.rules:
        assert isinstance(rule, Rename)
        if not rule.old.startswith(prefix):
            rules.append(Rename(rule.old, f"objective.{rule.new}"))
    return tuple(rules), prefix


def _first_version_rules(branch: str) -> tuple[tuple[Rule, ...], str]:
    chosen, other = ("encoder_q", "encoder_k") if branch == "student" else ("encoder_k", "encoder_q")
    other_name = "teacher_encoder" if branch == "student" else "encoder"
    rules: tuple[Rule, ...] = (
        Rename("encoder_q.fc.{rest*}", "objective.projection.{rest*}"),
        Rename("encoder_k.fc.{rest*}", "objective.teacher_projection.{rest*}"),
        Rename("queue", "objective.queue"),
        Rename("queue_ptr", "objective.queue_place"),
        Rename(chosen + ".{rest*}", "encoder.backbone.{rest*}"),
        Rename(other + ".{rest*}", f"objective.{other_name}.backbone.{{rest*}}"),
    )
    return rules, chosen + "."


# ---------------------------------------------------------------------------------------- settings


def _common(first: Tensor) -> dict[str, Any]:
    """Settings that the first kernel tells."""
    channels = int(first.shape[1])
    mean, deviation = (IMAGENET_MEAN, IMAGENET_DEVIATION) if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
    return {
        "spatial_dims": first.ndim - 2, "input_channels": channels, "input_size": PUBLISHED_EDGE,
        "mean": mean, "deviation": deviation,
    }  # fmt: skip


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that the group of a pattern takes among the keys."""
    return 1 + max((int(match[1]) for key in state if (match := re.match(pattern, key))), default=-1)


def convnext_config(state: Mapping[str, Tensor]) -> AnatomyEncoderConfig:
    """Settings of a ConvNeXt, from shapes."""
    stem = state[CONVNEXT_MARK]
    stages = _count(state, r"stages\.(\d+)\.")
    widths = [int(state[f"stages.{number}.0.dwconv.weight"].shape[0]) for number in range(stages)]
    first = state["stages.0.0.pwconv1.weight"]
    return ConvNextConfig(
        **_common(stem),
        depths=tuple(_count(state, rf"stages\.{number}\.(\d+)\.") for number in range(stages)),
        widths=tuple(widths),
        kernel=int(state["stages.0.0.dwconv.weight"].shape[-1]),
        stem_stride=int(stem.shape[-1]),
        mlp_ratio=int(first.shape[0] // first.shape[1]),
    )


def resnet_config(state: Mapping[str, Tensor]) -> AnatomyEncoderConfig:
    """Settings of a ResNet, from shapes."""
    counts = [_count(state, rf"layer{number}\.(\d+)\.") for number in range(1, 5)]
    widths = [int(state[f"layer{number}.0.conv1.weight"].shape[0]) for number in range(1, 5)]
    return ResNetConfig(
        **_common(state[RESNET_MARK]),
        layers=(counts[0], counts[1], counts[2], counts[3]),
        widths=(widths[0], widths[1], widths[2], widths[3]),
        block="bottleneck" if "layer1.0.conv3.weight" in state else "basic",
    )
