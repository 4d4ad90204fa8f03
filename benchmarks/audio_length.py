"""Time and memory over length: SSAMBA-tiny against attention encoders of the same size.

The published claim, measured again: one forward pass of a batch of synthetic spectrograms without gradients, against
SSAST-tiny's shape (width 192, 12 blocks, 3 heads), once with unfused attention, which holds the score matrix as in the
paper, and once with PyTorch's scaled-dot-product attention, which users would run today. Each point runs in a process
of its own, so that its peak memory is its own. Then the slope: time and memory a token from 2k to 22k tokens.

    python benchmarks/audio_length.py [--device cpu] [--batch 1] [--threads 1] [--tokens 512 2048 8192 22000]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, facts, write_result
from torch import Tensor, nn

from repcore.interfaces import Batch
from repcore_audio.configs.ssamba import PUBLISHED_TINY
from repcore_audio.encoders.ssamba import Ssamba

CONTENDERS = ("ssamba-tiny", "attention, fused", "attention, unfused")
WIDTH, BLOCKS, HEADS = 192, 12, 3
ROWS = 8  # 128 mel bins in patches of 16
LONG = 8192  # tokens above which quadratic contenders run once
LIMIT_SHARE = 0.5  # of the free memory that a point may need


class AttentionBlock(nn.Module):
    """Pre-norm transformer block of SSAST-tiny.

    Args:
        is_fused: scaled-dot-product attention instead of an explicit score matrix.
    """

    def __init__(self, is_fused: bool) -> None:
        super().__init__()
        self.is_fused = is_fused
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](tokens)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        if self.is_fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norms[1](tokens))


class AttentionEncoder(nn.Module):
    """SSAST-tiny's shape: 16 x 16 patches, 12 blocks, final norm, mean over tokens."""

    def __init__(self, is_fused: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 16, 16)
        self.blocks = nn.Sequential(*(AttentionBlock(is_fused) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, spectrogram: Tensor) -> Tensor:
        tokens = self.patches(spectrogram.transpose(1, 2)[:, None]).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(tokens)).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 8192, 22_000])
    parser.add_argument("--point", nargs=2, metavar=("CONTENDER", "TOKENS"), help="one point, as JSON")
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure(arguments.point[0], int(arguments.point[1]), arguments)))
        return
    points = [point for tokens in arguments.tokens for point in measured_apart(tokens, arguments)]
    for point in points:
        print(f"{point['contender']:20s} {point['tokens']:6d} tokens  " + described(point))
    slopes = linearity(points)
    for name, value in slopes.items():
        print(f"{name}: {value:.3f}")
    stem = f"audio_length_{arguments.device}"
    settings = {"batch": arguments.batch, "threads": arguments.threads, "device": arguments.device}
    record = {**facts(("repcore", "repcore-audio", "torch")), **settings, "points": points, "linearity": slopes}
    print(f"written: {write_result(stem, record)} and {stem}.svg")
    (RESULTS / f"{stem}.svg").write_text(plot(points), encoding="utf-8")


def described(point: dict[str, Any]) -> str:
    if "reason" in point:
        return f"not run: {point['reason']}"
    return f"{point['seconds']:8.3f} s  {point['mib']:9.1f} MiB"


# -------------------------------------------------------------------------------------------- measuring


