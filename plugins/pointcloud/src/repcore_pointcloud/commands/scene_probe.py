"""``repcore pointcloud scene-probe``: dense probes of a model on labelled scenes, with baselines beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from repcore.cli.console import say, show_json, table
from repcore_pointcloud.commands.scene_data import open_scenes, scene_options

if TYPE_CHECKING:
    from repcore_pointcloud.probes.scene_features import Stages


@click.command("scene-probe")
@click.argument("model")
@scene_options
@click.option("--share", multiple=True, type=float, default=(), help="Also with this share of labels, such as 0.01.")
@click.option(
    "--stages", type=click.Choice(["last", "decoder", "all"]), default="last", show_default=True,
    help="Features of the last stage, or of several side by side.",
)  # fmt: skip
def scene_probe_command(model: str, share: tuple[float, ...], stages: Stages, as_json: bool, **given: Any) -> None:
    """Mean IoU of linear and nearest-neighbour probes on points and regions of MODEL.

    \b
    Example:
      repcore pointcloud scene-probe runs/latest --data scans/ --label semantic --ignore 0 --stages all
    """
    from repcore_pointcloud.probes.scene_features import calibrate
    from repcore_pointcloud.probes.scene_points import collect_points

    opened, seeds = open_scenes(model, given), int(given["seeds"])
    batches = opened.batches()
    encoders = {"trained": opened.model.encoder}
    encoders |= {f"random-init {seed}": calibrate(opened.model.random_twin(seed), batches) for seed in range(seeds)}
    points = collect_points(opened.model.preprocessor, encoders, opened.samples, **opened.labels, stages=stages)
    rows = _rows(points, seeds, share)
    label = given["label"]
    if as_json:
        show_json(
            {"label": label, "classes": points.names, "points": len(points.labels), "stages": stages, "rows": rows}
        )
        return
    say(f"{label}: {len(points.labels):,} points, classes {', '.join(map(str, points.names))}, {seeds} seeds")
    cells = [
        tuple(one[key] for key in ("level", "probe", "labels", "features", "mean_iou", "sd", "accuracy"))
        for one in rows
    ]
    table(("level", "probe", "labels", "features", "mIoU", "sd", "accuracy"), cells)


def _rows(points: Any, seeds: int, shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """Every level, probe and share of labels for trained, random and hand-crafted features."""
    from repcore_pointcloud.probes.scene_points import region_points, score_points

    plan: list[tuple[str, Literal["linear", "knn"], float | None]] = [
        ("point", "linear", None), ("point", "knn", None), ("region", "linear", None),
    ]  # fmt: skip
    plan += [("point", "linear", one) for one in shares]
    levels = {"point": points, "region": region_points(points)}
    rows = []
    for level, kind, part in plan:
        for name in ("trained", "random-init", "hand-crafted"):
            found = [
                score_points(
                    levels[level], f"{name} {seed}" if name == "random-init" else name, seed=seed, kind=kind, share=part
                )
                for seed in range(seeds)
            ]
            ious = [one.mean_iou for one in found]
            rows.append(
                {
                    "level": level, "probe": kind, "labels": "600 a class" if part is None else f"{part:.0%}",
                    "features": name, "mean_iou": round(float(np.mean(ious)), 4), "sd": round(float(np.std(ious)), 4),
                    "accuracy": round(float(np.mean([one.accuracy for one in found])), 4),
                }
            )  # fmt: skip
    return rows
