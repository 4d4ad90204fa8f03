"""Peers' SwinUNETR weights: MONAI's self-supervised ``model_swinvit.pt``, VoCo, and whole SwinUNETR files.

Source: Project-MONAI/research-contributions (SwinUNETR pre-training), Luffy03/VoCo; layouts are read from their code.
The encoder-only file names linear layers ``fc1`` and ``fc2`` and has no ``swinViT.`` in front; VoCo writes
``swin_vit``. Cubes are not in shapes: ``crop_edge=N``, a multiple of 32, default 96. The last layer of a whole file
becomes the task ``medical3d/segmentation`` when it is said that its outputs are classes (softmax): ``kind=class``;
some published files (BraTS) give overlapping regions instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.checkpoints.keymap import Drop, KeyMap, Rename
from repcore.errors import CheckpointError
from repcore.specs import TargetSpec
from repcore_medical3d.configs.nnformer import SwinUnetrConfig
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.configs.volumes import VolumeConfig
from repcore_medical3d.encoders.swin_monai import SWIN_NAME, SwinUnetr
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

VIT, LAST = "swinViT.", "out.conv.conv."
DECODER = ("encoder1", "encoder2", "encoder3", "encoder4", "encoder10", "decoder1", "decoder2", "decoder3", "decoder4",
           "decoder5")  # fmt: skip
HEADS = ("rotation_head", "contrastive_head", "conv", "student", "teacher", "backbone_heads", "proj_head")
KEYS = KeyMap(
    (
        Rename("out.conv.conv.{part}", "task.classifier.{part}"),
        Drop("mask_token", "of another pre-training"),
        Drop("norm.{part}", "norm that SwinUNETR does not have"),
        *(Drop(f"{name}.{{rest*}}", "head of another pre-training") for name in HEADS),
        Rename(f"{VIT}{{rest*}}.mlp.fc1.{{part}}", f"network.{VIT}{{rest*}}.mlp.linear1.{{part}}"),
        Rename(f"{VIT}{{rest*}}.mlp.fc2.{{part}}", f"network.{VIT}{{rest*}}.mlp.linear2.{{part}}"),
        Rename(f"{VIT}{{rest*}}", f"network.{VIT}{{rest*}}"),
        *(Rename(f"{name}.{{rest*}}", f"network.{name}.{{rest*}}") for name in DECODER),
    )
)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as SwinUNETR has them: without ``module.``, the transformer's with ``swinViT.``."""
    plain = {}
    for name, value in state.items():
        short = name.removeprefix("module.").replace("swin_vit.", VIT)
        is_bare = short.startswith("patch_embed.") or re.match(r"layers\dc?\.", short) is not None
        plain[VIT + short if is_bare else short] = value
    return plain


