"""A small golden folder of Alice from :mod:`tests.medical3d.slow_alice`: sizes and a seed that the shared one lacks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.medical3d import slow_alice as slow

CURVES: dict[str, Any] = {
    "epochs": 5, "iterations_per_epoch": 4,
    "learning_rate": {"start": 2e-5, "end": 3e-4, "warmup_epochs": 2, "warmup_start": 0.0},
    "weight_decay": {"start": 0.03, "end": 0.3, "warmup_epochs": 0},
    "ema_momentum": {"start": 0.98, "end": 1.0, "warmup_epochs": 0},
}  # fmt: skip


class Drawn:
    """Random weights under published names."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.w: slow.Weights = {}

    def matrix(
        self, name: str, *shape: int, scale: float = 1.0, has_bias: bool = True, wide: int | None = None
    ) -> None:
        fan = math.prod(shape[1:])
        self.w[name + ".weight"] = torch.randn(*shape, generator=self.generator) * scale / math.sqrt(fan)
        if has_bias:
            self.w[name + ".bias"] = 0.1 * torch.randn(wide or shape[0], generator=self.generator)

    def norm(self, name: str, width: int) -> None:
        self.w[name + ".weight"] = 1 + 0.1 * torch.randn(width, generator=self.generator)
        self.w[name + ".bias"] = 0.1 * torch.randn(width, generator=self.generator)

    def block(self, name: str, stage: int, *, is_skip: bool = False) -> None:
        width, window = slow.WIDTHS[stage], slow.WINDOWS[stage]
        self.norm(name + "norm1", width)
        self.norm(name + "norm2", width)
        self.matrix(name + ("attn.kv" if is_skip else "attn.qkv"), (2 if is_skip else 3) * width, width)
        self.matrix(name + "attn.proj", width, width)
        self.matrix(name + "mlp.fc1", slow.RATIO * width, width)
        self.matrix(name + "mlp.fc2", width, slow.RATIO * width)
        rows = (2 * window - 1) ** 3
        self.w[name + "attn.relative_position_bias_table"] = torch.randn(
            rows, slow.HEADS[stage], generator=self.generator
        )
        places = [(i, j, k) for i in range(window) for j in range(window) for k in range(window)]
        index = [[slow.bias_row(window, a, b) for b in places] for a in places]
        self.w[name + "attn.relative_position_index"] = torch.tensor(index)

    def backbone(self, p: str) -> None:
        stem = p + slow.DOWN + "patch_embed."
        narrow = slow.E // 2
        sizes = (("proj1", 1, 1, narrow), ("proj1", 2, narrow, narrow), ("proj2", 1, narrow, slow.E))
        for part, number, wide_in, wide_out in (*sizes, ("proj2", 2, slow.E, slow.E)):
            self.matrix(f"{stem}{part}.conv{number}", wide_out, wide_in, 3, 3, 3)
            is_last = (part, number) == ("proj2", 2)
            self.norm(stem + "norm" if is_last else f"{stem}{part}.norm{number}", wide_out)
        self.w[p + slow.DOWN + "mask_token"] = torch.zeros(1, 1, slow.E)
        for i, width in enumerate(slow.WIDTHS):
            level = f"{p}{slow.DOWN}layers.{i}."
            for j in range(2):
                self.block(f"{level}blocks.{j}.", i)
            if i < 3:
                self.norm(level + "downsample.norm", width)
                self.matrix(level + "downsample.reduction", 2 * width, width, 3, 3, 3)
                up = f"{p}{slow.UP}layers.{i}."
                self.norm(up + "Upsample.norm", 2 * width)
                self.matrix(up + "Upsample.up", 2 * width, width, 2, 2, 2, wide=width, scale=2.0)
                self.block(up + "blocks.0.", i, is_skip=True)
                self.block(up + "blocks.1.", i)
                self.matrix(f"{p}backbone.final.{i}.up", width, 1, 2, 2, 2, wide=1)
            self.norm(f"{p}{slow.DOWN}norm{i}", width)

    def head(self, p: str) -> None:
        wide = slow.WIDTHS[-1]
        for number, shape in (
            (0, (slow.HIDDEN, wide)), (2, (slow.HIDDEN, slow.HIDDEN)), (4, (slow.BOTTLENECK, slow.HIDDEN))
        ):  # fmt: skip
            self.matrix(f"{p}head.mlp.{number}", *shape)
        for name in ("last_layer", "last_layer2"):
            self.w[f"{p}head.{name}.weight_g"] = torch.ones(slow.K, 1)
            self.w[f"{p}head.{name}.weight_v"] = torch.randn(slow.K, slow.BOTTLENECK, generator=self.generator)
        self.matrix(p + "head.mlp3", wide, wide)
        self.matrix(p + "head.mlp4", wide, slow.WIDTHS[-2])

    def casa(self) -> None:
        p, inner = "casa.module.Cross_Att.", slow.CASA_HEADS * slow.CASA_KEY
        for name in ("w_qs", "w_ks", "w_vs"):
            self.matrix(f"{p}MH_attn.{name}", inner, slow.K, has_bias=False, scale=2.0)
        self.matrix(p + "MH_attn.fc", slow.K, inner, has_bias=False)
        self.matrix(p + "pos_ffn.w_1", slow.CASA_HIDDEN, slow.K)
        self.matrix(p + "pos_ffn.w_2", slow.K, slow.CASA_HIDDEN)
        self.norm(p + "MH_attn.layer_norm", slow.K)
        self.norm(p + "pos_ffn.layer_norm", slow.K)

    def anatomy(self) -> None:
        def conv_norm(name: str, *shape: int) -> None:
            self.matrix(name + ".conv", *shape, has_bias=False, scale=1.5)
            self.norm(name + ".bn", shape[0])
            self.w[name + ".bn.running_mean"] = 0.1 * torch.randn(shape[0], generator=self.generator)
            self.w[name + ".bn.running_var"] = 0.5 + torch.rand(shape[0], generator=self.generator)

        conv_norm("sam.backbone.conv1", slow.BASE, 1, 3, 7, 7)
        before = slow.BASE
        for number, depth in enumerate((1, 1, 3, 3)):
            width = slow.BASE * 2**number
            for j in range(2):
                b = f"sam.backbone.layer{number + 1}.{j}."
                conv_norm(b + "conv1", width, before if j == 0 else width, depth, 3, 3)
                conv_norm(b + "conv2", width, width, depth, 3, 3)
                if j == 0:
                    conv_norm(b + "downsample", width, before, 1, 1, 1)
            before = width
            if number < 3:
                self.matrix(f"sam.neck.lateral_convs.{number}.conv", slow.F_WIDTH, width, 1, 1, 1)
        self.matrix("sam.neck.fpn_convs.0.conv", slow.F_WIDTH, slow.F_WIDTH, 3, 3, 3)
        self.matrix("sam.read_out_head.lateral_convs.0.conv", slow.F_WIDTH, before, 1, 1, 1)
        self.matrix("sam.read_out_head.fpn_convs.0.conv", slow.F_WIDTH, slow.F_WIDTH, 3, 3, 3)


