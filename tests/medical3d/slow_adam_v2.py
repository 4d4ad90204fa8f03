"""Adam-v2 written a second time, slowly: loops over views, parts, images and axes, one function a formula of the card.

Shares no code with the package. :func:`write_golden_folder` turns it into a small golden folder, so that parity has
teeth without the shared one. Names of weights are those of the published files.

Symbols: B images, D width, N parts, K prototypes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]
DEPTHS, WIDTHS, HIDDEN, BOTTLENECK, K = (1, 2), (6, 10), 14, 8, 20
D, GRID, B, LARGE, SMALL, LOCALS = WIDTHS[-1], 3, 2, 32, 16, 2
N = GRID * GRID
STUDENT_TEMPERATURE, TEACHER_START, TEACHER_END, WARM_EPOCHS, EPOCH = 0.1, 0.03, 0.05, 5, 2
LAMBDA, LR, DECAY, CLIP, EMA, CENTRE = (1.0, 0.7, 1.3), 2e-3, 0.05, 0.04, 0.97, 0.8
ANCHOR, HEIGHT, WIDTH = (11, 20, 41, 50), 83, 101
THRESHOLD, V1_TEMPERATURE = 0.3, 0.25
REQUESTS = ((0.2, 0.8), (0.5, 1.3), (0.95, 1.6), (0.7, 1.0))


def norm_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer norm over axis 1, by hand."""
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    shape = (1, -1, *[1] * (x.ndim - 2))
    return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-6) * weight.view(shape) + bias.view(shape)


def backbone(w: Weights, prefix: str, x: Tensor, maps: dict[str, Tensor] | None = None) -> Tensor:
    """Pooled vector (B, D) of images (B, 3, H, W)."""
    p = prefix + "backbone."
    for i in range(len(DEPTHS)):
        d = f"{p}downsample_layers.{i}."
        if i == 0:
            x = F.conv2d(x, w[d + "0.weight"], w[d + "0.bias"], stride=2)
            x = norm_channels(x, w[d + "1.weight"], w[d + "1.bias"])
        else:
            x = norm_channels(x, w[d + "0.weight"], w[d + "0.bias"])
            x = F.conv2d(x, w[d + "1.weight"], w[d + "1.bias"], stride=2)
        if maps is not None:
            maps[f"whole_after_down{i}"] = x
        for j in range(DEPTHS[i]):
            s = f"{p}stages.{i}.{j}."
            y = F.conv2d(x, w[s + "dwconv.weight"], w[s + "dwconv.bias"], padding=1, groups=x.shape[1])
            y = norm_channels(y, w[s + "norm.weight"], w[s + "norm.bias"])
            y = torch.einsum("bchw,oc->bohw", y, w[s + "pwconv1.weight"]) + w[s + "pwconv1.bias"].view(1, -1, 1, 1)
            y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
            y = torch.einsum("bchw,oc->bohw", y, w[s + "pwconv2.weight"]) + w[s + "pwconv2.bias"].view(1, -1, 1, 1)
            x = x + w[s + "gamma"].view(1, -1, 1, 1) * y
        if maps is not None:
            maps[f"whole_after_stage{i}"] = x
    return norm_channels(x.mean((2, 3)), w[p + "norm.weight"], w[p + "norm.bias"])


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def bottleneck(w: Weights, prefix: str, e: Tensor) -> Tensor:
    h = prefix + "head.mlp."
    for number in (0, 2, 4):
        e = e @ w[f"{h}{number}.weight"].T + w[f"{h}{number}.bias"]
        e = gelu(e) if number < 4 else e
    return e


def prototypes(w: Weights, prefix: str, e: Tensor) -> Tensor:
    z = bottleneck(w, prefix, e)
    v = w[prefix + "head.last_layer.weight_v"]
    rows = v / v.square().sum(1, keepdim=True).sqrt() * w[prefix + "head.last_layer.weight_g"]
    return z / z.square().sum(1, keepdim=True).sqrt() @ rows.T


