"""``repcore medical3d landmarks``: error in mm of matched organ centres."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repcore.cli.console import say, show_json, table
from repcore.errors import DataError, ItemError

if TYPE_CHECKING:
    from repcore.embedding.model import Model
    from repcore.interfaces import Sample
    from repcore_medical3d.correspondence.backends import Correspondence
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor


def volume_model(path: Path) -> tuple[Model, VolumePreprocessor]:
    """A model of volumes.

    Raises:
        DataError: another kind of model.
    """
    from repcore.embedding.model import load
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

    model = load(path)
    if not isinstance(model.preprocessor, VolumePreprocessor) or not hasattr(model.encoder, "pyramid"):
        raise DataError(f"{path} is no model with maps of volumes", encoder=model.folder.encoder_name)
    return model, model.preprocessor


def parts_of(model: Model, data: str, reader: str | None, test: int) -> tuple[list[Sample], list[Sample]]:
    """Labelled training and test scans: declared splits, else the last fifth is the test.

    Raises:
        DataError: fewer than two labelled scans.
    """
    opened = model.reader(data, reader=reader)
    samples: dict[int, Sample] = {}
    for row in range(len(opened)):
        try:
            sample = opened[row]
        except ItemError as error:
            say(f"left out: row {row}: {error.reason}")
            continue
        if "segmentation" in sample.targets:
            samples[row] = sample
    if len(samples) < 2:
        raise DataError(f"{data!r} has {len(samples)} scans with dense labels", needed="2 or more")
    rows = sorted(samples)
    declared = opened.splits
    held = set(declared.get("test", rows[len(rows) - max(1, len(rows) // 5) :]))
    train = [samples[row] for row in rows if row not in held and row in set(declared.get("train", rows))]
    return train, [samples[row] for row in rows if row in held][:test]


@click.command("landmarks")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--pairs", type=int, default=20, show_default=True, help="Pairs of scans.")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def landmarks_command(model: Path, data: str, pairs: int, reader: str | None, as_json: bool) -> None:
    """Error in mm of matching organ centres between scans: the model's features, a random network, place alone.

    \b
    Example:
      repcore medical3d landmarks runs/latest scans/
    """
    import numpy as np

    from repcore_medical3d.correspondence.backends import Coordinates
    from repcore_medical3d.correspondence.embeddings import SelfCorrespondence
    from repcore_medical3d.probes.landmarks import landmark_errors_mm

    loaded, preprocessor = volume_model(model)
    _, test = parts_of(loaded, data, reader, 2 * pairs)
    if len(test) < 2:
        raise DataError(f"{data!r} has {len(test)} test scans with dense labels; a pair needs two test scans")
    chosen = list(itertools.pairwise(test))[:pairs]
    backends: dict[str, Correspondence] = {
        "model": SelfCorrespondence(loaded.encoder, preprocessor),
        "random-init": SelfCorrespondence(loaded.random_twin(0), preprocessor),
        "place": Coordinates(preprocessor),
    }
    rows = []
    for name, backend in backends.items():
        errors = [one for values in landmark_errors_mm(backend, chosen).values() for one in values]
        rows.append((name, float(np.mean(errors)), float(np.median(errors)), len(errors)))
    if as_json:
        show_json([dict(zip(("features", "mean_mm", "median_mm", "landmarks"), row, strict=True)) for row in rows])
        return
    table(("features", "mean mm", "median mm", "landmarks"), rows)
