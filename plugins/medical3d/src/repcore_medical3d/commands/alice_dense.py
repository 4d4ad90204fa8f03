"""``repcore medical3d dense``, ``dense-probe``, ``segment`` and ``landmarks``: what a model knows about every voxel."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.errors import ConfigError, DataError, ItemError
from repcore_medical3d.configs.alice import SegmentationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from repcore.embedding.model import Model
    from repcore.interfaces import Sample
    from repcore_medical3d.correspondence.backends import Correspondence
    from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

TUNING = SegmentationConfig()
TRAINING_LOSS, CONVERGED = "training_loss", "converged"
COLUMNS = {"dice": "Dice", "surface_dice": "surface Dice", TRAINING_LOSS: "training loss"}
UNFITTED = 1.0  # cross-entropy plus 1 - Dice of training cubes: above it, next to nothing is found
PROBED_TEST = 40  # test scans, unless --test says otherwise


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


def sizes_within(text: str, scans: int) -> list[int]:
    """The numbers of ``1,3,10`` for which there are enough training scans; the others are said.

    Raises:
        ConfigError: it is no such list, or all of its numbers are too large.
    """
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--volumes {text!r} is not a list of numbers", hint="--volumes 1,3,10")
    wanted = [int(part) for part in parts]
    sizes = [size for size in wanted if size <= scans]
    if not sizes:
        raise ConfigError(f"--volumes {text!r} asks for more than the {scans} labelled training scans")
    for size in wanted:
        if size > scans:
            say(f"left out: {size} labelled scans, there are {scans} for training")
    return sizes


@click.command("dense")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of maps and vectors.")
@click.option("--level", default="stage1", show_default=True, help="stage0 (finest) to stage3.")
@click.option("--format", "kind", type=click.Choice(("nifti", "zarr")), default="nifti", show_default=True,
              help="zarr is read in parts and needs the package zarr.")  # fmt: skip
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
def dense_command(model: Path, data: str, output: Path, level: str, kind: str, reader: str | None) -> None:
    """Feature maps of whole scans (x, y, z, channel) with affine, and their mean vectors.

    \b
    Example:
      repcore medical3d dense runs/latest scans/ -o features --level stage1
      repcore medical3d dense runs/latest scans/ -o features --format zarr
    """
    from repcore_medical3d.preprocessors.volume_sliding import sliding_features
    from repcore_medical3d.writers.volume_maps import check_format, file_names, write_map

    check_format(kind)

    loaded, preprocessor = volume_model(model)
    levels = [f"stage{number}" for number in range(len(loaded.encoder.widths))]  # type: ignore[arg-type]
    if level not in levels:
        raise ConfigError(f"--level {level!r} is unknown", levels=", ".join(levels))
    opened = loaded.reader(data, reader=reader)
    reporter, failed = ConsoleReporter(), 0
    names = file_names([opened.id_of(row) for row in range(len(opened))])  # type: ignore[attr-defined]
    for row in range(len(opened)):
        told = partial(reporter.progress, f"cubes of scan {row + 1} of {len(opened)}")
        try:
            sample = opened[row]
            ((values, grid),) = sliding_features(loaded.encoder, preprocessor, sample, [int(level[-1])], told)  # type: ignore[arg-type]
        except ItemError as error:
            failed += 1
            say(f"row {row}: {error.status}: {error.reason}")
            continue
        write_map(output, names[row], values, grid, facts={"id": sample.id, "level": level}, kind=kind)
        reporter.progress("feature maps", row + 1, len(opened), sample.id)
    reporter.close()
    say(f"{len(opened) - failed} of {len(opened)} scans: {output}")


Scored = dict[str, dict[int, list[dict[str, float]]]]


def compared(
    contenders: dict[str, Callable[[int], Any]],
    judge: Callable[[Any, list[Sample], int], dict[str, float]],
    train: list[Sample],
    sizes: list[int],
    seeds: int,
) -> Scored:
    """Figures of every contender for every number of labelled scans and seed; all see the same scans."""
    import numpy as np

    result: Scored = {name: {size: [] for size in sizes} for name in contenders}
    reporter, done = ConsoleReporter(), 0
    total = len(contenders) * len(sizes) * seeds
    for seed in range(seeds):
        for name, make in contenders.items():
            for size in sizes:
                chosen = np.random.default_rng(1000 * size + seed).choice(len(train), size, replace=False)
                result[name][size].append(judge(make(seed), [train[int(row)] for row in chosen], seed))
                done += 1
                reporter.progress("comparing", done, total, f"{name}, {size} scans, seed {seed}")
    reporter.close()
    return result


def show_comparison(found: Scored, facts: dict[str, Any], as_json: bool, output: Path | None) -> None:
    """Mean and standard deviation over seeds, as a table or JSON."""
    import numpy as np

    record = {**facts, "figures": {name: {str(k): v for k, v in sizes.items()} for name, sizes in found.items()}}
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if as_json:
        show_json(record)
        return
    cells = [(name, size, figures) for name, sizes in found.items() for size, figures in sizes.items()]
    shown = [key for key in COLUMNS if all(key in one for _, _, figures in cells for one in figures)]
    rows = []
    for name, size, figures in cells:
        values = [[one[key] for one in figures] for key in shown]
        rows.append((name, size, *(f"{np.mean(one):.4f} ± {np.std(one):.4f}" for one in values), len(figures)))
    table(("features", "labelled scans", *(COLUMNS[key] for key in shown), "seeds"), rows)
    for remark in _remarks(cells):
        say(remark)


def _remarks(cells: Sequence[tuple[str, int, Sequence[dict[str, float]]]]) -> Iterator[str]:
    """What a reader of the table should know: training that found nothing, fits that ended early."""
    for name, size, figures in cells:
        losses = [one[TRAINING_LOSS] for one in figures if TRAINING_LOSS in one]
        if losses and sum(losses) / len(losses) > UNFITTED:
            yield f"{name}, {size} labelled scans: not even these are fitted; more --steps or another --lr may be due"
    fits = [one[CONVERGED] for _, _, figures in cells for one in figures if CONVERGED in one]
    if not all(fits):
        yield f"{fits.count(0.0)} of {len(fits)} fits of the probe ended with their iterations, not converged"


def comparison_options(function: Any) -> Any:  # a click command
    """Options of both comparisons."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
        click.option("-o", "--output", type=click.Path(path_type=Path), help="Where results go as JSON."),
        click.option("--test", type=int, default=PROBED_TEST, show_default=True, help="Most test scans."),
        click.option("--seeds", type=int, default=3, show_default=True, help="Number of seeds."),
        click.option("--volumes", default="1,3,10", show_default=True, help="Numbers of labelled scans."),
        click.option("--reader", help="Registered reader to use instead of the one that fits best."),
    ):
        function = option(function)
    return function