def sniff(keys: frozenset[str]) -> float:
    """1 for MONAI's Swin transformer with any of the prefixes."""
    ends = ("patch_embed.proj.weight", "layers1.0.blocks.0.attn.relative_position_bias_table")
    return 1.0 if all(any(key.endswith(end) for key in keys) for end in ends) else 0.0


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """Published tensors into our wrapper of SwinUNETR; a decoder that the file lacks is freshly initialised.

    Args:
        state: keys with any of the prefixes.
        source: for messages.
        options: ``crop_edge``; ``kind=class`` where the last layer gives classes of voxels.

    Raises:
        CheckpointError: keys or shapes that are not of this network.
    """
    for name, value in options.items():
        if name not in ("crop_edge", "kind"):
            raise CheckpointError(f"no option {name!r} for SwinUNETR weights", known="crop_edge, kind")
        if name == "kind" and value != "class":
            raise CheckpointError(f"kind={value!r}: only classes of voxels become a task", hint="kind=class")
    plain = plain_names(state)
    config = encoder_config(plain, source, options)
    expected = SwinUnetr(config).state_dict()
    last = {f"task.classifier.{one}": plain[name] for one in ("weight", "bias") if (name := f"{LAST}{one}") in plain}
    ours, report = KEYS.apply(
        plain, source=source.name, target=SWIN_NAME, expected={**expected, **last},
        may_miss=("network.encoder*", "network.decoder*", "network.out*"),
    )  # fmt: skip
    report.notes.append(f"cubes of {config.crop_edge} voxels (option crop_edge=N for another size)")
    volumes = VolumeConfig(
        spacing="fixed", spacing_mm=(1.5, 1.5, 1.5), intensity="hu-window", window_hu=(-175.0, 250.0),
        crop_edge=int(config.crop_edge or 0),
    )  # fmt: skip
    head = {name.removeprefix("task."): ours.pop(name) for name in last}
    task, missing = segmentation_task(head, options)
    report.notes.append("preprocessing of MONAI and VoCo for CT: RAS, 1.5 mm, -175 to 250 HU")
    return Imported(
        encoder_config=config,
        state={**expected, **ours},
        report=report,
        preprocessor=VolumePreprocessor(volumes),
        preprocessor_name="medical3d/volumes",
        preprocessor_config=volumes,
        task=task,
        task_missing=missing,
        notices="Weights of MONAI or VoCo; see the licence of their source.",
    )


def segmentation_task(head: Mapping[str, Tensor], options: Mapping[str, str]) -> tuple[ImportedTask | None, str]:
    """The last layer (K, width, 1, 1, 1) as a task, or why it cannot be one."""
    outputs = len(head.get("classifier.bias", ()))
    if outputs < 2:  # one output redraws the cube
        return None, ""
    if options.get("kind") is None:
        return None, (
            f"the file does not say whether its {outputs} outputs are classes or overlapping regions: import it with "
            "--option kind=class, and it predicts"
        )
    weight = head["classifier.weight"].transpose(0, 1).contiguous()  # as of a transposed convolution
    config = SegmentationTaskConfig(tokens="stage0", width=int(weight.shape[0]), values=tuple(range(outputs)))
    target = TargetSpec("segmentation", "class", level="voxel")
    state = {"classifier.weight": weight, "classifier.bias": head["classifier.bias"]}
    return ImportedTask(name="medical3d/segmentation", config=config, target=target, outputs=outputs, state=state), ""


def encoder_config(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> SwinUnetrConfig:
    """Settings read from shapes.

    Raises:
        CheckpointError: a tensor that tells a size is missing.
    """
    tables = [f"{VIT}layers{stage}.0.blocks.0.attn.relative_position_bias_table" for stage in (1, 2, 3, 4)]
    missing = [name for name in (*tables, f"{VIT}patch_embed.proj.weight") if name not in state]
    if missing:
        raise CheckpointError(f"{source.name} lacks {missing[0]}", meaning="it is no Swin transformer of MONAI")
    edge = options.get("crop_edge", "96")
    if not edge.isdigit():
        raise CheckpointError(f"crop_edge={edge!r} is not a number", hint="crop_edge=96")
    stem = state[f"{VIT}patch_embed.proj.weight"]
    pattern = re.compile(re.escape(VIT) + r"layers(\d)\.0\.blocks\.(\d+)\.")
    found = [(int(match[1]), int(match[2])) for name in state if (match := pattern.match(name))]
    depths = [1 + max(block for stage, block in found if stage == number) for number in (1, 2, 3, 4)]
    heads = [int(state[name].shape[1]) for name in tables]
    return SwinUnetrConfig(
        crop_edge=int(edge),
        input_channels=int(stem.shape[1]),
        width=int(stem.shape[0]),
        depths=(depths[0], depths[1], depths[2], depths[3]),
        heads=(heads[0], heads[1], heads[2], heads[3]),
        window=(round(float(len(state[tables[0]])) ** (1 / 3)) + 1) // 2,
        is_version_2=any(name.startswith(f"{VIT}layers1c.") for name in state),
    )
