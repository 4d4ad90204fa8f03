"""Published Alice layouts: training checkpoints, extracted student and teacher weights.

Source: `alibaba-damo-academy/alice` (the repository holds no weights; layouts are read from its code). A training file
has ``student`` (keys begin with ``module.``), ``teacher``, centres and an argparse namespace, which core accepts on
request without running anything. Sizes come from shapes; the crop edge does not: the last stage's window is taken to
cover its map, as published, unless ``crop_edge=N`` says otherwise. The position table is in no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from repcore.checkpoints.imported import Imported
from repcore.checkpoints.keymap import Drop, KeyMap, Rename
from repcore.errors import CheckpointError
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import VolumeConfig
from repcore_medical3d.encoders.nnformer import NAME, STAGES, NnFormer
from repcore_medical3d.encoders.nnformer_blocks import relative_index
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

DOWN, UP = "backbone.model_down.", "backbone.decoder."
STEM = (
    ("proj1.conv1", "proj1.norm1"),
    ("proj1.conv2", "proj1.norm2"),
    ("proj2.conv1", "proj2.norm1"),
    ("proj2.conv2", ""),
)


def _stem_rules() -> list[Rename]:
    rules = []
    for number, (convolution, norm) in enumerate(STEM):
        old_norm = f"{DOWN}patch_embed.{norm}" if norm else f"{DOWN}patch_embed.norm"
        rules.append(
            Rename(f"{DOWN}patch_embed.{convolution}.{{part}}", f"encoder.stem.convolutions.{number}.{{part}}")
        )
        rules.append(Rename(f"{old_norm}.{{part}}", f"encoder.stem.norms.{number}.{{part}}"))
    return rules


def _block_rules(old: str, new: str) -> list[Rename]:
    return [
        Rename(f"{old}.norm1.{{part}}", f"{new}.norm1.{{part}}"),
        Rename(f"{old}.norm2.{{part}}", f"{new}.norm2.{{part}}"),
        Rename(f"{old}.attn.qkv.{{part}}", f"{new}.attention.project_in.{{part}}"),
        Rename(f"{old}.attn.proj.{{part}}", f"{new}.attention.project_out.{{part}}"),
        Rename(f"{old}.attn.relative_position_bias_table", f"{new}.attention.position_bias"),
        Rename(f"{old}.attn.relative_position_index", f"{new}.attention.relative_index"),
        Rename(f"{old}.mlp.fc1.{{part}}", f"{new}.mlp.0.{{part}}"),
        Rename(f"{old}.mlp.fc2.{{part}}", f"{new}.mlp.2.{{part}}"),
    ]


def _decoder_rules() -> list[Rename]:
    """Published stage 0 is the finest, ours the coarsest."""
    rules = []
    for old in range(STAGES - 1):
        new = STAGES - 2 - old
        level = f"{UP}layers.{old}"
        rules += [
            Rename(f"{level}.Upsample.norm.{{part}}", f"encoder.upsamples.{new}.norm.{{part}}"),
            Rename(f"{level}.Upsample.up.{{part}}", f"encoder.upsamples.{new}.expansion.{{part}}"),
            Rename(
                f"{level}.blocks.0.attn.kv.{{part}}", f"encoder.decoder_stages.{new}.0.attention.project_in.{{part}}"
            ),
            *_block_rules(f"{level}.blocks.{{j}}", f"encoder.decoder_stages.{new}.{{j}}"),
        ]
    return rules


KEYS = KeyMap(
    (
        Rename(f"{DOWN}mask_token", "encoder.mask_token"),
        *_stem_rules(),
        *_block_rules(f"{DOWN}layers.{{i}}.blocks.{{j}}", "encoder.stages.{i}.{j}"),
        Rename(f"{DOWN}layers.{{i}}.downsample.norm.{{part}}", "encoder.downsamples.{i}.norm.{part}"),
        Rename(f"{DOWN}layers.{{i}}.downsample.reduction.{{part}}", "encoder.downsamples.{i}.reduction.{part}"),
        Rename(f"{DOWN}norm{{i}}.{{part}}", "encoder.norms.{i}.{part}"),
        *_decoder_rules(),
        Rename("backbone.final.0.up.{part}", "encoder.reconstruction.{part}"),
        Drop("backbone.final.1.up.{part}", "reconstruction of a coarser stage, which no loss uses"),
        Drop("backbone.final.2.up.{part}", "reconstruction of a coarser stage, which no loss uses"),
        Rename("head.mlp.{i}.{part}", "head.trunk.mlp.{i}.{part}"),
        Rename("head.last_layer.{part}", "head.trunk.last_layer.{part}"),
        Rename("head.last_layer2.{part}", "head.token_layer.{part}"),
        Rename("head.mlp3.{part}", "head.encoder_projection.{part}"),
        Rename("head.mlp4.{part}", "head.decoder_projection.{part}"),
    )
)
ATTENTION = "Cross_Att.MH_attn."
CASA_KEYS = KeyMap(
    (
        Rename(f"{ATTENTION}w_qs.{{part}}", "alignment.query.{part}"),
        Rename(f"{ATTENTION}w_ks.{{part}}", "alignment.key.{part}"),
        Rename(f"{ATTENTION}w_vs.{{part}}", "alignment.value.{part}"),
        Rename(f"{ATTENTION}fc.{{part}}", "alignment.out.{part}"),
        Rename(f"{ATTENTION}layer_norm.{{part}}", "alignment.attention_norm.{part}"),
        Rename("Cross_Att.pos_ffn.w_1.{part}", "alignment.expand.{part}"),
        Rename("Cross_Att.pos_ffn.w_2.{part}", "alignment.contract.{part}"),
        Rename("Cross_Att.pos_ffn.layer_norm.{part}", "alignment.mlp_norm.{part}"),
        *(
            Drop(f"projection_{name}.{{part}}", "built and never called")
            for name in ("student", "teacher", "student_out", "teacher_out")
        ),
    )
)
MARKS = ("patch_embed.proj1.conv1.weight", "layers.0.blocks.0.attn.relative_position_bias_table")


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as the training checkpoint of a teacher has them: without ``module.``, with ``backbone.``."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    if any(name.startswith("model_down.") for name in plain):
        plain = {
            name if name.startswith(("head.", "backbone.")) else f"backbone.{name}": value
            for name, value in plain.items()
        }
    return plain


def sniff(keys: frozenset[str]) -> float:
    """1 for the nnFormer-shaped backbone with Alice's names, with or without prefixes."""
    ends = ["model_down." + mark for mark in MARKS]
    return 1.0 if all(any(key.endswith(end) for key in keys) for end in ends) else 0.0


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """Published tensors into an encoder that computes the same.

    Args:
        state: student or teacher, with or without ``module.`` and ``backbone.``.
        source: for messages.
        options: ``crop_edge``.

    Raises:
        CheckpointError: keys or shapes that are not of this system.
    """
    for name in options:
        if name != "crop_edge":
            raise CheckpointError(f"no option {name!r} for Alice weights", known="crop_edge")
    plain = plain_names(state)
    config = encoder_config(plain, source, options)
    encoder = NnFormer(config)
    expected = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    given = {name: value for name, value in plain.items() if name.startswith("backbone.")}
    ours, report = KEYS.apply(
        given, source=source.name, target=NAME, expected=expected,
        may_miss=("encoder.positions", "encoder.mask_token", "encoder.reconstruction.*"),
    )  # fmt: skip
    heads, head_report = KEYS.apply(
        {name: value for name, value in plain.items() if name.startswith("head.")}, source=source.name, target=NAME
    )
    report.renamed.update(head_report.renamed)
    unknown = [name for name in plain if not name.startswith(("backbone.", "head."))]
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} tensors of {source.name} have no place", unexpected=", ".join(unknown[:6])
        )
    report.notes.append(
        "the position table is in no published file: a sinusoid stands in for it, and features differ by that much"
    )
    report.notes.append(f"cubes of {config.crop_edge} voxels (option crop_edge=N for another size)")
    complete = {**expected, **ours}
    volume_config = VolumeConfig(spacing="native", intensity="hu-window", crop_edge=int(config.crop_edge or 0))
    return Imported(
        encoder_config=config,
        state={name.removeprefix("encoder."): value for name, value in complete.items()},
        report=report,
        preprocessor=VolumePreprocessor(volume_config),
        preprocessor_name="medical3d/volumes",
        preprocessor_config=volume_config,
        heads={"objective": heads} if heads else {},
        notices="Weights in the layout of alibaba-damo-academy/alice (Apache-2.0).",
    )


