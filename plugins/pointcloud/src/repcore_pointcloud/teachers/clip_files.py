"""Reading CLIP vision towers: OpenAI files, authors' checkpoints that carry CLIP, and transformers folders.

Key names: OpenAI ``visual.*`` (``clip_model.visual.*`` inside an I2P-MAE checkpoint) and transformers
``vision_model.*``. TorchScript archives as OpenAI publishes them are read as an archive on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repcore.checkpoints.keymap import Drop, KeyMap, Rename, Stack
from repcore.checkpoints.reading import read_checkpoint
from repcore.errors import CheckpointError, PluginError
from repcore.files import read_object
from repcore_pointcloud.teachers.vision_transformer import HEAD_WIDTH, ClipTeacher, TransformersTeacher, VisionSizes

OPENAI_KEYS = KeyMap(
    (
        Rename("conv1.weight", "patch_weight"),
        Rename("class_embedding", "class_token"),
        Rename("positional_embedding", "positions"),
        Rename("proj", "projection"),
        Rename("ln_pre.{part}", "first_norm.{part}"),
        Rename("ln_post.{part}", "last_norm.{part}"),
        Rename("transformer.resblocks.{i}.ln_1.{part}", "blocks.{i}.attention_norm.{part}"),
        Rename("transformer.resblocks.{i}.ln_2.{part}", "blocks.{i}.feed_forward_norm.{part}"),
        Rename("transformer.resblocks.{i}.attn.in_proj_weight", "blocks.{i}.attention.qkv.weight"),
        Rename("transformer.resblocks.{i}.attn.in_proj_bias", "blocks.{i}.attention.qkv.bias"),
        Rename("transformer.resblocks.{i}.attn.out_proj.{part}", "blocks.{i}.attention.output.{part}"),
        Rename("transformer.resblocks.{i}.mlp.c_fc.{part}", "blocks.{i}.expand.{part}"),
        Rename("transformer.resblocks.{i}.mlp.c_proj.{part}", "blocks.{i}.contract.{part}"),
    )
)
LAYER = "encoder.layers.{i}."
TRANSFORMERS_KEYS = KeyMap(
    (
        Drop("embeddings.position_ids", "counts from 0, recomputed"),
        Rename("embeddings.patch_embedding.weight", "patch_weight"),
        Rename("embeddings.class_embedding", "class_token"),
        Rename("embeddings.position_embedding.weight", "positions"),
        Rename("visual_projection.weight", "projection", transpose=True),
        Rename("pre_layrnorm.{part}", "first_norm.{part}"),
        Rename("post_layernorm.{part}", "last_norm.{part}"),
        Rename(LAYER + "layer_norm1.{part}", "blocks.{i}.attention_norm.{part}"),
        Rename(LAYER + "layer_norm2.{part}", "blocks.{i}.feed_forward_norm.{part}"),
        Stack(tuple(f"{LAYER}self_attn.{one}_proj.{{part}}" for one in "qkv"), "blocks.{i}.attention.qkv.{part}"),
        Rename(LAYER + "self_attn.out_proj.{part}", "blocks.{i}.attention.output.{part}"),
        Rename(LAYER + "mlp.fc1.{part}", "blocks.{i}.expand.{part}"),
        Rename(LAYER + "mlp.fc2.{part}", "blocks.{i}.contract.{part}"),
    )
)
ImageNorm = tuple[tuple[float, ...], tuple[float, ...]]


def read_teacher(path: Path, image_norm: ImageNorm, heads: int | None = None) -> nn.Module:
    """The teacher in a file or folder, in eval mode.

    Args:
        path: a transformers folder (with config.json), or a file with ``visual.*`` keys.
        image_norm: mean and standard deviation of the images.
        heads: attention heads of a file; its width / 64 when left out.

    Raises:
        CheckpointError: nothing there, or no vision tower in it.
        PluginError: a folder of another model than CLIP needs transformers, which is not installed.
    """
    config = path / "config.json"
    if path.is_dir() and config.is_file():
        settings = read_object(config)
        if settings.get("model_type") in ("clip", "clip_vision_model"):
            return _transformers_clip(path, settings, image_norm)
        return _any_transformer(path, image_norm)
    state = _scripted_state(path) if path.is_file() and _is_torchscript(path) else read_checkpoint(path).state
    return clip_from_openai(state, path.name, image_norm, heads)


def clip_from_openai(
    state: Mapping[str, Tensor], source: str, image_norm: ImageNorm, heads: int | None = None
) -> ClipTeacher:
    """A tower from ``visual.*`` keys, with or without a prefix such as ``clip_model.``.

    Raises:
        CheckpointError: no such keys, or a convolutional (ResNet) tower.
    """
    starts = {match[1] for key in state if (match := re.match(r"(.*?\bvisual\.)", key))}
    if not starts:
        raise CheckpointError(
            f"{source} holds no CLIP vision tower", expected="keys such as visual.conv1.weight", got=_some(state)
        )
    prefix = min(starts, key=len)
    tower = {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
    if "class_embedding" not in tower:
        raise CheckpointError(f"{source} holds a convolutional CLIP tower", expected="a vision transformer (ViT-B/16)")
    width, _, patch, _ = tower["conv1.weight"].shape
    side = int((len(tower["positional_embedding"]) - 1) ** 0.5)
    sizes = VisionSizes(
        width=width,
        depth=1 + max(int(key.split(".")[2]) for key in tower if key.startswith("transformer.resblocks.")),
        heads=heads or width // HEAD_WIDTH,
        patch=patch,
        image=side * patch,
        outputs=tower["proj"].shape[1],
        hidden=len(tower["transformer.resblocks.0.mlp.c_fc.bias"]),
    )
    return _filled(ClipTeacher(sizes, image_norm=image_norm), OPENAI_KEYS, tower, source)


def _transformers_clip(folder: Path, settings: Mapping[str, Any], image_norm: ImageNorm) -> ClipTeacher:
    vision = {**settings.get("vision_config", {}), **({} if "vision_config" in settings else settings)}
    defaults = {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 32, "image_size": 224,
        "intermediate_size": 3072,
    }  # fmt: skip  # what transformers leaves out of a file when it is the default
    size = {name: int(vision.get(name, default)) for name, default in defaults.items()}
    state = read_checkpoint(folder).state
    kept = {key.removeprefix("vision_model."): v.float() for key, v in state.items() if key.startswith("vision_model.")}
    if "visual_projection.weight" not in state:
        raise CheckpointError(
            f"{folder} has no visual_projection", expected="CLIPModel or CLIPVisionModelWithProjection"
        )
    kept["visual_projection.weight"] = state["visual_projection.weight"].float()
    sizes = VisionSizes(
        width=size["hidden_size"], depth=size["num_hidden_layers"], heads=size["num_attention_heads"],
        patch=size["patch_size"], image=size["image_size"], outputs=len(kept["visual_projection.weight"]),
        hidden=size["intermediate_size"],
    )  # fmt: skip
    teacher = ClipTeacher(
        sizes, image_norm=image_norm, quick_gelu=vision.get("hidden_act", "quick_gelu") == "quick_gelu"
    )
    return _filled(teacher, TRANSFORMERS_KEYS, kept, folder.name)


def _filled(teacher: ClipTeacher, keys: KeyMap, state: Mapping[str, Tensor], source: str) -> ClipTeacher:
    ours, _ = keys.apply(state, source=source, target="teacher clip-local", expected=teacher.state_dict())
    teacher.load_state_dict(ours)
    return teacher.eval()


def _any_transformer(folder: Path, image_norm: ImageNorm) -> TransformersTeacher:
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise PluginError(
            f"{folder} is no CLIP model, and other vision transformers need transformers",
            hint='pip install "repcore-pointcloud[clip]"',
        ) from error
    try:
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, attn_implementation="eager")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} cannot be loaded by transformers", reason=str(error).splitlines()[0]
        ) from error
    return TransformersTeacher(model.eval(), image_norm)


def _is_torchscript(path: Path) -> bool:
    """A zip archive with code, as ``torch.jit.save`` writes it."""
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _scripted_state(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a TorchScript archive; its code is loaded but never called."""
    try:
        state: Mapping[str, Tensor] = torch.jit.load(str(path), map_location="cpu").state_dict()
    except RuntimeError as error:
        raise CheckpointError(f"{path} is damaged", reason=str(error).splitlines()[0]) from error
    return state


def _some(state: Mapping[str, Tensor]) -> str:
    return ", ".join(list(state)[:4])
