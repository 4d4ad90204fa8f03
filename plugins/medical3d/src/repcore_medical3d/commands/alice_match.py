"""``repcore medical3d match`` and ``train-embedding``: where is this place in another scan?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from repcore.interfaces import Sample
    from repcore_medical3d.correspondence.backends import Correspondence
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

BACKENDS = ("auto", "coordinates", "registration", "light", "checkpoint", "self")


def points_option(values: tuple[str, ...]) -> list[tuple[float, float, float]]:
    """``x,y,z`` in millimetres, several times.

    Raises:
        ConfigError: not three numbers.
    """
    points = []
    for text in values:
        try:
            x, y, z = (float(part) for part in text.split(","))
        except ValueError as error:
            raise ConfigError(
                f"--point {text!r} is not three numbers", expected="x,y,z in mm", hint="--point 12,-30,45"
            ) from error
        points.append((x, y, z))
    return points


@click.command("match")
@click.argument("first", metavar="A.nii.gz", type=click.Path(path_type=Path))
@click.argument("second", metavar="B.nii.gz", type=click.Path(path_type=Path))
@click.option("--point", "points", multiple=True, required=True, metavar="X,Y,Z", help="Place in A in mm (repeatable).")
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True,
              help="auto: self with --model, the network with --network, else registration.")  # fmt: skip
@click.option(
    "--model", type=click.Path(path_type=Path), help="Model or run folder, for its preprocessing and for self."
)
@click.option("--network", type=click.Path(path_type=Path), help="Checkpoint of an anatomical-embedding network.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="HTML page with the pairs drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def match_command(first: Path, second: Path, points: tuple[str, ...], **given: Any) -> None:
    """Find places of scan A in scan B; world coordinates in mm (right, front, up), as viewers show them.

    \b
    Example:
      repcore medical3d match a.nii.gz b.nii.gz --point 12,-30,45 -o match.html
    """
    import numpy as np

    from repcore.interfaces import Sample
    from repcore_medical3d.correspondence.backends import cycle_error_mm
    from repcore_medical3d.formats.volume_files import read_volume

    wanted = np.asarray(points_option(points))
    scans = [Sample(str(path), read_volume(path)) for path in (first, second)]
    _check_inside(scans[0], wanted)
    preprocessor, encoder = _model_parts(given["model"], scans)
    backend, name = _backend(given, preprocessor, encoder)
    found = backend.match(scans[0], scans[1], wanted)
    cycle = cycle_error_mm(backend, scans[0], scans[1], wanted, found)
    rows = [
        {
            "point_mm": point.round(2).tolist(),
            "match_mm": match.round(2).tolist(),
            "score": round(float(score), 4),
            "accepted": bool(score >= backend.least_score),
            "cycle_error_mm": round(float(error), 2),
        }
        for point, match, score, error in zip(wanted, found.points_mm, found.score, cycle, strict=True)
    ]
    if given["output"] is not None:
        _draw(given["output"], preprocessor, scans, rows, name)
    if given["as_json"]:
        show_json({"backend": name, "accepted_from": backend.least_score, "matches": rows})
        return
    say(f"backend {name}; accepted from score {backend.least_score:g}")
    table(
        ("point mm", "match mm", "score", "accepted", "cycle error mm"),
        [
            (_words(row["point_mm"]), _words(row["match_mm"]), row["score"], row["accepted"], row["cycle_error_mm"])
            for row in rows
        ],
    )
    if given["output"] is not None:
        say(f"drawn: {given['output']}")


def _words(point: Any) -> str:  # three numbers
    return ", ".join(f"{value:.1f}" for value in point)


def _check_inside(scan: Sample, points: Any) -> None:  # float array (P, 3)
    """Every point must lie in the first scan.

    Raises:
        DataError: one does not.
    """
    import numpy as np

    grid = scan.inputs.grid
    voxels = grid.voxels(points)
    outside = ((voxels < -0.5) | (voxels > np.asarray(grid.shape) - 0.5)).any(axis=1)
    if outside.any():
        corners = grid.world(np.array([[0, 0, 0], np.asarray(grid.shape) - 1]))
        raise DataError(
            f"the point {_words(points[outside][0])} mm lies outside {Path(scan.id).name}",
            scan_reaches=f"from {_words(corners.min(axis=0))} to {_words(corners.max(axis=0))} mm",
        )


def _model_parts(model: Path | None, scans: list[Sample]) -> tuple[VolumePreprocessor, Any]:
    """Preprocessor (of the model, or fitted on the two scans) and encoder, if there is a model."""
    from repcore_medical3d.configs.volumes import VolumeConfig
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

    if model is None:
        preprocessor = VolumePreprocessor(VolumeConfig())
        preprocessor.fit(scans, range(len(scans)))  # type: ignore[arg-type]  # a list gives rows by number
        return preprocessor, None
    from repcore.embedding.model import load

    loaded = load(model)
    if not isinstance(loaded.preprocessor, VolumePreprocessor):
        raise DataError(f"{model} is no model of volumes", encoder=loaded.folder.encoder_name)
    return loaded.preprocessor, loaded.encoder


def _backend(given: dict[str, Any], preprocessor: VolumePreprocessor, encoder: Any) -> tuple[Correspondence, str]:
    """The back-end that the options ask for."""
    from repcore_medical3d.configs.alice import AlicePairsConfig
    from repcore_medical3d.views.alice import correspondence, light_spacing

    name, network = given["backend"], given["network"]
    if name == "auto":
        name = "registration" if encoder is None else "self"
        if network is not None:
            try:
                light_spacing(network)
                name = "light"
            except DataError:
                name = "checkpoint"
    if name == "self":
        from repcore_medical3d.correspondence.embeddings import SelfCorrespondence

        if encoder is None or not hasattr(encoder, "pyramid"):
            raise ConfigError("--backend self needs --model with a backbone of volumes", hint="--backend registration")
        return SelfCorrespondence(encoder, preprocessor), name
    config = AlicePairsConfig(correspondence=name, network=str(network or ""))
    return correspondence(config, preprocessor), name


def _draw(
    target: Path, preprocessor: VolumePreprocessor, scans: list[Sample], rows: list[dict[str, Any]], name: str
) -> None:
    """A page with one figure a pair."""
    import html

    import numpy as np

    from repcore_medical3d.rendering.volumes import pair_picture

    prepared = [preprocessor.prepared(scan) for scan in scans]
    figures = []
    for row in rows:
        sides = [
            (scan.values[0].numpy(), scan.grid.spacing_mm, scan.grid.voxels(np.asarray(row[key])))
            for scan, key in zip(prepared, ("point_mm", "match_mm"), strict=True)
        ]
        caption = f"{_words(row['point_mm'])} mm in A, {_words(row['match_mm'])} mm in B, score {row['score']}"
        figures.append(f"<h2>{html.escape(caption)}</h2>{pair_picture(sides[0], sides[1], caption).html}")
    title = html.escape(f"Matches by {name}: {Path(scans[0].id).name} and {Path(scans[1].id).name}")
    body = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{''.join(figures)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(body, encoding="utf-8")


@click.command("train-embedding")
@click.argument("data")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Checkpoint to write (.safetensors)."
)
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--steps", type=int, default=2000, show_default=True, help="Optimiser steps.")
@click.option("--spacing", type=float, default=4.0, show_default=True, help="Voxel edge in mm.")
@click.option("--base", type=int, default=16, show_default=True, help="Channels of the stem.")
@click.option("--width", type=int, default=32, show_default=True, help="Width of the embeddings.")
@click.option("--crop", default="16,48,48", show_default=True, help="Crop along slices, rows, columns.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of initial parameters and crops.")
def train_embedding_command(data: str, output: Path, **given: Any) -> None:
    """Train an anatomical-embedding network on the scans in DATA, without labels.

    \b
    Example:
      repcore medical3d train-embedding scans/ -o network.safetensors
      repcore medical3d match a.nii.gz b.nii.gz --network network.safetensors --point 0,0,0
    """
    import numpy as np

    from repcore import registry
    from repcore.checkpoints.content import write_tensors
    from repcore.data.readers import open_data
    from repcore.errors import ItemError
    from repcore_medical3d.configs.correspondence import EmbeddingTrainingConfig
    from repcore_medical3d.configs.volumes import VolumeConfig
    from repcore_medical3d.correspondence.embedding_training import train_embedding
    from repcore_medical3d.correspondence.embeddings import network_input
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

    _, reader = open_data(registry.default(), data, domain="medical3d", reader=given["reader"])
    rows = np.asarray(reader.splits.get("train", range(len(reader))))
    preprocessor = VolumePreprocessor(VolumeConfig())
    preprocessor.fit(reader, rows)
    volumes = []
    for row in rows:
        try:
            volumes.append(network_input(reader[int(row)], given["spacing"], preprocessor)[1])
        except ItemError as error:
            say(f"left out: row {int(row)}: {error.reason}")
    crop = tuple(int(part) for part in given["crop"].split(","))
    if len(crop) != 3:
        raise ConfigError(f"--crop {given['crop']!r} is not three numbers", hint="--crop 16,48,48")
    config = EmbeddingTrainingConfig(
        steps=given["steps"], spacing_mm=given["spacing"], base=given["base"], width=given["width"],
        crop=(crop[0], crop[1], crop[2]), seed=given["seed"],
    )  # fmt: skip
    reporter = ConsoleReporter()
    network = train_embedding(
        volumes, config, lambda step, steps, loss: reporter.progress("training", step, steps, f"loss {loss:.3f}")
    )
    reporter.close()
    output.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    write_tensors(output, tensors, {"spacing_mm": str(config.spacing_mm)})
    say(f"{len(volumes)} scans, {config.steps} steps: {output}")
