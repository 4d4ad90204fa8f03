"""A golden folder of our own making, of other sizes, weights and clouds than the shared one.

What the slow formulas compute (groups, masks, counts, tokens of the encoder, the vector for probes, chamfer, frames of
the views) is stored from them; the rest is what the replay itself gives, and shows that nothing in it is tied to one
size. Altered values must fail.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from repcore.specs import TargetSpec
from repcore.verification.golden import Golden
from repcore.verification.run import verify
from repcore_pointcloud.checkpoints.i2p_mae import KEYS
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig, ShapeClassConfig
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints
from repcore_pointcloud.tasks.shape_class import ShapeClassTask
from repcore_pointcloud.verification.i2p_mae import replay
from tests.pointcloud.slow_i2p_mae import chamfer, encoded, levels_of, visible_on
from tests.pointcloud.test_teachers_and_checkpoints import clip_state

CLOUDS, POINTS, HEADS = 3, 90, 2
GROUPS, NEIGHBOURS, WIDTHS, DEPTHS = (30, 14, 7), (6, 5, 3), (8, 12, 20), (1, 1, 2)
EXCLUDED, CLASSES = 0.02, 5
VISIBLE = [[0, 2, 5], [1, 3, 4], [0, 4, 6]]
EXACT = {"kind": "exact"}
CLOSE = {"kind": "allclose", "rtol": 1e-4, "atol": 1e-5}  # float32 sums in another order
STAGES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "grouping": (["group.*"], EXACT),
    "masks": (["mask.*", "mask_corrected.*", "mask_vis_pad.*"], EXACT),
    "token_counts": (["count.*"], EXACT),
    "projection_parameters": (["proj.view*.pc_min", "proj.view*.grid_size", "proj.view*.offset_xy"], CLOSE),
    "projection_image": (["proj.view0.image_sample0_ch0"], CLOSE),
    "projection_means": (["proj.all.image_mean_per_view"], CLOSE),
    "projection_square_sums": (["proj.all.image_sumsq_per_view"], CLOSE),
    "teacher_features": (["clip.feat_map", "pretrain.eval_bn.target_2d_first8"], CLOSE),
    "teacher_attention": (["clip.cls_attention", "saliency.*"], CLOSE),
    "encoder_tokens_level0": (["pretrain.eval_bn.enc_tokens.0"], {**CLOSE, "valid_rows": "mask_vis_pad.0"}),
    "encoder_tokens_level1": (["pretrain.eval_bn.enc_tokens.1"], {**CLOSE, "valid_rows": "mask_vis_pad.1"}),
    "encoder_decoder": (
        [f"pretrain.eval_bn.{one}" for one in ("enc_tokens.2", "token_*", "decoder_out", "rec_*")], CLOSE,
    ),
    "pretrain_losses": (["pretrain.*.loss_*"], CLOSE),
    "gradient_norms": (["pretrain.train_bn.grad_norm.*"], CLOSE),
    "mask_token_gradient": (["pretrain.train_bn.grad.mask_token"], CLOSE),
    "batch_norm_buffers": (["pretrain.train_bn.after.*"], CLOSE),
    "svm_feature": (["svm.feature"], CLOSE),
    "finetune": (["finetune.logits", "finetune.train_bn_nodropout.logits"], CLOSE),
    "finetune_loss": (["finetune.loss"], CLOSE),
    "chamfer": (["chamfer.l2"], CLOSE),
}  # fmt: skip
NAMED_BEFOREHAND = (  # the replay gives those that the folder asks for
    "pretrain.train_bn.grad_norm.h_encoder.encoder_blocks.1.blocks.0.attn.qkv.weight",
    "pretrain.train_bn.grad_norm.rec_head_2d.weight",
    "pretrain.train_bn.after.h_encoder.token_embed.0.first_conv.1.running_mean",
)


def encoder_config(**changes: Any) -> PointEncoderConfig:
    config = PointEncoderConfig(
        groups=GROUPS, neighbours=NEIGHBOURS, widths=WIDTHS, depths=DEPTHS, heads=HEADS, point_widths=(8, 10),
        joint_width=14, drop_path=0.0, exclude_origin=EXCLUDED,
    )  # fmt: skip
    return replace(config, **changes)


def manifest() -> dict[str, Any]:
    config = {
        "grouping": {
            "groups": GROUPS, "neighbours": NEIGHBOURS, "farthest_point_skips_squared_norm_up_to": EXCLUDED,
        },
        "encoder": {
            "depths": DEPTHS, "widths": WIDTHS, "attention_heads": HEADS, "mlp_ratio": 4, "norm_epsilon": 1e-5,
            "batch_norm_epsilon": 1e-5, "batch_norm_momentum": 0.1, "drop_path": 0.0, "local_radius": [0.0] * 3,
            "first_embedding_widths": {"per_point": [8, 10], "joint": [14, 14]},
        },
        "decoder": {"depths": [1, 1], "propagation_neighbours": 3, "propagation_blocks": [1], "drop_path": 0.0},
        "masking": {"ratio": 0.6, "mask_used_by_losses": "corrected"},
        "projection": {
            "views": 3, "image_size": 32, "splat_width": 3, "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        "teacher": {"attention_heads": 1},
        "losses": {"weight_3d": 1.0, "weight_2d": 0.5, "stored_rec_3d_tokens": 11, "stored_rec_2d_tokens": 8},
        "svm": {"pooling": "max"},
        "finetune": {
            "neighbours": [7, 4, 4], "groups": GROUPS, "local_radius": [0.3, 0.6, 1.0], "classes": CLASSES,
            "pooling": "mean_max", "head_hidden_widths": [9, 6], "head_dropout": 0.0, "label_smoothing": 0.1,
            "encoder_norms": False,
        },
    }  # fmt: skip
    stages = [{"name": name, "outputs": outputs, "compare": rule} for name, (outputs, rule) in STAGES.items()]
    return {"format": 1, "system": "pointcloud/i2p-mae", "config": config, "stages": stages}


def published_weights() -> dict[str, Tensor]:
    """Random weights, and statistics of batch norms as after some training, under the published names."""
    torch.manual_seed(11)
    teacher = {f"clip_model.{name}": one for name, one in clip_state().items()}
    objective = MaskedPoints(
        MaskedPointsConfig(teacher="random", teacher_width=5), HierarchicalPointEncoder(encoder_config())
    )
    head = ShapeClassConfig(pooling="mean-max", hidden_widths=(9, 6))
    names = tuple(map(str, range(CLASSES)))
    task = ShapeClassTask(head, HierarchicalPointEncoder(encoder_config()), TargetSpec("class", "class", names=names))
    state = {name: one for name, one in objective.state_dict().items() if not name.startswith("target_norm")}
    named = {name if name.startswith("encoder.") else f"objective.{name}": one for name, one in state.items()}
    tail = {f"task.{n}": one for n, one in task.state_dict().items() if n.startswith(("norm.", "classifier."))}
    found = KEYS.reverse(named) | {f"finetune_head.{name}": one for name, one in KEYS.reverse(tail).items()}
    for name, one in found.items():
        if name.endswith("running_var"):
            one.uniform_(0.5, 2.0)
        elif one.is_floating_point():
            one.add_(0.1 * torch.randn_like(one))
    return {**found, **teacher}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden")
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(CLOUDS, POINTS, 3, generator=generator)
    points = points / points.norm(dim=2).amax(1)[:, None, None]
    hidden = torch.ones(CLOUDS, GROUPS[-1], dtype=torch.uint8)
    for row, shown in zip(hidden, VISIBLE, strict=True):
        row[shown] = 0
    inputs = {
        "points": points, "top_mask": hidden, "finetune_labels": torch.tensor([4, 0, 2]),
        "chamfer.a": torch.randn(4, 6, 3, generator=generator), "chamfer.b": torch.randn(4, 5, 3, generator=generator),
    }  # fmt: skip
    weights = published_weights()
    (path / "manifest.json").write_text(json.dumps(manifest()))
    store(path, "weights", weights)
    store(path, "inputs", inputs)
    store(path, "outputs", {name: torch.zeros(()) for name in NAMED_BEFOREHAND})
    given = {
        name: value for result in replay(Golden.open(path), frozenset()) for name, value in result.produced.items()
    }
    slow = slow_values(weights, points, inputs)
    assert slow.keys() <= given.keys()
    store(path, "outputs", given | slow)
    return path


def store(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    plain = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(plain, folder / f"{name}.safetensors")


@torch.no_grad()
def slow_values(weights: dict[str, Tensor], points: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything that the slow formulas know."""
    clouds = [levels_of(one, GROUPS, NEIGHBOURS, EXCLUDED) for one in points]
    shown = [visible_on(levels, coarse) for levels, coarse in zip(clouds, VISIBLE, strict=True)]
    found: dict[str, Tensor] = {"chamfer.l2": torch.tensor(chamfer(inputs["chamfer.a"], inputs["chamfer.b"]))}
    for number, count in enumerate(GROUPS):
        found[f"group.{number}.centers"] = torch.stack([levels[number].centres for levels in clouds])
        found[f"group.{number}.knn_idx"] = torch.stack([levels[number].members for levels in clouds]).int()
        hidden = torch.tensor([[token not in one[number] for token in range(count)] for one in shown])
        found[f"mask.{number}"] = found[f"mask_corrected.{number}"] = hidden.to(torch.uint8)
    visible = sum(len(one[1]) for one in shown)
    found["count.visible_tokens_level1"] = torch.tensor([visible])
    found["count.masked_tokens_level1"] = torch.tensor([CLOUDS * GROUPS[1] - visible])
    tokens = [encoded(weights, *one, DEPTHS, HEADS) for one in zip(clouds, shown, strict=True)]
    for number in range(3):
        most = max(len(one[number]) for one in tokens)
        padded = [torch.nn.functional.pad(one[number], (0, 0, 0, most - len(one[number]))) for one in tokens]
        found[f"pretrain.eval_bn.enc_tokens.{number}"] = torch.stack(padded)
    every = [visible_on(levels, range(GROUPS[-1])) for levels in clouds]
    whole = [encoded(weights, *one, DEPTHS, HEADS)[-1] for one in zip(clouds, every, strict=True)]
    return found | {"svm.feature": torch.stack([one.amax(0) for one in whole])}


def test_another_size_passes(folder: Path) -> None:
    verdict = verify(replay, folder)
    assert verdict.ok, verdict.text()
    assert verdict.passed == len(STAGES)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("group.1.knn_idx", "grouping"),
        ("pretrain.eval_bn.enc_tokens.1", "encoder_tokens_level1"),
        ("pretrain.train_bn.grad_norm.rec_head_2d.weight", "gradient_norms"),
        ("svm.feature", "svm_feature"),
        ("finetune.logits", "finetune"),
    ],
)
def test_an_altered_value_fails(folder: Path, tmp_path: Path, name: str, stage: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    outputs = load_file(tmp_path / "outputs.safetensors")
    outputs[name].view(-1)[0] += 1
    save_file(outputs, tmp_path / "outputs.safetensors")
    failed = [one.name for one in verify(replay, tmp_path).stages if one.status != "passed"]
    assert failed == [stage]
