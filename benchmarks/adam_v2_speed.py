"""How fast Adam-v2's parts are on this machine, each paired with what a user would otherwise run.

- step: forward and backward of the joint stage with one pass a resolution against one backbone call a view and part (7
  student and 6 teacher calls), same weights, views and batch; losses are checked to be equal first. Memory on a GPU.
- views: 14 augmented views an image (224 and 96 pixels from 512) as one batch against Pillow, one view at a time (crop,
  bicubic resize, jitter, turn, blur), which is the published pipeline's way.
- loss: cross-entropy over 65,536 prototypes without stored log-probabilities against log-softmax and products; values
  and gradients are checked to be equal first. Peak memory: on a GPU from torch, on a CPU of a process of its own.
- patches: volumes a second in three dimensions with parts at full and at half size (with --only patches).

    python benchmarks/adam_v2_speed.py [--device cpu|cuda] [--threads 1] [--rounds 5] [--only step views loss patches]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, facts, interleaved, ratios, spread, write_result
from torch import Tensor

from repcore.interfaces import Batch, Progress
from repcore_medical3d.configs.adam_v2 import AdamV2Config, ConvNextConfig, ViewsConfig
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.objectives.adam_v2 import AdamV2
from repcore_medical3d.objectives.localizability import prototype_cross_entropy
from repcore_medical3d.views.anatomy import CONCENTRIC_AREAS, AnatomyViews

NAME = "adam_v2_speed"
PARTS = ("step", "views", "loss", "patches")
EQUAL = 1e-4  # largest relative difference between contenders that count as equal


def main() -> None:
    options = parse_arguments()
    if options.memory_of:
        print(json.dumps({"peak_mib": memory_of(options.memory_of)}))
        return
    torch.set_num_threads(options.threads)
    runs = {"step": step_part, "views": views_part, "loss": loss_part, "patches": patches_part}
    known = RESULTS / f"{NAME}.json"
    record = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    record |= facts(("repcore", "repcore-medical3d", "torch", "pillow")) | {"threads": options.threads, "unit": "ms"}
    for name in options.only:
        where = name if options.device == "cpu" else f"{name}, {torch.cuda.get_device_name()}"
        record[where] = runs[name](options)
        print(where, json.dumps(record[where], indent=1), flush=True)
        write_result(NAME, record, options.out)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=["step", "views", "loss"])
    parser.add_argument("--memory-of", choices=["ours", "plain"], help="(used by the loss part)")
    parser.add_argument("--out", type=Path, default=None, help=f"result file (default: results/{NAME}.json)")
    return parser.parse_args()


def race(contenders: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, Any]:
    """Milliseconds of two contenders, ours first, and their paired ratio; peak memory on a GPU."""

    def waited(contender: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            contender()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    ready = {name: waited(one) for name, one in contenders.items()}
    seconds = interleaved(ready, rounds)
    ours, *others = seconds
    result: dict[str, Any] = {name: spread([1000 * one for one in found], 2) for name, found in seconds.items()}
    for other in others:
        result[f"{other} takes times ours"] = ratios(seconds[ours], seconds[other])
    if device == "cuda":
        for name, one in ready.items():
            torch.cuda.reset_peak_memory_stats()
            one()
            result[name]["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return result


def require_equal(first: Tensor, second: Tensor, what: str) -> None:
    gap = float((first - second).abs().max() / second.abs().max().clamp_min(1e-12))
    if gap > EQUAL:
        raise SystemExit(f"{what}: contenders differ by {gap:.1e}; a timing would mean nothing")


# ------------------------------------------------------------------------------------------- step


def step_part(options: argparse.Namespace) -> dict[str, Any]:
    """Tiny sizes on a CPU, ConvNeXt-B at the published sizes on a GPU."""
    is_small = options.device == "cpu"
    encoder = (
        ConvNextConfig(depths=(1, 1, 2, 1), widths=(16, 32, 48, 64))
        if is_small
        else ConvNextConfig(input_channels=3, layer_scale=0.1)
    )
    views = ViewsConfig(global_size=64, local_size=32, local_views=4) if is_small else ViewsConfig()
    config = AdamV2Config(views=views, collapse_patience=0, freeze_last_layer_epochs=0.0)
    config = replace(config, prototypes=512, hidden_width=128, bottleneck_width=64) if is_small else config
    batch, edge = (8, 192) if is_small else (32, 512)
    torch.manual_seed(0)
    fused = AdamV2(config, ConvNextEncoder(encoder)).to(options.device)
    separate = AdamV2(replace(config, passes="separate"), ConvNextEncoder(encoder)).to(options.device)
    separate.load_state_dict(fused.state_dict())
    images = torch.rand(batch, encoder.input_channels or 1, edge, edge, device=options.device)
    given = Batch(inputs={"image": images}, size=batch)
    draws = fused.draw(given, torch.Generator(device=options.device).manual_seed(0), Progress(step=50, total_steps=100))

    def once(objective: AdamV2) -> Tensor:
        objective.zero_grad(set_to_none=True)
        with torch.autocast(options.device, torch.bfloat16, enabled=not is_small):
            total = objective(given, draws).total
        total.backward()
        return total.detach()

    if is_small:  # bfloat16 sums differ by more than EQUAL
        require_equal(once(fused), once(separate), "step")
    found = race({"fused": lambda: once(fused), "separate": lambda: once(separate)}, options.rounds, options.device)
    found["images_a_second"] = round(1000 * batch / found["fused"]["median"], 1)
    return {"batch": batch, **found}


# ------------------------------------------------------------------------------------------ views


def views_part(options: argparse.Namespace) -> dict[str, Any]:
    """14 views an image, grey, from 512 pixels."""
    batch = 4 if options.device == "cpu" else 64
    config = ViewsConfig(saturation=0.0, hue=0.0)
    views = AnatomyViews(config, 2)
    images = torch.rand(batch, 1, 512, 512, device=options.device)
    pictures = [(one[0].cpu().numpy() * 255).astype(np.uint8) for one in images]
    generator = torch.Generator(device=options.device).manual_seed(0)
    rng = np.random.default_rng(0)

    def ours() -> object:
        return views.joint(images, 1, generator)

    def pillow() -> object:
        return [view for picture in pictures for view in slow_views(picture, config, rng)]

    return {"batch": batch, **race({"batched": ours, "pillow": pillow}, options.rounds, options.device)}


def slow_views(picture: np.ndarray, config: ViewsConfig, rng: np.random.Generator) -> list[Tensor]:
    """The published pipeline with Pillow: one view after the other."""
    from PIL import Image

    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    top, left = int(rng.integers(picture.shape[0] - height)), int(rng.integers(picture.shape[1] - width))
    whole = Image.fromarray(picture).crop((left, top, left + width, top + height))
    found = [slow_view(whole, config.global_size, 0.1, config, rng)]
    for area, size, blur in ((0.9, 224, 1.0), *((sum(one) / 2, 96, 0.5) for one in CONCENTRIC_AREAS)):
        side = round((area * width * height) ** 0.5)
        box = ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2)
        found.append(slow_view(whole.crop(box), size, blur, config, rng))
    for row in range(2):
        for column in range(2):
            a, b = height // 2, width // 2
            part = whole.crop((column * b, row * a, (column + 1) * b, (row + 1) * a))
            found.append(slow_view(part, config.global_size, 0.1, config, rng))
    return found


def slow_view(picture: Any, size: int, blur: float, config: ViewsConfig, rng: np.random.Generator) -> Tensor:
    """Resize, jitter, turn, blur, to a tensor."""
    from PIL import Image, ImageEnhance, ImageFilter

    picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    if rng.random() < config.jitter_chance:
        picture = ImageEnhance.Brightness(picture).enhance(1 + config.brightness * rng.uniform(-1, 1))
        picture = ImageEnhance.Contrast(picture).enhance(1 + config.contrast * rng.uniform(-1, 1))
    picture = picture.rotate(config.rotation_degrees * rng.uniform(-1, 1))
    if rng.random() < blur:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*config.blur)))
    return torch.from_numpy(np.array(picture)).float().div_(255)


# ------------------------------------------------------------------------------------------- loss


def _logits(device: str, batch: int) -> tuple[Tensor, Tensor]:
    """Logits of 9 student views and a teacher's probabilities over 65,536 prototypes."""
    generator = torch.Generator(device=device).manual_seed(0)
    student = torch.randn(9, batch, 65_536, generator=generator, device=device).div_(8)  # in place: peaks are measured
    teacher = torch.randn(batch, 65_536, generator=generator, device=device).div_(2).softmax(-1)
    return student.requires_grad_(), teacher


