"""2D teachers from every kind of file, and published weights in every layout with full key reports."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from repcore.errors import CheckpointError
from repcore_pointcloud.checkpoints.i2p_mae import KEYS, convert, sniff
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, ShapeClassConfig
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.examples.shapes import batch, masked_points, point_encoder
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints
from repcore_pointcloud.teachers.build import build_teacher
from repcore_pointcloud.teachers.classical import ClassicalTeacher
from repcore_pointcloud.teachers.clip_files import OPENAI_KEYS, read_teacher
from repcore_pointcloud.teachers.random_features import RandomTeacher
from repcore_pointcloud.teachers.vision_transformer import IMAGENET, ClipTeacher, VisionSizes

OPTIONS = {"groups": "24,12,6", "neighbours": "6,4,3", "heads": "2"}


def depth(number: int = 2, size: int = 32) -> Tensor:
    image = torch.randn(number, size, size, generator=torch.Generator().manual_seed(0))
    return image * (torch.rand(number, size, size, generator=torch.Generator().manual_seed(1)) < 0.3)


# ---------------------------------------------------------------------------------------------- teachers


@pytest.mark.parametrize("teacher", [ClassicalTeacher(), RandomTeacher(9, 0)])
@pytest.mark.parametrize("size", [64, 224])
def test_built_in_teachers_give_finite_maps_also_of_empty_images(teacher: nn.Module, size: int) -> None:
    images = depth(3, size)
    teacher.requires_grad_(False)
    images[1] = 0.0
    maps = teacher(images)
    assert maps.features.shape == (3, teacher.channels, 14, 14)
    assert maps.saliency.shape == (3, 14, 14)
    assert torch.isfinite(maps.features).all()
    assert torch.isfinite(maps.saliency).all()
    assert float(maps.saliency[0].std()) > float(maps.saliency[1].std())


def test_the_classical_teacher_sees_edges_where_they_are() -> None:
    images = torch.zeros(1, 112, 112)
    images[:, 40:72, 16:40] = 1.0
    saliency = ClassicalTeacher()(images).saliency[0]
    assert float(saliency[5, 2]) > 5 * float(saliency[5, 11])


def test_a_teacher_is_frozen_named_and_not_part_of_the_model() -> None:
    first, other = (build_teacher(replace(masked_points()[0], teacher="random", teacher_seed=s)) for s in (0, 1))
    assert first is not None
    assert other is not None
    assert first.identity()["name"] == "random:32:0"
    assert first.identity() != other.identity()
    assert not list(first.parameters())
    assert not first.module.training


def test_the_user_is_told_which_teacher_is_active(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build_teacher(MaskedPointsConfig())
    assert "teacher: classical" in caplog.text
    assert "not the paper's" in caplog.text


def clip_state() -> dict[str, Tensor]:
    """A tiny tower under OpenAI's names with random values."""
    sizes = VisionSizes(width=64, depth=2, heads=1, patch=8, image=32, outputs=5, hidden=96)
    generator = torch.Generator().manual_seed(0)
    blank = ClipTeacher(sizes, image_norm=IMAGENET).state_dict()
    ours = {name: torch.randn(one.shape, generator=generator) * 0.3 for name, one in blank.items()}
    return {f"visual.{name}": one.contiguous() for name, one in OPENAI_KEYS.reverse(ours).items()}