def two_layers(w: Weights, name: str, x: Tensor) -> Tensor:
    hidden = (x @ w[name + ".0.weight"].T + w[name + ".0.bias"]).clamp(min=0)
    return hidden @ w[name + ".2.weight"].T + w[name + ".2.bias"]


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def teacher_temperature() -> float:
    return [*np.linspace(TEACHER_START, TEACHER_END, WARM_EPOCHS), *[TEACHER_END] * 99][EPOCH]


def cross_entropy(student: Tensor, teacher: Tensor, centre: Tensor) -> Tensor:
    p = torch.softmax((teacher.detach() - centre) / teacher_temperature(), -1)
    return -(p * torch.log_softmax(student / STUDENT_TEMPERATURE, -1)).sum(-1).mean()


def everything(w: Weights, views: list[Tensor], centre: Tensor) -> dict[str, Tensor]:
    """All outputs of the joint and the warm-up stage; gradients flow into ``w``."""
    out: dict[str, Tensor] = {}
    student = [backbone(w, "module.student.", v) for v in views]
    with torch.no_grad():
        teacher = [backbone(w, "module.teacher.", v) for v in views]
    for number in range(len(views)):
        out[f"lcd.student.embed_view_{number:02d}"] = student[number]
        out[f"lcd.teacher.embed_view_{number:02d}"] = teacher[number]
    seen = range(1, 2 + LOCALS)
    logits = [prototypes(w, "module.student.", student[v]) for v in seen]
    target = prototypes(w, "module.teacher.", teacher[0]).detach()
    out["lcd.student_logits"], out["lcd.teacher_logits"] = torch.cat(logits), target
    out["lcd.loss_localizability"] = torch.stack([cross_entropy(s, target, centre) for s in logits]).mean()
    first = 2 + LOCALS
    parts = [student[first + k] for k in range(N)]
    composed = unit(two_layers(w, "module.compose_head", torch.cat(parts, 1)))
    whole = unit(teacher[0])
    out["lcd.student_composed_unit"], out["lcd.teacher_whole_unit"] = composed, whole
    out["lcd.loss_composability"] = (composed - whole).square().mean()
    together = unit(two_layers(w, "module.decompose_head", student[0]))
    out["lcd.student_decomposed_unit"] = together
    out["lcd.teacher_parts_unit"] = torch.stack([unit(teacher[first + k]) for k in range(N)], 1)
    each = [(together[:, k * D : (k + 1) * D] - unit(teacher[first + k])).square().mean() for k in range(N)]
    out["lcd.loss_decomposability"] = sum(each) / N  # type: ignore[assignment]
    names = ("localizability", "composability", "decomposability")
    out["lcd.loss_total"] = sum(f * out[f"lcd.loss_{n}"] for f, n in zip(LAMBDA, names, strict=True))  # type: ignore[assignment]
    out["lcd.center_after"] = CENTRE * centre + (1 - CENTRE) * target.mean(0, keepdim=True)
    maps: dict[str, Tensor] = {}
    backbone(w, "module.student.", views[0], maps)
    out |= {f"lcd.student.{name}": value for name, value in maps.items()}
    out["lcd.student.head_bottleneck_whole"] = bottleneck(w, "module.student.", student[0])
    out["lcd.student.head_logits_whole"] = prototypes(w, "module.student.", student[0])
    warm_student = [prototypes(w, "module.student.", student[v]) for v in range(2 + LOCALS)]
    warm_teacher = [prototypes(w, "module.teacher.", teacher[v]).detach() for v in (0, 1)]
    pairs = [
        cross_entropy(s, t, centre) for a, t in enumerate(warm_teacher) for v, s in enumerate(warm_student) if v != a
    ]
    out["l.loss_localizability"] = torch.stack(pairs).mean()
    out["l.student_logits"], out["l.teacher_logits"] = torch.cat(warm_student), torch.cat(warm_teacher)
    out["l.center_after"] = CENTRE * centre + (1 - CENTRE) * torch.cat(warm_teacher).mean(0, keepdim=True)
    out["lcd.teacher_temp"] = torch.tensor(teacher_temperature())
    return out