def _ours(student: Tensor, teacher: Tensor) -> Tensor:
    return prototype_cross_entropy(student, teacher, 0.1).mean()


def _plain(student: Tensor, teacher: Tensor) -> Tensor:
    return -(teacher * torch.log_softmax(student / 0.1, dim=-1)).sum(-1).mean()


def loss_part(options: argparse.Namespace) -> dict[str, Any]:
    student, teacher = _logits(options.device, 16 if options.device == "cpu" else 64)
    gradients = [torch.autograd.grad(form(student, teacher), student)[0] for form in (_ours, _plain)]
    require_equal(_ours(student, teacher).detach(), _plain(student, teacher).detach(), "loss")
    require_equal(gradients[0], gradients[1], "gradient of the loss")
    gradients.clear()
    found = race(
        {
            "ours": lambda: torch.autograd.grad(_ours(student, teacher), student),
            "plain": lambda: torch.autograd.grad(_plain(student, teacher), student),
        },
        options.rounds,
        options.device,
    )
    if options.device == "cpu":
        for name in ("ours", "plain"):
            command = [sys.executable, __file__, "--memory-of", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name]["peak_mib"] = json.loads(done.stdout)["peak_mib"]
    return {"rows": student.shape[0] * student.shape[1], "logits_mib": student.numel() * 4 // 2**20, **found}


def memory_of(name: str) -> int:
    """Peak memory of forward and backward beyond the inputs, MiB, in this process."""
    student, teacher = _logits("cpu", 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.autograd.grad((_ours if name == "ours" else _plain)(student, teacher), student)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


# ---------------------------------------------------------------------------------------- patches


def patches_part(options: argparse.Namespace) -> dict[str, Any]:
    """Steps in three dimensions with octants at the size of the whole and at half of it."""
    large, small, batch = (32, 16, 2) if options.device == "cpu" else (96, 48, 4)
    encoder = ConvNextConfig(
        spatial_dims=3, depths=(1, 1, 1), widths=(24, 48, 96), kernel=3, mean=(0.3,), deviation=(0.25,)
    )
    images = torch.rand(batch, 1, *[large + large // 2] * 3, device=options.device)
    given = Batch(inputs={"volume": images}, size=batch)
    contenders: dict[str, Callable[[], object]] = {}
    for name, part_size in (("half-size parts", large // 2), ("full-size parts", large)):
        views = ViewsConfig(
            global_size=large, local_size=small, part_size=part_size, branching=(2, 2, 2), saturation=0.0, hue=0.0
        )
        config = AdamV2Config(views=views, prototypes=1024, hidden_width=128, collapse_patience=0)
        objective = AdamV2(config, ConvNextEncoder(encoder)).to(options.device)
        generator = torch.Generator(device=options.device).manual_seed(0)

        def once(objective: AdamV2 = objective, generator: torch.Generator = generator) -> None:
            objective.zero_grad(set_to_none=True)
            draws = objective.draw(given, generator, Progress(step=0, total_steps=100))
            objective(given, draws).total.backward()

        contenders[name] = once
    found = race(contenders, options.rounds, options.device)
    for name in contenders:
        found[name]["volumes_a_second"] = round(1000 * batch / found[name]["median"], 2)
    return {"batch": batch, "edge": large, **found}


if __name__ == "__main__":
    main()
