"""TS2Vec and AutoTCL once more, with loops over series, steps and channels in float64: what replays must agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]


def gelu(values: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda one: one * 0.5 * (1 + math.erf(one / math.sqrt(2))))(values)


def conv(values: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int, before: int) -> np.ndarray:
    """(T, H) to (T, H'): tap j sees the step j dilations behind ``before`` steps back; outside is 0."""
    found = np.zeros((len(values), len(weight)))
    for step in range(len(values)):
        found[step] = bias
        for tap in range(weight.shape[2]):
            seen = step - before + tap * dilation
            if 0 <= seen < len(values):
                found[step] += weight[:, :, tap] @ values[seen]
    return found


def trunk(weights: Weights, x: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """One series (T, C) to (T, D)."""
    hidden = np.nan_to_num(x) @ weights["input_fc.weight"].T + weights["input_fc.bias"]
    hidden[~shown] = 0.0
    depth = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("feature_extractor"))
    for block in range(depth):
        own = {
            name.split(".", 3)[3]: one
            for name, one in weights.items()
            if name.startswith(f"feature_extractor.net.{block}.")
        }
        dilation, kernel = 2**block, own["conv1.conv.weight"].shape[2]
        before = dilation * (kernel - 1) // 2
        kept = hidden
        if "projector.weight" in own:
            kept = hidden @ own["projector.weight"][:, :, 0].T + own["projector.bias"]
        for name in ("conv1", "conv2"):
            hidden = conv(gelu(hidden), own[f"{name}.conv.weight"], own[f"{name}.conv.bias"], dilation, before)
        hidden = hidden + kept
    return hidden


def features(weights: Weights, x: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The same behind the mean of causal convolutions."""
    hidden = trunk(weights, x, shown)
    sizes = sorted({name.split(".")[1] for name in weights if name.startswith("tfd.")}, key=int)
    found = [
        conv(
            hidden,
            weights[f"tfd.{one}.weight"],
            weights[f"tfd.{one}.bias"],
            1,
            weights[f"tfd.{one}.weight"].shape[2] - 1,
        )
        for one in sizes
    ]
    return np.mean(found, 0)


def matched(rows: np.ndarray) -> float:
    """Row i of 2N finds row i + N among all others."""
    count = len(rows)
    losses = []
    for one in range(count):
        logits = [rows[one] @ rows[other] for other in range(count) if other != one]
        losses.append(np.logaddexp.reduce(logits) - rows[one] @ rows[(one + count // 2) % count])
    return float(np.mean(losses))


def hierarchical(one: np.ndarray, two: np.ndarray, alpha: float, unit: int) -> float:
    """(B, L, D) each."""
    total, number = 0.0, 0
    while True:
        length = one.shape[1]
        instance = np.mean([matched(np.concatenate([one[:, t], two[:, t]])) for t in range(length)])
        total += alpha * (instance if len(one) > 1 else 0.0)
        if length > 1 and number >= unit:
            total += (1 - alpha) * np.mean([matched(np.concatenate([a, b])) for a, b in zip(one, two, strict=True)])
        number += 1
        if length == 1:
            return total / number
        half = length // 2
        one, two = (np.maximum(x[:, 0 : 2 * half : 2], x[:, 1 : 2 * half : 2]) for x in (one, two))


def mmd(one: np.ndarray, two: np.ndarray, kernels: int, factor: float) -> float:
    rows = np.concatenate([one, two])
    count, half = len(rows), len(one)
    squared = np.array([[((a - b) ** 2).sum() for b in rows] for a in rows])
    narrowest = squared.sum() / (count**2 - count) / factor ** (kernels // 2)
    kernel = sum(np.exp(-squared / (narrowest * factor**q)) for q in range(kernels))
    return float((kernel[:half, :half] + kernel[half:, half:] - kernel[:half, half:] - kernel[half:, :half]).mean())