def weights(generator: torch.Generator) -> slow.Weights:
    """All networks; the teacher is the student with noise, and its two last layers are one."""
    drawn = Drawn(generator)
    drawn.backbone("student.module.")
    drawn.head("student.module.")
    drawn.casa()
    for name, value in list(drawn.w.items()):
        if name.startswith("student"):
            is_free = value.is_floating_point() and not name.endswith("weight_g")
            noise = 0.05 * torch.randn(value.shape, generator=generator) if is_free else 0
            drawn.w[name.replace("student.module.", "teacher.")] = value + noise
    for part in ("weight_g", "weight_v"):
        drawn.w[f"teacher.head.last_layer2.{part}"] = drawn.w[f"teacher.head.last_layer.{part}"].clone()
    drawn.anatomy()
    return drawn.w


def given(generator: torch.Generator) -> dict[str, Tensor]:
    """Volumes, masks of columns, position tables, centres, scans and points."""
    cells = slow.EDGE // slow.PATCH
    inputs = {
        "center": 0.1 * torch.randn(1, slow.K, generator=generator),
        "center2": 0.1 * torch.randn(1, 1, slow.K, generator=generator),
        "sam.points_xyz": torch.tensor(slow.PLACES),
    }
    for name in ("query", "key"):
        inputs[f"vol_{name}"] = torch.rand(1, 1, *slow.VOLUME, generator=generator)
        inputs[f"point_{name}"] = torch.tensor(slow.POINTS[name])
        inputs[f"sam.{name}"] = 200 * torch.rand(1, 1, *slow.SCAN, generator=generator) - 50
        chosen = torch.randperm(cells * cells, generator=generator)[: math.ceil(slow.HIDE * cells * cells)]
        mask = torch.zeros(cells * cells)
        mask[chosen] = 1
        side = slow.PATCH // 2
        plane = mask.view(cells, cells).repeat_interleave(side, 0).repeat_interleave(side, 1)
        inputs[f"mask_{name}"] = plane[None, None, :, :, None].expand(-1, -1, -1, -1, slow.EDGES[0]).contiguous()
    for name in ("student", "teacher"):
        inputs[f"pos_embed.{name}"] = 0.3 * torch.randn(1, slow.EDGES[0] ** 3, slow.E, generator=generator)
    return inputs