def one_step(w: Weights, views: list[Tensor], centre: Tensor) -> tuple[dict[str, Tensor], list[str]]:
    """Gradients, and the state after clipping, AdamW and the teacher's move (epoch 2: prototypes are free)."""
    frozen = "module.student.head.last_layer.weight_g"
    names = [n for n in w if not n.startswith("module.teacher.") and n != frozen]
    leaves = {n: v.clone().requires_grad_(n in names) for n, v in w.items()}
    out = everything(leaves, views, centre)
    produced: dict[str, Tensor] = {}
    inside = [leaves[n] for n in names if ".student.backbone." in n]
    norms = []
    for term in ("localizability", "composability", "decomposability"):
        found = torch.autograd.grad(out[f"lcd.loss_{term}"], inside, retain_graph=True, allow_unused=True)
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in found if g is not None)))
    produced["step.backbone_grad_norm_l_c_d"] = torch.tensor(norms)
    grads = dict(zip(names, torch.autograd.grad(out["lcd.loss_total"], [leaves[n] for n in names]), strict=True))
    plain = [n.removeprefix("module.") for n in names]
    produced["step.grad_norms_before_clip"] = torch.stack([grads[n].square().sum().sqrt() for n in names])
    for chosen in ("student.backbone.stages.1.0.dwconv.weight", "student.head.mlp.2.weight", "compose_head.0.weight"):
        produced[f"step.grad_raw.{chosen}"] = grads[f"module.{chosen}"]
    after = {n: v.clone() for n, v in w.items()}
    for n in names:
        g = grads[n] * min(1.0, CLIP / (float(grads[n].norm()) + 1e-6))
        decay = DECAY if g.ndim >= 2 else 0.0
        # first step of Adam: both corrected moments are g and g squared
        after[n] = w[n] * (1 - LR * decay) - LR * g / (g.abs() + 1e-8)
    for n in w:
        if n.startswith("module.teacher."):
            after[n] = EMA * w[n] + (1 - EMA) * after[n.replace("teacher", "student", 1)]
    produced |= {f"step.after.{n.removeprefix('module.')}": v for n, v in after.items()}
    return produced, plain


def schedules() -> dict[str, Tensor]:
    found = {}
    for name, start, end, warm in (("lr", 3e-4, 1e-6, 1), ("wd", 0.04, 0.4, 0), ("ema", 0.99, 1.0, 0)):
        total, first = 4 * 3, warm * 3
        rise = [start * i / (first - 1) for i in range(first)]
        fall = [end + (start - end) * 0.5 * (1 + math.cos(math.pi * i / (total - first))) for i in range(total - first)]
        found[f"sched.{name}"] = torch.tensor([*rise, *fall], dtype=torch.float64)
    return found


