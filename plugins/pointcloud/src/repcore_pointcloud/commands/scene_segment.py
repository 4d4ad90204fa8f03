"""``repcore pointcloud scene-segment``: fine-tuning with few labelled points, pre-trained against random weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore_pointcloud.commands.scene_data import OpenedScenes, open_scenes, scene_options

if TYPE_CHECKING:
    from repcore_pointcloud.configs.scene_segmentation import SceneFinetuningConfig
    from repcore_pointcloud.probes.scene_points import DenseScore

TRAINED, TWIN, CRAFTED = "trained", "random-init", "hand-crafted, linear"
SHARES = (0.01, 0.1)


@click.command("scene-segment")
@click.argument("model")
@scene_options
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=float,
    default=SHARES,
    show_default=True,
    help="Share of the labels to train on.",
)
@click.option("--steps", default=60, show_default=True, help="Optimiser steps of each fine-tuning.")
@click.option("--lr", default=1e-3, show_default=True, help="Peak learning rate of the encoder.")
@click.option("--clusters", default=0.0, show_default=True, help="Weight of clustering-based supervision.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where results go as JSON.")
def scene_segment_command(
    model: str, shares: tuple[float, ...], steps: int, lr: float, clusters: float, out: Path | None, as_json: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Fine-tune MODEL and random weights for segmentation with a share of the labels; mean IoU on tested parts.

    Beside both: a linear probe of hand-crafted geometry with the same labelled points.

    \b
    Example:
      repcore pointcloud scene-segment runs/latest --data scan.npz --label label5 --ignore 0 --group sector --test 3
    """
    from repcore_pointcloud.configs.scene_segmentation import SceneFinetuningConfig

    opened, seeds = open_scenes(model, given), int(given["seeds"])
    settings = [SceneFinetuningConfig(steps=steps, lr=lr, cluster_weight=clusters, seed=seed) for seed in range(seeds)]
    rows = compare(opened, shares or SHARES, settings)
    record = {
        "protocol": "scene-segment@1", "label": given["label"], "steps": steps, "lr": lr, "clusters": clusters,
        "tested": opened.labels["test"], "rows": rows,
    }  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if as_json:
        show_json(record)
        return
    say(f"{given['label']}: {steps} steps, {seeds} seeds")
    keys = ("labels", "points", "features", "mean_iou", "sd", "accuracy")
    cells = [tuple(one[key] for key in keys) for one in rows]
    table(("labels", "points", "features", "mIoU", "sd", "accuracy"), cells)


def compare(
    opened: OpenedScenes, shares: tuple[float, ...], settings: list[SceneFinetuningConfig]
) -> list[dict[str, Any]]:
    """Mean over the seeds of every share of labels and contender; all see the same labelled points.

    Args:
        settings: one a seed.
    """
    from repcore_pointcloud.probes.scene_features import calibrate
    from repcore_pointcloud.probes.scene_points import collect_points, score_points
    from repcore_pointcloud.tasks import scene_finetuning as task

    prepare = opened.model.preprocessor
    scenes, names = task.label_scenes(prepare, opened.samples, **opened.labels)
    batches = opened.batches()
    geometry = collect_points(prepare, {}, opened.samples, **opened.labels)
    reporter, rows, done = ConsoleReporter(), [], 0
    for share in shares:
        found: dict[str, list[DenseScore]] = {TRAINED: [], TWIN: [], CRAFTED: []}
        count = 0
        for one in settings:
            chosen = task.with_share(scenes, share, one.seed)
            count = sum(len(scene.rows) for scene in chosen)
            twin = calibrate(opened.model.random_twin(one.seed), batches)
            for name, encoder in ((TRAINED, copy.deepcopy(opened.model.encoder)), (TWIN, twin)):
                network = task.train_segmentation(encoder, prepare, chosen, names, one)
                found[name].append(task.score_segmentation(network, prepare, scenes))
                done += 1
                total = 2 * len(shares) * len(settings)
                reporter.progress("fine-tuning", done, total, f"{share:.0%}, {name}, seed {one.seed}")
            found[CRAFTED].append(score_points(geometry, "hand-crafted", seed=one.seed, share=share))
        rows += [summary(share, count, name, scores) for name, scores in found.items()]
    reporter.close()
    return rows


def summary(share: float, count: int, name: str, scores: list[DenseScore]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    ious = [one.mean_iou for one in scores]
    return {
        "labels": f"{share:.0%}", "points": count, "features": name, "mean_iou": round(float(np.mean(ious)), 4),
        "sd": round(float(np.std(ious)), 4), "accuracy": round(float(np.mean([one.accuracy for one in scores])), 4),
        "per_seed": [round(one, 4) for one in ious],
    }  # fmt: skip
