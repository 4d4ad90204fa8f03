"""``repcore pointcloud register``: the rigid motion between two overlapping clouds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import complain, say, table
from repcore.errors import ConfigError, DataError, ItemError

if TYPE_CHECKING:
    from repcore_pointcloud.alignment.registration import Cloud, Registration
    from repcore_pointcloud.configs.vbreg import RegistrationConfig
    from repcore_pointcloud.encoders.match_network import MatchNetwork

METHODS = ("vbreg", "spectral", "ransac")
DIRECTION = "source to target: target = R source + t, columns; the first file is the source"


@click.command("register")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True,
              help="Run or model folder, repeatable: of vbreg, to judge matches; of scenes (fac) or shapes (i2p-mae), "
              "for the features of points. Default: geometric features, no network.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
@click.option("--method", type=click.Choice(METHODS),
              help="Whose motion is written; all run. Default: that with which most matches agree.")  # fmt: skip
@click.option("--voxel", type=click.FloatRange(min=0, min_open=True),
              help="Side of a voxel in the files' unit. Default: about 8000 points of the larger cloud.")  # fmt: skip
@click.option("--matches", type=click.IntRange(min=3), default=1000, show_default=True, help="Matches kept at most.")
@click.option("--one-way", is_flag=True, help="Keep matches that are nearest in one direction only.")
@click.option("--sensor-at-origin", is_flag=True, help="Both clouds were seen from 0, 0, 0 of their files.")
@click.option("--no-refinement", is_flag=True, help="Leave out the last refinement by nearest points.")
@click.option("--least-overlap", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="Error where less of both clouds lies on the other.")  # fmt: skip
@click.option("--least-inliers", type=click.IntRange(min=3), default=12, show_default=True,
              help="Error where fewer matches agree.")  # fmt: skip
@click.option("--above-chance", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="Error where fewer matches agree than so many times those that agree by chance.")  # fmt: skip
@click.option("--truth", type=click.Path(path_type=Path),
              help="File with the true 4x4 motion of A onto B: every way's errors are printed, too.")  # fmt: skip
@click.option("--page", type=click.Path(path_type=Path), help="HTML page with matches and clouds drawn.")
def register_command(first: Path, second: Path, models: tuple[str, ...], output: Path, **given: Any) -> None:
    """The rigid motion that takes cloud A onto cloud B, from matches of their points.

    The network, a spectral vote and RANSAC judge the same matches and are printed side by side.

    \b
    Example:
      repcore pointcloud train vbreg --name matches
      repcore pointcloud register a.ply b.ply --model runs/matches -o transform.json
    """
    from repcore.files import write_text
    from repcore.outputs import local_output
    from repcore_pointcloud.alignment.registration import check, register, verdict
    from repcore_pointcloud.alignment.truth import read_motion

    for path in (output, given["page"]):
        if path is not None:
            local_output(path)
    truth = None if given["truth"] is None else read_motion(given["truth"])
    network, feature_model = loaded_models(models)
    if given["method"] == "vbreg" and network is None:
        raise ConfigError(
            "--method vbreg needs a trained network",
            hint="repcore pointcloud train vbreg --name matches, then --model runs/matches",
        )
    config = settings(given)
    clouds = read(first), read(second)
    found = register(*clouds, config, method=given["method"] or "", network=network, feature_model=feature_model)
    told = verdict(found, config)
    show(found, told)
    if truth is not None:
        show_errors(found, truth)
    if given["page"] is not None:
        given["page"].parent.mkdir(parents=True, exist_ok=True)
        write_text(given["page"], page(found, first.name, second.name))
        say(f"drawn: {given['page']}")
    check(found, config)
    output.parent.mkdir(parents=True, exist_ok=True)
    written = record(found, first.name, second.name, told)
    write_text(output, json.dumps(written, indent=1, allow_nan=False) + "\n")
    say(f"{found.method}: {output}")
    if told == "doubtful":
        complain(f"doubtful: {found.evidence.doubts[0]}; look at the page (--page) before using this motion")


def settings(given: dict[str, Any]) -> RegistrationConfig:
    """What the options say."""
    from repcore_pointcloud.configs.vbreg import RegistrationConfig

    return RegistrationConfig(
        voxel=given["voxel"],
        matches=given["matches"],
        mutual=not given["one_way"],
        sensor_at_origin=given["sensor_at_origin"],
        closest_points=not given["no_refinement"],
        least_overlap=given["least_overlap"],
        least_inliers=given["least_inliers"],
        above_chance=given["above_chance"],
    )


def read(path: Path) -> Cloud:
    """The points of a file that are no part left out by its flags; of a mesh points of its surface.

    Raises:
        DataError: the file cannot be read.
    """
    from repcore_pointcloud.alignment.registration import cloud_of
    from repcore_pointcloud.formats.points import read_cloud

    try:
        cloud = read_cloud(path.expanduser())
    except ItemError as error:
        raise DataError(f"{path}: {error.reason}", status=error.status) from error
    return cloud_of(cloud.points[cloud.counted], path.name)


def loaded_models(names: tuple[str, ...]) -> tuple[MatchNetwork | None, Any]:
    """The network over matches, and a model for features of points, by what each model is.

    Raises:
        ConfigError: two of a kind.
    """
    import repcore
    from repcore_pointcloud.encoders.match_network import MatchNetwork

    network, features = None, None
    for name in names:
        model: Any = repcore.load(name)
        is_network = isinstance(model.encoder, MatchNetwork)
        if (network if is_network else features) is not None:
            kind = "networks over matches" if is_network else "models for features of points"
            raise ConfigError(f"--model {name!r} is the second of two {kind}", expected="one of each kind")
        if is_network:
            network = model.encoder
        else:
            features = model
    return network, features


def show(found: Registration, told: str) -> None:
    """What every way found, as a table, with the verdict on the one that is written or refused."""
    rows = [
        (
            name, one.inliers, len(found.matches.source), one.solution.fitness, one.seconds,
            told if name == found.method else "not taken",
        )
        for name, one in found.found.items()
    ]  # fmt: skip
    table(("method", "matches that agree", "matches", "fitness", "seconds", "verdict"), rows)
    words = " and ".join(f"{one.share:.0%}" for one in found.overlaps)
    seen = found.evidence
    say(
        f"features {found.features}, voxel {found.voxel:g}, inlier distance {found.inlier_distance:g}; "
        f"{found.chance} matches agree by chance, {seen.mirrored} with the source mirrored; after refinement {words} "
        f"of the clouds lie on the other, {seen.gap:.2g} voxels off"
    )
    if "vbreg" not in found.found:
        say("vbreg was not run: it needs a trained network (repcore pointcloud train vbreg), given with --model")


def show_errors(found: Registration, truth: Any) -> None:
    """How far every way is from the true motion (4, 4), as a table."""
    from repcore_pointcloud.alignment.truth import errors_of

    rows = [
        (name, one.degrees, one.distance, one.precision, one.recall, one.f1)
        for name, one in errors_of(found, truth).items()
    ]
    table(("method", "degrees off", "distance off", "precision", "recall", "F1 of matches"), rows)


def record(found: Registration, source: str, target: str, told: str) -> dict[str, Any]:
    """What is written: plain JSON values, ``null`` for what is not known."""
    import numpy as np

    turn = found.motion[:3, :3]
    angle = np.degrees(np.arctan2(np.linalg.norm(turn - turn.T) / 8**0.5, (np.trace(turn) - 1) / 2))
    forward, back = found.overlaps
    best = found.found[found.method]
    return {
        "transform": found.motion.tolist(),
        "direction": DIRECTION,
        "unit": "the files' own unit",
        "source": source,
        "target": target,
        "rotation_degrees": float(angle),
        "method": found.method,
        "features": found.features,
        "voxel": found.voxel,
        "inlier_distance": found.inlier_distance,
        "matches": len(found.matches.source),
        "inliers": best.inliers,
        "inliers_by_chance": found.chance,
        "verdict": told,
        "doubts": found.evidence.doubts,
        "inliers_after_refinement": found.evidence.kept,
        "inliers_with_source_mirrored": found.evidence.mirrored,
        "surfaces_apart_voxels": found.evidence.gap if np.isfinite(found.evidence.gap) else None,
        "surfaces_parallel": found.evidence.parallel,
        "fitness": best.solution.fitness,
        "overlap_of_source": forward.share,
        "overlap_of_target": back.share,
        "rmse_of_overlap": forward.rmse if np.isfinite(forward.rmse) else None,
        "seconds": {name: round(value, 4) for name, value in found.seconds.items()},
        "methods": {
            name: {
                "success": one.solution.success,
                "inliers": one.inliers,
                "fitness": one.solution.fitness,
                "seconds": round(one.seconds, 4),
                "transform_before_refinement": one.motion.tolist(),
                **one.solution.facts,
            }
            for name, one in found.found.items()
        },
    }


def page(found: Registration, source: str, target: str) -> str:
    """HTML with the matches of every way, and the clouds before and after."""
    import html

    import numpy as np

    from repcore_pointcloud.rendering.matches import matches_picture, overlaid_picture

    parts, points = [], found.thinned
    for name, one in found.found.items():
        agreeing = one.solution.inliers.cpu().numpy()
        picture = matches_picture(found.matches.source, found.matches.target, agreeing, name, points)
        caption = f"{name}: {one.inliers} of {len(agreeing)} matches agree, {one.seconds:.2f} s"
        parts.append(f"<h2>{html.escape(caption)}</h2>{picture.html}")
    motion = found.near_motion
    moved = points[0] @ motion[:3, :3].T + motion[:3, 3]
    apart = points[0] - points[0].mean(0) + points[1].mean(0)
    for title, first in (("middles on one another", apart), (f"after {found.method}", moved)):
        picture = overlaid_picture(first, points[1], title)
        parts.append(f"<h2>{html.escape(title)}</h2>{picture.html}<p>{html.escape(picture.alt)}</p>")
    numbers = np.array2string(found.motion, precision=6, suppress_small=True)
    title = html.escape(f"{source} onto {target}")
    words = f"<pre>{html.escape(numbers)}</pre><p>{html.escape(DIRECTION)}; in the files' own unit</p>"
    body = "".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<body style="font-family:sans-serif;max-width:60em;margin:auto"><h1>{title}</h1>{words}{body}</body></html>'
    )