def data(image: np.ndarray, volume: Tensor) -> dict[str, Tensor]:
    y0, x0, h, w = ANCHOR
    whole = image[y0 : y0 + h, x0 : x0 + w]

    def grid(pixels: np.ndarray) -> np.ndarray:
        a, b = pixels.shape[0] // GRID, pixels.shape[1] // GRID
        return np.stack([pixels[i * a : (i + 1) * a, j * b : (j + 1) * b] for i in range(GRID) for j in range(GRID)])

    boxes, crops = [], []
    for area, aspect in REQUESTS:
        wide = round(math.sqrt(HEIGHT * WIDTH * area * aspect))
        tall = round(math.sqrt(HEIGHT * WIDTH * area / aspect))
        if wide > WIDTH or tall > HEIGHT:
            boxes.append([-1] * 4)
            crops.append(np.zeros((SMALL, SMALL, 3), np.uint8))
            continue
        top, left = (HEIGHT - tall) // 2, (WIDTH - wide) // 2
        boxes.append([top, left, tall, wide])
        piece = Image.fromarray(image[top : top + tall, left : left + wide])
        crops.append(np.asarray(piece.resize((SMALL, SMALL), Image.Resampling.BICUBIC)))
    squashed = np.asarray(Image.fromarray(image).resize((LARGE, LARGE), Image.Resampling.BICUBIC)) / 255
    normal = (squashed - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.25, 0.3])
    octants = [volume[a : a + 2, b : b + 1, c : c + 3] for a in (0, 2) for b in (0, 1, 2, 3) for c in (0, 3)]
    return {
        "data.n0_parts_uint8": torch.from_numpy(grid(image)), "data.anchor_whole_uint8": torch.tensor(whole),
        "data.anchor_parts_uint8": torch.from_numpy(grid(whole)), "design3d.octants": torch.stack(octants),
        "data.center_box_y_x_h_w": torch.tensor(boxes),
        "data.center_crop_bicubic_uint8": torch.from_numpy(np.stack(crops)),
        "data.whole_resized_normalised": torch.from_numpy(normal).permute(2, 0, 1).float(),
    }  # fmt: skip


def pruner(q: Tensor, k: Tensor, queue: Tensor) -> dict[str, Tensor]:
    """Sample by sample, as the reference does."""
    pruned, plain, keep, logits = [], [], [], []
    for row in range(len(q)):
        positive, negative = float(q[row] @ k[row]), (q[row] @ queue)
        keep.append((negative < THRESHOLD).to(torch.uint8))
        logits.append(torch.cat([torch.tensor([positive]), negative]) / V1_TEMPERATURE)
        for chosen, store in ((negative[negative < THRESHOLD], pruned), (negative, plain)):
            scores = torch.cat([torch.tensor([positive]), chosen]).double() / V1_TEMPERATURE
            store.append(-torch.log_softmax(scores, 0)[0])
    return {
        "v1.logits": torch.stack(logits), "v1.neg_cosine": q @ queue, "v1.keep_mask": torch.stack(keep),
        "v1.loss_pruned": torch.stack(pruned).mean().float(), "v1.loss_unpruned": torch.stack(plain).mean().float(),
    }  # fmt: skip


def weights(g: torch.Generator) -> Weights:
    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        return torch.randn(*shape, generator=g) * scale / math.sqrt(fan)

    w: Weights = {}
    for i, width in enumerate(WIDTHS):
        d = f"module.student.backbone.downsample_layers.{i}."
        conv, norm, side, before = (0, 1, 2, 3) if i == 0 else (1, 0, 2, WIDTHS[i - 1])
        w[f"{d}{conv}.weight"], w[f"{d}{conv}.bias"] = draw(width, before, side, side), draw(width, scale=0.1)
        normed = width if i == 0 else before
        w[f"{d}{norm}.weight"], w[f"{d}{norm}.bias"] = 1 + draw(normed, scale=0.1), draw(normed, scale=0.1)
        for j in range(DEPTHS[i]):
            s = f"module.student.backbone.stages.{i}.{j}."
            w[s + "gamma"] = 0.5 + draw(width, scale=0.2)
            w[s + "dwconv.weight"], w[s + "dwconv.bias"] = draw(width, 1, 3, 3), draw(width, scale=0.1)
            w[s + "norm.weight"], w[s + "norm.bias"] = 1 + draw(width, scale=0.1), draw(width, scale=0.1)
            w[s + "pwconv1.weight"], w[s + "pwconv1.bias"] = draw(2 * width, width), draw(2 * width, scale=0.1)
            w[s + "pwconv2.weight"], w[s + "pwconv2.bias"] = draw(width, 2 * width), draw(width, scale=0.1)
    b = "module.student.backbone.norm."
    w[b + "weight"], w[b + "bias"] = 1 + draw(D, scale=0.1), draw(D, scale=0.1)
    for number, (wide, out) in zip((0, 2, 4), ((D, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, BOTTLENECK)), strict=True):
        h = f"module.student.head.mlp.{number}."
        w[h + "weight"], w[h + "bias"] = draw(out, wide, scale=1.5), draw(out, scale=0.1)
    w["module.student.head.last_layer.weight_g"] = torch.ones(K, 1)
    w["module.student.head.last_layer.weight_v"] = draw(K, BOTTLENECK)
    for name in list(w):
        noise = 0.0 if name.endswith("weight_g") else 0.05
        w[name.replace("student", "teacher", 1)] = w[name] + noise * torch.randn(w[name].shape, generator=g)
    for name, wide, out in (("compose_head", N * D, D), ("decompose_head", D, N * D)):
        for number, size in ((0, (D, wide)), (2, (out, D))):
            w[f"module.{name}.{number}.weight"] = draw(*size)
            w[f"module.{name}.{number}.bias"] = draw(size[0], scale=0.1)
    return w


