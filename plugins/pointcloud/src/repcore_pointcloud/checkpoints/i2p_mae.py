"""Published weights of I2P-MAE and Point-M2AE: pre-training, fine-tuned classifiers, part segmentation.

Key names as the authors' code writes them (method card, section 7): ``base_model`` or ``model_state_dict`` with an
optional ``module.`` before every key. Convolutions of width 1 become linear layers. Sizes are read from shapes; what
shapes cannot tell (numbers of groups and neighbours, heads, local radius) has the one published value unless an option
says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename, Rule
from repcore.errors import CheckpointError
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.i2p_mae import (
    PUBLISHED_ENCODER,
    PUBLISHED_SHAPE_CLASS,
    SCANOBJECT_SHAPE_CLASS,
    PartSegmentationConfig,
    PointEncoderConfig,
)
from repcore_pointcloud.configs.shapes import PointSetConfig
from repcore_pointcloud.datasets.shape_parts import part_names
from repcore_pointcloud.encoders.i2p_mae import NAME, HierarchicalPointEncoder
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor


def _block(old: str, new: str) -> tuple[Rule, ...]:
    """Rules of one transformer block; the prefixes end in a dot."""
    parts = {
        "norm1.{part}": "attention_norm.{part}",
        "norm2.{part}": "feed_forward_norm.{part}",
        "attn.qkv.weight": "qkv.weight",
        "attn.proj.{part}": "attention_out.{part}",
        "mlp.fc1.{part}": "feed_forward.expand.{part}",
        "mlp.fc2.{part}": "feed_forward.contract.{part}",
    }
    return tuple(Rename(old + a, new + b) for a, b in parts.items())


def _convolutions(old: str, new: str, names: Mapping[str, str]) -> tuple[Rule, ...]:
    return tuple(Rename(f"{old}{a}.{{part}}", f"{new}{b}.{{part}}") for a, b in names.items())


POINT_NETWORK = {
    "first_conv.0": "point_in", "first_conv.1": "point_norm", "first_conv.3": "point_out",
    "second_conv.0": "joint_in", "second_conv.1": "joint_norm", "second_conv.3": "joint_out",
}  # fmt: skip
UNIT = {"net1.0": "first", "net1.1": "first_norm", "net2.0": "second", "net2.1": "second_norm"}
CLASS_HEAD = {number: f"classifier.{number}" for number in ("0", "1", "4", "5", "8")}
KEYS = KeyMap(
    (
        Drop("clip_model.{rest*}", "the teacher: objective.teacher=clip-local teacher_path=FILE uses it"),
        *_convolutions("h_encoder.token_embed.{i}.", "encoder.embeddings.{i}.", POINT_NETWORK),
        Rename("h_encoder.encoder_pos_embeds.{i}.{j}.{part}", "encoder.positions.{i}.{j}.{part}"),
        *_block("h_encoder.encoder_blocks.{i}.blocks.{j}.", "encoder.stacks.{i}.blocks.{j}."),
        Rename("h_encoder.encoder_norms.{i}.{part}", "encoder.norms.{i}.{part}"),
        Rename("mask_token", "objective.decoder.mask_token"),
        *_block("h_decoder.{i}.blocks.{j}.", "objective.decoder.stacks.{i}.blocks.{j}."),
        Rename("decoder_pos_embeds.{i}.{j}.{part}", "objective.decoder.positions.{i}.{j}.{part}"),
        *_convolutions(
            "token_prop.0.", "objective.decoder.propagation.", {"fuse.net.0": "join", "fuse.net.1": "join_norm"}
        ),
        *_convolutions("token_prop.0.extraction.operation.{i}.", "objective.decoder.propagation.units.{i}.", UNIT),
        Rename("decoder_norm.{part}", "objective.decoder.norm.{part}"),
        Rename("rec_head_3d.{part}", "objective.head_3d.{part}"),
        Rename("rec_head.{part}", "objective.head_3d.{part}"),
        Rename("rec_head_2d.{part}", "objective.head_2d.{part}"),
        Rename("norm.{part}", "task.norm.{part}"),
        *_convolutions("cls_head_finetune.", "task.", CLASS_HEAD),
        Rename("label_conv.0.weight", "task.category.0.weight"),
        Rename("label_conv.1.{part}", "task.category.1.{part}"),
        Rename("propagations.{i}.mlp_convs.{j}.{part}", "task.propagations.{i}.layers.{j}.{part}"),
        Rename("propagations.{i}.mlp_bns.{j}.{part}", "task.propagations.{i}.norms.{j}.{part}"),
        Rename("convs{n}.{part}", "task.points.{n}.{part}"),
        Rename("bns{n}.{part}", "task.point_norms.{n}.{part}"),
    )
)
PUBLISHED_POINTS = PointSetConfig(points=1024)  # of the published probes and classifiers
PART_POINTS = 2048  # of the published part segmentation
CLASS_LAYOUT, PARTS_LAYOUT = "fine-tuned classifier", "part segmentation"
Pooling = Literal["max", "mean", "mean-max", "mean-plus-max"]
POOLINGS: tuple[Pooling, ...] = ("max", "mean", "mean-max", "mean-plus-max")
OUTSIDE_ENCODER = (
    "mask_token", "h_decoder.", "decoder_pos_embeds.", "token_prop.", "decoder_norm.", "rec_head", "norm.",
    "cls_head_finetune.", "label_conv.", "propagations.", "convs", "bns",
)  # fmt: skip
OPTIONS = ("groups", "neighbours", "heads", "local_radius", "pooling")
NOTICES = (
    "Weights by the authors. The Point-M2AE repository is MIT; the I2P-MAE repository has no licence, so all rights "
    "are reserved: ask its authors before sharing."
)


def sniff(keys: frozenset[str]) -> float:
    """1 for an encoder with the authors' names, with or without ``module.``."""
    plain = {key.removeprefix("module.") for key in keys}
    marks = ("h_encoder.token_embed.0.first_conv.0.weight", "h_encoder.encoder_blocks.0.blocks.0.attn.qkv.weight")
    return 1.0 if all(mark in plain for mark in marks) else 0.0


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without ``module.``, convolution weights of width 1 as matrices, half precision widened."""
    plain = {}
    for key, tensor in state.items():
        name = key.removeprefix("module.")
        if tensor.ndim == 3 and tensor.shape[2] == 1 and not name.startswith("clip_model."):
            tensor = tensor.squeeze(2)
        plain[name] = tensor.float() if tensor.is_floating_point() else tensor
    return plain


def layout_of(state: Mapping[str, Tensor]) -> str:
    """What kind of file it is, from plain keys."""
    if "rec_head_2d.weight" in state:
        return "i2p-mae pre-training"
    if "rec_head.weight" in state or "rec_head_3d.weight" in state:
        return "point-m2ae pre-training"
    if "cls_head_finetune.0.weight" in state:
        return CLASS_LAYOUT
    return PARTS_LAYOUT if "convs1.weight" in state else "encoder only"


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """Published tensors into an encoder that computes the same, with decoder and heads kept for continued training.

    Args:
        state: keys with or without ``module.``.
        source: for messages.
        options: ``groups``, ``neighbours``, ``local_radius`` (three numbers, comma separated), ``heads``, ``pooling``.

    Raises:
        CheckpointError: nothing of an encoder, keys without a place, or wrong options.
    """
    plain = plain_state(state)
    if not any(key.startswith("h_encoder.") for key in plain):
        raise CheckpointError(
            f"{source.name} has no h_encoder tensors", meaning="nothing of the encoder would be loaded"
        )
    config = encoder_config(plain, options)
    known = {f"encoder.{name}": tensor for name, tensor in HierarchicalPointEncoder(config).state_dict().items()}
    known |= {new: plain[old] for old, new in _outside_encoder(plain).items()}
    ours, report = KEYS.apply(plain, source=source.name, target=NAME, expected=known)
    layout = layout_of(plain)
    _add_notes(report, layout, config, options)
    heads = {part: below(ours, part) for part in ("objective", "task")}
    task = fine_tuned_task(heads["task"], layout, options)
    if task is not None:
        report.notes.append(f"task: {task.name} of {task.outputs} classes; --classes FILE names them")
    points = replace(PUBLISHED_POINTS, points=PART_POINTS) if layout == PARTS_LAYOUT else PUBLISHED_POINTS
    return Imported(
        encoder_config=config,
        state=below(ours, "encoder"),
        report=report,
        preprocessor=PointSetPreprocessor(points),
        preprocessor_name="pointcloud/point-set",
        preprocessor_config=points,
        heads={part: found for part, found in heads.items() if found},
        task=task,
        notices=NOTICES,
    )


def fine_tuned_task(head: Mapping[str, Tensor], layout: str, options: Mapping[str, str]) -> ImportedTask | None:
    """The head of a fine-tuned file as the task that computes the same; None for files without one.

    Sizes come from shapes. A head on mean and maximum side by side is that of ScanObjectNN, one on their sum that of
    ModelNet40; group sizes and local radius are those of the published fine-tuning unless an option says otherwise.
    """
    given: dict[str, Any] = {}
    for name in ("neighbours", "local_radius"):
        if name in options:
            given[name] = _three(name, options[name], float if name == "local_radius" else int)
    if layout == CLASS_LAYOUT and "classifier.8.weight" in head:
        is_wide = head["classifier.0.weight"].shape[1] == 2 * len(head["norm.weight"])
        config = replace(
            SCANOBJECT_SHAPE_CLASS if is_wide else PUBLISHED_SHAPE_CLASS,
            hidden_widths=(len(head["classifier.0.bias"]), len(head["classifier.4.bias"])),
            **given,
        )
        target, outputs = TargetSpec("class", "class"), len(head["classifier.8.bias"])
        return ImportedTask(name="shape-class", config=config, target=target, outputs=outputs, state=head)
    if layout != PARTS_LAYOUT or "points.4.weight" not in head:
        return None
    category = head.get("category.0.weight")
    parts = PartSegmentationConfig(
        propagation_widths=(len(head["propagations.0.layers.0.bias"]), len(head["propagations.0.layers.1.bias"])),
        head_widths=(len(head["points.1.bias"]), len(head["points.2.bias"]), len(head["points.3.bias"])),
        categories=0 if category is None else category.shape[1],
    )
    outputs = len(head["points.4.bias"])
    names = part_names() if outputs == len(part_names()) else ()
    target = TargetSpec("part", "class", "point", names=names)
    state = {name: tensor for name, tensor in head.items() if not name.startswith("norm.")}
    return ImportedTask(name="part-segmentation", config=parts, target=target, outputs=outputs, state=state)


def encoder_config(state: Mapping[str, Tensor], options: Mapping[str, str]) -> PointEncoderConfig:
    """Settings from shapes (plain keys) and options.

    Raises:
        CheckpointError: an option that does not exist or cannot be read.
    """
    for name in options:
        if name not in OPTIONS:
            raise CheckpointError(f"no option {name!r} for these weights", known=", ".join(OPTIONS))
    levels = sorted({int(m[1]) for key in state if (m := re.match(r"h_encoder\.token_embed\.(\d+)\.", key))})
    if levels != [0, 1, 2]:
        raise CheckpointError(f"the file has token levels {levels}", expected="0, 1 and 2")
    embed = "h_encoder.token_embed.{}.second_conv.3.bias"
    depths = [1 + max(_blocks(state, level), default=-1) for level in levels]
    if min(depths) == 0:
        raise CheckpointError(
            f"the file has {depths} transformer blocks on its three levels", meaning="a part of the encoder is missing"
        )
    first = "h_encoder.token_embed.0."
    width = len(state["h_encoder.encoder_blocks.0.blocks.0.mlp.fc2.bias"])
    config = replace(
        PUBLISHED_ENCODER,
        widths=_three("widths", ",".join(str(len(state[embed.format(level)])) for level in levels), int),
        depths=_three("depths", ",".join(map(str, depths)), int),
        mlp_ratio=len(state["h_encoder.encoder_blocks.0.blocks.0.mlp.fc1.bias"]) / width,
        point_widths=(len(state[first + "first_conv.0.bias"]), len(state[first + "first_conv.3.bias"])),
        joint_width=len(state[first + "second_conv.0.bias"]),
        token_norms="h_encoder.encoder_norms.2.weight" in state,
        pooling=_pooling(state, options),
        heads=_heads(options),
    )
    changes: dict[str, Any] = {}
    for name in ("groups", "neighbours", "local_radius"):
        if name in options:
            changes[name] = _three(name, options[name], float if name == "local_radius" else int)
    return replace(config, **changes)


def _heads(options: Mapping[str, str]) -> int:
    text = options.get("heads", str(PUBLISHED_ENCODER.heads))
    if not (text.isdigit() and int(text) > 0):
        raise CheckpointError(f"heads={text!r} is not a positive number", hint=f"heads={PUBLISHED_ENCODER.heads}")
    return int(text)


def _pooling(state: Mapping[str, Tensor], options: Mapping[str, str]) -> Pooling:
    """As the option says, or as published: I2P-MAE takes the maximum, the others mean and maximum."""
    for known in POOLINGS:
        if options.get("pooling") == known:
            return known
    if "pooling" in options:
        raise CheckpointError(f"pooling={options['pooling']!r} is unknown", expected=", ".join(POOLINGS))
    if "cls_head_finetune.0.weight" in state and "norm.weight" in state:
        is_wide = state["cls_head_finetune.0.weight"].shape[1] == 2 * len(state["norm.weight"])
        return "mean-max" if is_wide else "mean-plus-max"
    return "mean-plus-max" if layout_of(state) == "point-m2ae pre-training" else "max"


def _three(name: str, text: str, kind: type) -> tuple[Any, Any, Any]:
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise CheckpointError(f"{name}={text!r} is not three numbers", hint=f"{name}=512,256,64") from error
    if len(values) != 3:
        raise CheckpointError(f"{name}={text!r} is not three numbers", hint=f"{name}=512,256,64")
    return values[0], values[1], values[2]


def _blocks(state: Mapping[str, Tensor], level: int) -> list[int]:
    pattern = re.compile(rf"h_encoder\.encoder_blocks\.{level}\.blocks\.(\d+)\.")
    return [int(match[1]) for key in state if (match := pattern.match(key))]


def _outside_encoder(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Published name -> ours of everything beside encoder and teacher."""
    others = {key: value for key, value in state.items() if key.startswith(OUTSIDE_ENCODER)}
    _, report = KEYS.apply(others, source="", target="")
    return report.renamed


def below(state: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Entries under ``part.``, without it."""
    prefix = part + "."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _add_notes(report: LoadReport, layout: str, config: PointEncoderConfig, options: Mapping[str, str]) -> None:
    report.notes.append(f"layout: {layout}; widths {config.widths}, depths {config.depths}")
    assumed = [f"{name}={getattr(config, name)}" for name in ("groups", "neighbours", "heads") if name not in options]
    if assumed:
        report.notes.append("shapes cannot tell, published values taken: " + ", ".join(assumed))