def encoder_config(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> NnFormerConfig:
    """Settings read from shapes and the stored relative index.

    Raises:
        CheckpointError: a tensor that tells a size is missing.
    """
    tables = [f"{DOWN}layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in range(STAGES)]
    missing = [name for name in (*tables, f"{DOWN}norm0.weight") if name not in state]
    if missing:
        raise CheckpointError(f"{source.name} lacks {', '.join(missing[:3])}", meaning="it is no Alice backbone")
    windows = tuple((round(float(len(state[name])) ** (1 / 3)) + 1) // 2 for name in tables)
    pattern = re.compile(re.escape(DOWN) + r"layers\.(\d+)\.blocks\.(\d+)\.")
    found = [(int(match[1]), int(match[2])) for name in state if (match := pattern.match(name))]
    depths = tuple(1 + max(block for stage, block in found if stage == number) for number in range(STAGES))
    edge = options.get("crop_edge", str(windows[-1] * 2**STAGES))
    if not edge.isdigit():
        raise CheckpointError(f"crop_edge={edge!r} is not a number", hint="crop_edge=64")
    wide = int(windows.index(max(windows)))
    index = state.get(tables[wide].replace("bias_table", "index"))
    is_legacy = index is not None and not torch.equal(index.long(), relative_index(windows[wide]))
    width = int(state[f"{DOWN}norm0.weight"].shape[0])
    hidden = int(state[f"{DOWN}layers.0.blocks.0.mlp.fc1.weight"].shape[0])
    return NnFormerConfig(
        crop_edge=int(edge),
        input_channels=int(state[f"{DOWN}patch_embed.proj1.conv1.weight"].shape[1]),
        width=width,
        depths=depths,
        heads=tuple(int(state[name].shape[1]) for name in tables),
        windows=windows,
        mlp_ratio=hidden / width,
        use_qkv_bias=f"{DOWN}layers.0.blocks.0.attn.qkv.bias" in state,
        legacy_relative_index=is_legacy,
    )