def write_golden_folder(folder: Path, seed: int = 3) -> Path:
    """A folder of another size than the shared one: two stages, nine parts, stem of stride 2, kernels of 3."""
    g = torch.Generator().manual_seed(seed)
    w = weights(g)
    names = ["whole", "global", *(f"local{i}" for i in range(LOCALS)), *(f"part{k}" for k in range(N))]
    inputs = {
        f"lcd.view_{i:02d}_{name}": torch.randn(B, 3, *[SMALL if "local" in name else LARGE] * 2, generator=g)
        for i, name in enumerate(names)
    }
    views = list(inputs.values())
    centre = 0.1 * torch.randn(1, K, generator=g)
    image = torch.randint(0, 256, (HEIGHT, WIDTH, 3), generator=g, dtype=torch.uint8)
    volume = torch.randint(0, 99, (5, 4, 7), generator=g)
    q, k = (unit(torch.randn(5, 8, generator=g)) for _ in range(2))
    queue = unit(torch.randn(30, 8, generator=g)).T.contiguous()
    with torch.no_grad():
        outputs = everything(w, views, centre)
    step, order = one_step(w, views, centre)
    outputs |= {**step, **schedules(), **data(image.numpy(), volume), **pruner(q, k, queue)}
    inputs |= {
        "lcd.center_before": centre, "data.image_uint8_hwc": image, "data.anchor_y0_x0_h_w": torch.tensor(ANCHOR),
        "data.center_area_aspect": torch.tensor(REQUESTS), "v1.q": q, "v1.k": k, "v1.queue": queue,
        "design3d.volume_zyx": volume,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in (("weights", w), ("inputs", inputs), ("outputs", outputs)):
        save_file({key: one.detach().contiguous() for key, one in tensors.items()}, folder / f"{name}.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest(order)))
    return folder


def manifest(order: list[str]) -> dict[str, Any]:
    backbone_facts = {
        "architecture": "convnext", "input_channels": 3, "depths": DEPTHS, "widths": WIDTHS, "embedding_width": D,
        "norm_epsilon": 1e-6, "kernel": 3, "mlp_ratio": 2, "stem_stride": 2, "drop_path": 0.0,
    }  # fmt: skip
    head = {
        "layers": 3, "hidden_width": HIDDEN, "bottleneck_width": BOTTLENECK, "prototypes": K, "freeze_weight_g": True,
        "batch_norm": False,
    }  # fmt: skip
    loss = {
        "student_temperature": STUDENT_TEMPERATURE, "teacher_temperature_start": TEACHER_START,
        "teacher_temperature_end": TEACHER_END, "teacher_temperature_warmup_epochs": WARM_EPOCHS, "epochs": 9,
        "epoch": EPOCH, "center_momentum": CENTRE, "weight_localizability": LAMBDA[0],
        "weight_composability": LAMBDA[1], "weight_decomposability": LAMBDA[2],
        "decomposed_parts_normalised": "jointly", "warmup_stage_teacher_views": 2,
        "warmup_stage_student_views": 2 + LOCALS,
    }  # fmt: skip
    step = {
        "optimizer": "adamw", "learning_rate": LR, "weight_decay": DECAY, "betas": [0.9, 0.999], "epsilon": 1e-8,
        "per_tensor_clip_norm": CLIP, "freeze_last_layer_epochs": 1, "ema_momentum": EMA,
        "trainable_parameter_order": order,
    }  # fmt: skip
    curves = {
        "epochs": 4, "iterations_per_epoch": 3, "batch_for_learning_rate": 256,
        "learning_rate": {"start": 3e-4, "end": 1e-6, "warmup_epochs": 1, "warmup_start": 0.0},
        "weight_decay": {"start": 0.04, "end": 0.4, "warmup_epochs": 0},
        "ema_momentum": {"start": 0.99, "end": 1.0, "warmup_epochs": 0},
    }  # fmt: skip
    config = {
        "backbone": backbone_facts, "localizability_head": head, "part_heads": {"parts": N, "grid": GRID},
        "views": {"batch": B, "global_size": LARGE, "local_size": SMALL, "local_views": LOCALS}, "loss": loss,
        "step": step, "schedules": curves,
        "data": {"parts": N, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]},
        "pruner": {"temperature": V1_TEMPERATURE, "threshold": THRESHOLD},
        "octants": {"branching_zyx": [2, 4, 2], "last_axis_fastest": True},
    }  # fmt: skip
    # float32 on both sides, sums in another order
    absolute = {"kind": "absolute", "tolerance": 2e-5}
    relative = {"kind": "allclose", "rtol": 2e-5, "atol": 1e-7}
    ignored = [i for i, (area, aspect) in enumerate(REQUESTS) if math.sqrt(HEIGHT * WIDTH * area * aspect) > WIDTH]
    stages: list[tuple[str, list[str], dict[str, Any]]] = [
        ("embeddings", ["lcd.student.*", "lcd.teacher.*", "lcd.*_unit"], absolute),
        ("logits", ["*.student_logits", "*.teacher_logits"], absolute),
        ("centers", ["*.center_after"], absolute),
        ("losses", ["lcd.loss_localizability", "lcd.loss_total", "l.loss_localizability"], relative),
        ("part_losses", ["lcd.loss_composability", "lcd.loss_decomposability"], relative),
        ("teacher_temperature", ["lcd.teacher_temp"], {"kind": "absolute", "tolerance": 1e-9}),
        ("gradients", ["step.grad*", "step.backbone*"], {"kind": "allclose", "rtol": 1e-3, "atol": 1e-6}),
        ("optimizer_step", ["step.after.*"], {**absolute, "skip_where_raw_gradient_below": 1e-5}),
        ("schedules", ["sched.*"], {"kind": "absolute", "tolerance": 1e-12}),
        ("integer_data", ["data.n0*", "data.anchor*", "design3d.*"], {"kind": "exact"}),
        ("center_boxes", ["data.center_box*"], {"kind": "exact", "ignored_rows": ignored}),
        ("center_crops", ["data.center_crop*"], {"kind": "exact", "ignored_rows": ignored}),
        ("resized_whole", ["data.whole_resized*"], {"kind": "absolute", "tolerance": 1e-6}),
        ("pruner_logits", ["v1.logits", "v1.neg_cosine"], absolute),
        ("pruner_mask", ["v1.keep_mask"], {"kind": "exact"}),
        ("pruner_losses", ["v1.loss*"], relative),
    ]
    return {
        "format": 1, "system": "medical3d/adam-v2", "config": config,
        "stages": [{"name": name, "outputs": globs, "compare": rule} for name, globs, rule in stages],
    }  # fmt: skip