def measured_apart(tokens: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All contenders at one length, each in its own process."""
    points = []
    for contender in CONTENDERS:
        point: dict[str, Any] = {"contender": contender, "tokens": tokens}
        needed = 2 * 4 * HEADS * tokens**2 * arguments.batch if contender == "attention, unfused" else 0
        if needed > LIMIT_SHARE * free_bytes(arguments.device):
            points.append({**point, "reason": f"its score matrices alone take {needed / 2**30:.1f} GiB"})
            continue
        command = [
            sys.executable, __file__, "--point", contender, str(tokens), "--device", arguments.device,
            "--batch", str(arguments.batch), "--threads", str(arguments.threads), "--rounds", str(arguments.rounds),
        ]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            points.append({**point, "reason": (run.stderr.strip().splitlines() or ["killed"])[-1]})
        else:
            points.append({**point, **json.loads(run.stdout.splitlines()[-1])})
    return points


def measure(contender: str, tokens: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of the best round (other work on a machine only adds) and peak memory beyond the model."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    columns = tokens // ROWS
    spectrogram = torch.randn(arguments.batch, 16 * columns, 128, device=device)
    batch = Batch(inputs={"spectrogram": spectrogram}, size=arguments.batch)
    if contender == "ssamba-tiny":
        encoder = Ssamba(PUBLISHED_TINY).to(device).eval()

        def run() -> Tensor:
            return encoder(batch).pooled
    else:
        attention = AttentionEncoder(contender == "attention, fused").to(device).eval()

        def run() -> Tensor:
            return attention(spectrogram)

    rounds = 1 if contender != "ssamba-tiny" and tokens > LONG else arguments.rounds + 1  # the first takes memory
    seconds = []
    with torch.inference_mode():
        before = reset_peak(device)
        for _ in range(rounds):
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            seconds.append(time.perf_counter() - started)
        peak = peak_bytes(device)
    return {"seconds": min(seconds), "slowest": max(seconds), "rounds": rounds, "mib": (peak - before) / 2**20}


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: torch.device) -> int:
    """Forget the peak so far; returns what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: sets the high-water mark to the present size
    return status_bytes("VmRSS")


def peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else status_bytes("VmHWM")


def status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def free_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])


def linearity(points: list[dict[str, Any]]) -> dict[str, float]:
    """How the cost of a token changes from 2k tokens on; linear growth never raises it.

    Memory is a constant part, the scan's working set, and a part that grows; the last figures are the growing part
    between one length and the next.
    """
    rows = [one for one in points if one["contender"] == "ssamba-tiny" and one["tokens"] >= 2000 and "seconds" in one]
    if len(rows) < 2:
        return {}
    found: dict[str, Any] = {}
    for name, key in (("seconds", "seconds"), ("MiB", "mib")):
        each = [one[key] / one["tokens"] for one in rows]
        found |= {
            f"{name} a token, {row['tokens']} against {rows[0]['tokens']}": one / each[0]
            for row, one in zip(rows[1:], each[1:], strict=True)
        }
    for one, two in pairwise(rows):
        more = 1000 * (two["mib"] - one["mib"]) / (two["tokens"] - one["tokens"])
        found[f"MiB a further thousand tokens, {one['tokens']} to {two['tokens']}"] = more
    return found


# ------------------------------------------------------------------------------------------------- plot


def plot(points: list[dict[str, Any]]) -> str:
    """Two log-log panels as SVG: seconds and MiB over tokens."""
    panels = (("seconds", "seconds a batch"), ("mib", "peak memory, MiB"))
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 360" font-family="sans-serif" font-size="12">']
    parts.append('<rect width="860" height="360" fill="white"/>')
    for number, (key, title) in enumerate(panels):
        parts += panel([one for one in points if key in one], key, title, 60 + 420 * number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(points: list[dict[str, Any]], key: str, title: str, left: int) -> list[str]:
    xs, ys = [math.log10(one["tokens"]) for one in points], [math.log10(max(one[key], 1e-3)) for one in points]
    low_x, high_x, low_y, high_y = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - low_x) / max(high_x - low_x, 1e-9)
        up = (y - low_y) / max(high_y - low_y, 1e-9)
        return left + 330 * across, 300 - 240 * up

    parts = [f'<text x="{left}" y="40" font-weight="bold">{title}</text>']
    for exponent in range(low_y, high_y + 1):
        _, y = place(low_x, exponent)
        parts.append(f'<line x1="{left}" x2="{left + 330}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
    for tokens in sorted({one["tokens"] for one in points}):
        x, _ = place(math.log10(tokens), low_y)
        parts.append(f'<text x="{x:.1f}" y="318" text-anchor="middle">{tokens}</text>')
    parts.append(f'<text x="{left + 165}" y="340" text-anchor="middle">tokens</text>')
    for number, contender in enumerate(CONTENDERS):
        colour = ("#0b6e4f", "#c1440e", "#5b5b8c")[number]
        own = [place(x, y) for x, y, one in zip(xs, ys, points, strict=True) if one["contender"] == contender]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in own)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in own]
        parts.append(f'<text x="{left + 10}" y="{66 + 16 * number}" fill="{colour}">{contender}</text>')
    return parts


if __name__ == "__main__":
    main()