def write_golden_folder(folder: Path, seed: int = 5) -> Path:
    """Two pairs of widths, windows and depths that the shared folder does not have."""
    generator = torch.Generator().manual_seed(seed)
    w, inputs = weights(generator), given(generator)
    for name, one in w.items():
        is_trained = name.startswith(("student", "casa")) and one.is_floating_point() and "weight_g" not in name
        one.requires_grad_(is_trained)
    outputs: dict[str, Tensor] = {}
    slow.losses(w, inputs, outputs)
    norms = slow.gradients(w, outputs["loss.loss"].sum(), outputs)
    slow.averaged(w, outputs)
    slow.matched(w, inputs, outputs)
    for short, key in (("lr", "learning_rate"), ("wd", "weight_decay"), ("ema", "ema_momentum")):
        facts = CURVES[key]
        outputs[f"sched.{short}"] = slow.schedule(
            facts["start"], facts["end"], CURVES["epochs"], CURVES["iterations_per_epoch"], facts["warmup_epochs"]
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in (("weights", w), ("inputs", inputs), ("outputs", outputs)):
        save_file({key: one.detach().contiguous() for key, one in tensors.items()}, folder / f"{name}.safetensors")
    (folder / "grad_norms.json").write_text(json.dumps(norms))
    (folder / "manifest.json").write_text(json.dumps(manifest()))
    return folder


def manifest() -> dict[str, Any]:
    start, end, epochs = slow.TAU
    config = {
        "backbone": {
            "crop_edge": slow.EDGE, "embedding_width": slow.E, "depths": [2, 2, 2, 2], "attention_heads": slow.HEADS,
            "windows": slow.WINDOWS, "mlp_ratio": slow.RATIO, "norm_epsilon": slow.EPSILON, "drop_path": 0.0,
        },
        "head": {
            "output_width": slow.K, "hidden_width": slow.HIDDEN, "bottleneck_width": slow.BOTTLENECK,
            "activation": "gelu", "teacher_shares_last_layers": True,
        },
        "casa": {
            "feed_forward_width": slow.CASA_HIDDEN, "attention_heads": slow.CASA_HEADS, "key_width": slow.CASA_KEY,
            "value_width": slow.CASA_KEY, "norm_epsilon": slow.CASA_EPSILON, "dropout": 0.0,
            "attention_samples_stored": 1, "attention_heads_stored": 2,
        },
        "masking": {
            "patch": slow.PATCH, "ratio": slow.HIDE, "columns_along_last_axis": True, "hidden_voxels_set_to": 0.0
        },
        "loss": {
            "student_temperature": slow.STUDENT_TAU, "teacher_temperature_start": start,
            "teacher_temperature_end": end, "teacher_temperature_warmup_epochs": epochs, "epochs": slow.EPOCHS,
            "epoch": slow.EPOCH, "center_momentum": slow.CENTRE, "weight_inter_volume": 1.0,
            "weight_intra_volume": 1.0, "weight_reconstruction": slow.RECONSTRUCTION,
            "reconstruction_region": "all_voxels",
        },
        "gradient_clipping": {"per_tensor_norm": slow.CLIP}, "ema": {"momentum": slow.EMA}, "schedules": CURVES,
        "anatomical_embedding": {
            "base_width": slow.BASE, "embedding_width": slow.F_WIDTH, "fine_grid_step_voxels": 2,
            "match_offset_voxels": 0.5,
        },
    }  # fmt: skip
    # float32 on both sides, sums in another order: norms over three channels multiply rounding (7e-5 was seen), and the
    # teacher's temperature multiplies differences by 30
    close = {"kind": "relative_to_max", "tolerance": 3e-4}
    tight = {"kind": "absolute", "tolerance": 1e-6}
    stages: list[tuple[str, list[str], dict[str, Any]]] = [
        ("crops", ["crop.key"], tight),
        ("patch_embedding", ["student.patch_embed"], close),
        ("encoder", ["*.skip*", "student.cls", "teacher.cls"], close),
        ("decoder", ["*.dec?"], close),
        ("heads", ["*.out.cls", "*.out.en", "*.out.de"], close),
        ("reconstruction", ["*.out.recon"], close),
        ("casa", ["casa.*"], {"kind": "absolute", "tolerance": 1e-4}),
        ("losses", ["loss.*"], {"kind": "allclose", "rtol": 1e-3, "atol": 0.0, "when_fed": {
            "from": ["*.out.*", "casa.student", "casa.teacher"], "rtol": 1e-5, "atol": 0.0}}),
        ("teacher_temperature", ["teacher_temp"], tight),
        ("centers", ["center.new", "center2.new"], {"kind": "absolute", "tolerance": 1e-5}),
        ("gradients", ["grad.*", "grad_clipped.*"], {"kind": "relative_to_max", "tolerance": 5e-3}),
        ("ema", ["ema.*"], tight),
        ("schedules", ["sched.*"], tight),
        ("anatomical_embedding", ["sam.stage*", "sam.fine_query", "sam.coarse_*"], close),
        ("match_scores", ["sam.sim", "sam.match_score"], {"kind": "absolute", "tolerance": 1e-5}),
        ("match_points", ["sam.match_xyz"], {"kind": "exact"}),
    ]  # fmt: skip
    listed: list[dict[str, Any]] = [{"name": name, "outputs": globs, "compare": rule} for name, globs, rule in stages]
    listed.append({
        "name": "gradient_norms", "file": "grad_norms.json", "fields": ["*"], "outputs": [],
        "compare": {"kind": "exact_json", "rtol": 5e-3},
    })  # fmt: skip
    return {"format": 1, "system": "medical3d/alice", "config": config, "stages": listed}