@pytest.mark.parametrize("layout", ["openai", "half", "authors", "scripted"])
def test_clip_is_read_from_every_kind_of_file(tmp_path: Path, layout: str) -> None:
    state = clip_state()
    expected = None
    path = tmp_path / "clip.pt"
    if layout == "scripted":

        class Whole(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x

        root = Whole()
        for name, tensor in state.items():  # nested modules, as in the published archive
            place: nn.Module = root
            *parts, last = name.split(".")
            for part in parts:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = getattr(place, part)
            place.register_parameter(last, nn.Parameter(tensor))
        torch.jit.script(root).save(str(path))
    elif layout == "authors":
        wrapped = {f"module.clip_model.{name}": one for name, one in state.items()}
        torch.save({"base_model": {**wrapped, "module.mask_token": torch.zeros(1, 4)}, "epoch": 3}, path)
    else:
        torch.save({name: one.half() for name, one in state.items()} if layout == "half" else state, path)
    expected = reference_tower(state, depth())
    maps = read_teacher(path, IMAGENET)(depth())
    tolerance = 0.05 if layout == "half" else 1e-4  # 11 bits of mantissa in every weight
    assert torch.allclose(maps.features, expected[0], atol=tolerance)
    assert torch.allclose(maps.saliency, expected[1], atol=tolerance)


def reference_tower(state: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The published form: three equal channels, torch's own multi-head attention, all of its weights."""
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in IMAGENET)
    image = (torch.sigmoid(images)[:, None].expand(-1, 3, -1, -1) - mean) / deviation
    get = {name.removeprefix("visual."): one for name, one in state.items()}
    hidden = nn.functional.conv2d(image, get["conv1.weight"], stride=8).flatten(2).transpose(1, 2)
    hidden = torch.cat([get["class_embedding"].expand(len(hidden), 1, -1), hidden], 1) + get["positional_embedding"]

    def norm(values: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(values, (64,), get[f"{name}.weight"], get[f"{name}.bias"])

    hidden = norm(hidden, "ln_pre")
    attention = torch.zeros(())
    for number in range(2):
        at = f"transformer.resblocks.{number}."
        layer = nn.MultiheadAttention(64, 1, batch_first=True)
        layer.load_state_dict({name.removeprefix(f"{at}attn."): v for name, v in get.items() if f"{at}attn." in name})
        entering = norm(hidden, at + "ln_1")
        mixed, attention = layer(entering, entering, entering, need_weights=True)
        hidden = hidden + mixed
        inner = nn.functional.linear(norm(hidden, at + "ln_2"), get[at + "mlp.c_fc.weight"], get[at + "mlp.c_fc.bias"])
        inner = inner * torch.sigmoid(1.702 * inner)
        hidden = hidden + nn.functional.linear(inner, get[at + "mlp.c_proj.weight"], get[at + "mlp.c_proj.bias"])
    features = norm(hidden[:, 1:], "ln_post") @ get["proj"]
    saliency = attention[:, 0, 1:].unflatten(1, (4, 4))
    return features.transpose(1, 2).unflatten(2, (4, 4)).detach(), saliency.detach()


def test_a_transformers_folder_gives_what_transformers_computes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8,
        projection_dim=7,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in IMAGENET)
    image = (torch.sigmoid(depth())[:, None].expand(-1, 3, -1, -1) - mean) / deviation
    with torch.no_grad():
        out = model(pixel_values=image, output_attentions=True)
        maps = read_teacher(tmp_path, IMAGENET)(depth())
        patches = model.vision_model.post_layernorm(out.last_hidden_state[:, 1:])
        features = model.visual_projection(patches)
    assert torch.allclose(maps.features.flatten(2).transpose(1, 2), features, atol=1e-5)
    assert torch.allclose(maps.saliency.flatten(1), out.attentions[-1].mean(1)[:, 0, 1:], atol=1e-6)


def test_any_other_vision_transformer_goes_through_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3, image_size=32, patch_size=8,
        num_channels=3,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    teacher = read_teacher(tmp_path, IMAGENET)
    maps = teacher(depth())
    assert maps.features.shape == (2, 24, 4, 4)
    assert maps.saliency.shape == (2, 4, 4)


def test_files_without_a_tower_are_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="no CLIP vision tower"):
        read_teacher(tmp_path / "a.pt", IMAGENET)
    torch.save({"visual.conv1.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="convolutional"):
        read_teacher(tmp_path / "b.pt", IMAGENET)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    save_file({"vision_model.x": torch.zeros(1)}, tmp_path / "c" / "model.safetensors")
    with pytest.raises(CheckpointError, match="visual_projection"):
        read_teacher(tmp_path / "c", IMAGENET)


# ------------------------------------------------------------------------------------------- checkpoints


def published_state(*, teacher: str = "random", encoder_norms: bool = True) -> dict[str, Tensor]:
    """Random weights of the tiny objective under the published names and shapes."""
    torch.manual_seed(0)
    encoder = HierarchicalPointEncoder(replace(point_encoder()[0], token_norms=encoder_norms))
    objective = MaskedPoints(MaskedPointsConfig(teacher=teacher), encoder)  # type: ignore[arg-type]
    named = {
        name if name.startswith("encoder.") else f"objective.{name}": one
        for name, one in objective.state_dict().items()
        if not name.startswith("target_norm")
    }
    state = KEYS.reverse(named)
    return {name: _as_convolution(name, one) for name, one in state.items()}


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    is_convolution = any(part in name for part in ("_conv.", "net", "rec_head")) and tensor.ndim == 2
    return tensor[:, :, None].contiguous() if is_convolution else tensor


@pytest.mark.parametrize("prefix", ["", "module."])
def test_pre_training_files_load_completely(prefix: str) -> None:
    state = {prefix + name: one for name, one in published_state().items()}
    state |= {f"{prefix}clip_model.{name}": one for name, one in clip_state().items()}
    assert sniff(frozenset(state)) == 1.0
    imported = convert(state, Path("pre-train.pth"), OPTIONS)
    assert imported.encoder_config.widths == (12, 18, 24)
    assert imported.encoder_config.exclude_origin == 1e-3
    assert len(imported.report.renamed) + len(imported.report.dropped) == len(state)
    assert all(name.removeprefix("module.").startswith("clip_model.") for name in imported.report.dropped)
    encoder = HierarchicalPointEncoder(imported.encoder_config)
    encoder.load_state_dict(imported.state)
    objective = MaskedPoints(MaskedPointsConfig(teacher="random"), encoder)
    missing, unexpected = objective.load_state_dict(imported.heads["objective"], strict=False)
    assert not unexpected
    assert all(name.startswith(("encoder.", "target_norm.")) for name in missing)
    torch.manual_seed(0)
    original = HierarchicalPointEncoder(replace(point_encoder()[0], exclude_origin=1e-3)).eval()
    assert torch.equal(encoder.eval()(batch()).pooled, original(batch()).pooled)


def test_point_m2ae_files_have_one_head_and_sum_mean_and_maximum() -> None:
    state = published_state(teacher="none")
    for part in ("weight", "bias"):
        state[f"rec_head.{part}"] = state.pop(f"rec_head_3d.{part}")
    imported = convert(state, Path("m2ae.pth"), OPTIONS)
    assert imported.encoder_config.pooling == "mean-plus-max"
    assert "layout: point-m2ae pre-training" in imported.report.text()


@pytest.mark.parametrize("wide", [False, True])
def test_fine_tuned_files_bring_their_head(wide: bool) -> None:
    state = {n: one for n, one in published_state(encoder_norms=False).items() if n.startswith("h_encoder.")}
    from repcore.specs import TargetSpec
    from repcore_pointcloud.tasks.shape_class import ShapeClassTask

    encoder = HierarchicalPointEncoder(replace(point_encoder()[0], token_norms=False))
    config = ShapeClassConfig(pooling="mean-max" if wide else "mean-plus-max", hidden_widths=(10, 8))
    task = ShapeClassTask(config, encoder, TargetSpec("class", "class", names=("a", "b", "c")))
    head = {f"task.{n}": one for n, one in task.state_dict().items() if n.startswith(("norm.", "classifier."))}
    state |= KEYS.reverse(head)
    imported = convert(state, Path("modelnet40.pth"), OPTIONS)
    assert not imported.encoder_config.token_norms
    assert imported.encoder_config.pooling == ("mean-max" if wide else "mean-plus-max")
    missing, unexpected = task.load_state_dict(imported.heads["task"], strict=False)
    assert not unexpected
    assert not any(name.startswith(("norm.", "classifier.")) for name in missing)


def test_wrong_files_and_options_are_named() -> None:
    state = published_state()
    with pytest.raises(CheckpointError, match="no h_encoder tensors"):
        convert({"module.fc.weight": torch.zeros(1)}, Path("x.pth"), {})
    with pytest.raises(CheckpointError, match="no place"):
        convert({**state, "h_encoder.extra.weight": torch.zeros(1)}, Path("x.pth"), OPTIONS)
    for options, words in (
        ({"group": "1"}, "no option 'group'"),
        ({"groups": "64,32"}, "three numbers"),
        ({"groups": "a,b,c"}, "three numbers"),
        ({"pooling": "median"}, "median"),
    ):
        with pytest.raises(CheckpointError, match=words):
            convert(state, Path("x.pth"), options)
    lacking = {name: one for name, one in state.items() if ".encoder_blocks.1." not in name}
    with pytest.raises(CheckpointError, match="part of the encoder is missing"):
        convert(lacking, Path("x.pth"), OPTIONS)
