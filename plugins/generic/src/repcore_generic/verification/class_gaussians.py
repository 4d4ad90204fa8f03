"""Replay of golden SePiCo data: running statistics, banks, labels of cells, all losses and their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.objectives.class_statistics import (
    ClassStatistics,
    bank_contrast,
    class_moments,
    evenness,
    gaussian_contrast,
    token_labels,
)

Produced = dict[str, Any]  # tensor or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    statistics, running = _statistics(golden)
    classes = int(golden.config["classes"])
    cells = _cell_labels(golden)
    counts = {name: value for name, value in running.items() if name.endswith(".count")}
    yield StageResult("statistics", {name: value for name, value in running.items() if name not in counts})
    stored = torch.where(cells >= 0, cells, int(golden.config["ignore"]))
    yield StageResult("counts", {**counts, "bank.sizes": statistics.filled, "cell_labels": stored})
    yield StageResult("bank", {f"bank.class{name}": statistics.means(name) for name in range(classes)})
    losses: Produced = {}
    gradients: Produced = {}
    corrected: Produced = {}
    for number, temperature in enumerate(golden.config["taus"]):
        _published(golden, statistics, cells, number, float(temperature), losses, gradients)
        corrected |= _corrected(golden, statistics, cells, number, float(temperature))
    yield StageResult("losses", losses)
    yield StageResult("gradients", gradients)
    yield StageResult("corrected", corrected)


def _statistics(golden: Golden) -> tuple[ClassStatistics, Produced]:
    """After all source batches, and what was known after each; the published banks start with a zero row."""
    classes, width = int(golden.config["classes"]), int(golden.config["width"])
    statistics = ClassStatistics(classes, width, int(golden.config["bank_length"]))
    for name in range(classes):
        statistics.push(name, torch.zeros(width, dtype=torch.float64))
    running: Produced = {}
    number = 0
    while f"source{number}.features" in golden.inputs:
        labels = golden.inputs[f"source{number}.labels"]
        kept = labels != int(golden.config["ignore"])
        statistics.add(class_moments(golden.inputs[f"source{number}.features"][kept], labels[kept], classes))
        for part, value in statistics.moments._asdict().items():
            running[f"statistics{number}.{part}"] = value.clone()
        number += 1
    return statistics, running


def _cell_labels(golden: Golden) -> Tensor:
    """Labels (B, h, w) of cells of s x s pixels; -1 = none."""
    labels, scale = golden.inputs["labels"][:, 0], int(golden.config["label_scale"])
    batch, height, width = labels.shape[0], labels.shape[1] // scale, labels.shape[2] // scale
    cells = torch.arange(batch * height * width).reshape(batch, height, width)
    source = cells.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    classes = torch.where(labels == int(golden.config["ignore"]), -1, labels)
    found = token_labels(
        source.reshape(-1), classes.reshape(-1), cells.numel(), int(golden.config["classes"]),
        float(golden.config["min_ratio"]),
    )  # fmt: skip
    return found.reshape(batch, height, width)


def _kept(features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, A) of labelled cells in raster order, and their classes."""
    rows, labels = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]), cells.reshape(-1)
    return rows[labels >= 0], labels[labels >= 0]


def _published(
    golden: Golden,
    statistics: ClassStatistics,
    cells: Tensor,
    number: int,
    temperature: float,
    losses: Produced,
    gradients: Produced,
) -> None:
    for name in ("dist", "proto", "bank"):
        features = golden.inputs["features"].clone().requires_grad_()
        rows, labels = _kept(features, cells)
        if name == "bank":
            each = bank_contrast(rows, labels, statistics.bank, statistics.filled, temperature)
        else:
            each = gaussian_contrast(rows, labels, statistics.moments, temperature, spread=name == "dist")
        losses[f"{name}.tau{number}.loss"] = each.mean()
        gradients[f"{name}.tau{number}.grad"] = torch.autograd.grad(each.mean(), features)[0]
    rows = _kept(golden.inputs["features"], cells)[0].clone().requires_grad_()
    loss = -evenness(rows, statistics.mean, temperature)
    losses[f"regulariser.tau{number}.loss"] = loss
    gradients[f"regulariser.tau{number}.grad"] = torch.autograd.grad(loss, rows)[0]


def _corrected(golden: Golden, statistics: ClassStatistics, cells: Tensor, number: int, temperature: float) -> Produced:
    features = golden.inputs["features"].double().requires_grad_()
    rows, labels = _kept(features, cells)
    known = statistics.count > 0
    loss = gaussian_contrast(rows, labels, statistics.moments, temperature, known=known).mean()
    return {
        f"corrected.tau{number}.loss": loss,
        f"corrected.tau{number}.grad": torch.autograd.grad(loss, features, retain_graph=True)[0],
        f"corrected.tau{number}.regulariser": evenness(rows, statistics.mean[known], temperature),
    }