@click.command("dense-probe")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@comparison_options
def dense_probe_command(model: Path, data: str, **given: Any) -> None:
    """Linear probe of frozen dense features, beside a random network, plain intensities and place alone.

    \b
    Example:
      repcore medical3d dense-probe runs/latest scans/ --volumes 1,3,10
    """
    from repcore_medical3d.preprocessors.volumes import scan_key
    from repcore_medical3d.probes import alice_dense as probe

    loaded, preprocessor = volume_model(model)
    train, test = parts_of(loaded, data, given["reader"], given["test"])
    sizes = sizes_within(given["volumes"], len(train))
    stages = range(len(loaded.encoder.widths))  # type: ignore[arg-type]

    def kept(maps_of: probe.MapsOf) -> probe.MapsOf:
        known: dict[str, probe.Maps] = {}

        def maps(sample: Sample) -> probe.Maps:
            key = scan_key(sample)
            if key not in known:
                known[key] = maps_of(sample)
            return known[key]

        return maps

    own = kept(probe.encoder_maps(loaded.encoder, preprocessor, stages))  # type: ignore[arg-type]
    twins = {
        seed: kept(probe.encoder_maps(loaded.random_twin(seed), preprocessor, stages))  # type: ignore[arg-type]
        for seed in range(given["seeds"])
    }
    plain, place = kept(probe.intensity_maps(preprocessor)), kept(probe.place_maps(preprocessor))
    contenders: dict[str, Callable[[int], probe.MapsOf]] = {
        "model": lambda seed: own, "random-init": lambda seed: twins[seed],
        "intensities": lambda seed: plain, "place": lambda seed: place,
    }  # fmt: skip

    def judge(maps_of: probe.MapsOf, chosen: list[Sample], seed: int) -> dict[str, float]:
        fitted = probe.fit(maps_of, chosen, seed)
        return {**probe.score(maps_of, fitted, test), CONVERGED: float(fitted.has_converged)}

    found = compared(contenders, judge, train, sizes, given["seeds"])
    show_comparison(found, {**probe.constants(), "test_scans": len(test)}, given["as_json"], given["output"])


@click.command("segment")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=TUNING.steps,
    show_default=True,
    help="Optimiser steps of each fine-tuning.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=TUNING.lr,
    show_default=True,
    help="Peak learning rate; large models need less.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=TUNING.batch_size, show_default=True, help="Cubes of a step."
)
@comparison_options
def segment_command(model: Path, data: str, **given: Any) -> None:
    """Fine-tune the model and a random network for segmentation on a few labelled scans; Dice on the test scans.

    \b
    Example:
      repcore medical3d segment runs/latest scans/ --volumes 1,3,10
      repcore medical3d segment runs/latest scans/ --volumes 3 --steps 1000 --lr 1e-3
    """
    import copy

    from torch import nn

    from repcore_medical3d.tasks.alice_segmentation import labelled, score_segmentation, train_segmentation

    loaded, preprocessor = volume_model(model)
    settings = {name: given[name] for name in ("steps", "lr", "batch_size")}
    train, test = parts_of(loaded, data, given["reader"], given["test"])
    sizes = sizes_within(given["volumes"], len(train))
    contenders: dict[str, Callable[[int], nn.Module]] = {
        "model": lambda seed: copy.deepcopy(loaded.encoder), "random-init": loaded.random_twin,
    }  # fmt: skip

    def judge(backbone: nn.Module, chosen: list[Sample], seed: int) -> dict[str, float]:
        config = SegmentationConfig(**settings, seed=seed)
        tuned = train_segmentation(backbone, preprocessor, labelled(chosen, preprocessor), config)
        return {**score_segmentation(tuned.network, preprocessor, test), TRAINING_LOSS: tuned.loss}

    found = compared(contenders, judge, train, sizes, given["seeds"])
    facts = {"protocol": "segment@1", **settings, "test_scans": len(test)}
    show_comparison(found, facts, given["as_json"], given["output"])


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
