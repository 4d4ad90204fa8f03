"""``repcore pointcloud scene-activation``: an interactive page of point activation maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from repcore.cli.console import say


@click.command("scene-activation")
@click.argument("model")
@click.option("--data", required=True, help="Scenes: path, or the name of a data set.")
@click.option("--reader", "reader_name", help="Registered reader to use instead of the one that fits best.")
@click.option("--scene", default="", help="Id of the scene; default: the first.")
@click.option(
    "--query", "queries", multiple=True, type=int, help="Number of the query point; default: three in the foreground."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("activation.html"),
    show_default=True,
    help="HTML file to write.",
)
def scene_activation_command(
    model: str, data: str, reader_name: str | None, scene: str, queries: tuple[int, ...], out: Path
) -> None:
    """Similarity of single points to all others under MODEL, before and after training, as one HTML page.

    \b
    Example:
      repcore pointcloud scene-activation runs/latest --data scan.npz -o maps.html
    """
    import repcore
    from repcore_pointcloud.probes.scene_features import calibrate, voxel_features
    from repcore_pointcloud.rendering.scenes import activation_picture

    loaded: Any = repcore.load(model)  # a model of this plugin
    reader = loaded.reader(data, reader=reader_name)
    sample = reader.by_id(scene) if scene else reader[0]
    item = loaded.preprocessor.prepare(sample)[0]
    batch = loaded.preprocessor.collate([item])
    points = item.values["coordinates"] * loaded.preprocessor.config.voxel_size_m
    asking = [int(item.values["source"][one]) for one in queries] or _foreground_voxels(item.values)
    twin = calibrate(loaded.random_twin(0), [batch])
    sections = []
    for query in asking:
        for title, encoder in (("trained", loaded.encoder), ("random weights", twin)):
            picture = activation_picture(points, voxel_features(encoder, batch), query, title)
            sections.append(f"<figure>{picture.html}<figcaption>{picture.alt}</figcaption></figure>")
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Point activation maps: {sample.id}</title>'
    page += (
        '<body style="font-family:sans-serif;display:flex;flex-wrap:wrap;gap:1em">'
        + "".join(sections)
        + "</body></html>"
    )
    out.write_text(page, encoding="utf-8")
    say(f"{len(asking)} maps of scene {sample.id}: {out}")


def _foreground_voxels(values: dict[str, np.ndarray]) -> list[int]:
    """A voxel in each of the three largest foreground regions."""
    region, flags = values["region"], values["foreground"]
    number = np.where(flags, np.bincount(region, minlength=len(flags)), 0)
    chosen = [one for one in np.argsort(-number)[:3] if number[one]] or [int(region[0])]
    return [int(np.flatnonzero(region == one)[0]) for one in chosen]
