"""``repcore pointcloud scene-probe``: dense probes of a model on labelled scenes, with baselines beside."""

from __future__ import annotations

from typing import Any, Literal

import click
import numpy as np

from repcore.cli.console import say, show_json, table


@click.command("scene-probe")
@click.argument("model")
@click.option("--data", required=True, help="Scenes with a label of every point.")
@click.option("--reader", "reader_name", help="Registered reader to use instead of the one that fits best.")
@click.option("--label", required=True, help="Which label.")
@click.option("--ignore", "ignored", multiple=True, type=int, help="Label value that means unlabelled.")
@click.option("--group", default="", help="Label that divides points into groups (sectors); else scenes are divided.")
@click.option("--test", "tested", multiple=True, help="Groups, or ids of scenes, to test on; default: declared split.")
@click.option("--seeds", default=3, show_default=True, help="Random encoders and draws of training points.")
@click.option("--share", multiple=True, type=float, default=(), help="Also with this share of labels, such as 0.01.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def scene_probe_command(
    model: str, data: str, reader_name: str | None, label: str, ignored: tuple[int, ...], group: str,
    tested: tuple[str, ...], seeds: int, share: tuple[float, ...], as_json: bool,
) -> None:  # fmt: skip
    """Mean IoU of linear and nearest-neighbour probes on points and regions of MODEL.

    \b
    Example:
      repcore pointcloud scene-probe runs/latest --data scans/ --label semantic --ignore 0
    """
    import repcore
    from repcore.errors import DataError
    from repcore_pointcloud.probes.scene_points import calibrate, collect_points

    loaded: Any = repcore.load(model)  # a model of this plugin
    reader = loaded.reader(data, reader=reader_name)
    samples = [reader[row] for row in range(len(reader))]
    chosen = list(tested) or [reader[row].id for row in _held_out(reader.splits)]
    if not chosen:
        raise DataError("nothing says what to test on", hint="--test ID, or --group LABEL --test VALUE")
    batches = [loaded.preprocessor.collate(loaded.preprocessor.prepare(one)) for one in samples[:4]]
    encoders = {"trained": loaded.encoder}
    encoders |= {f"random-init {seed}": calibrate(loaded.random_twin(seed), batches) for seed in range(seeds)}
    points = collect_points(
        loaded.preprocessor, encoders, samples, label=label, ignored=ignored, group=group, test=chosen
    )
    rows = _rows(points, seeds, share)
    if as_json:
        show_json({"label": label, "classes": points.names, "points": len(points.labels), "rows": rows})
        return
    say(f"{label}: {len(points.labels):,} points, classes {', '.join(map(str, points.names))}, {seeds} seeds")
    cells = [
        tuple(one[key] for key in ("level", "probe", "labels", "features", "mean_iou", "sd", "accuracy"))
        for one in rows
    ]
    table(("level", "probe", "labels", "features", "mIoU", "sd", "accuracy"), cells)


def _held_out(splits: Any) -> Any:  # mapping of names to rows
    return next((splits[name] for name in ("test", "val", "validation") if name in splits), ())


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
