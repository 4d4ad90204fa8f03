"""``repcore medical3d few-shot``: segmentation from 3, 6, 12 and 24 labelled images, beside random initialisation."""

from __future__ import annotations

import json
import statistics
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import ConsoleReporter, say, show_json, table

if TYPE_CHECKING:
    from repcore_medical3d.tasks.few_shot_segmentation import LabelledImages

TEST_SHARE = 0.3


@click.command("few-shot")
@click.argument("model")
@click.argument("data")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--shots", default="3,6,12,24", show_default=True, help="Numbers of labelled training images.")
@click.option("--steps", default=200, show_default=True, help="Optimiser steps of each training.")
@click.option("--seeds", default=3, show_default=True, help="Seeds of the choice of images and of the decoder.")
@click.option("--limit", default=100, show_default=True, help="Most images, from the first on.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="JSON file with all scores and settings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def few_shot_command(model: str, data: str, **given: Any) -> None:
    """Dice of a U-shaped decoder on MODEL's encoder, trained on a few labelled images of DATA (folder masks/).

    \b
    Example:
      repcore medical3d few-shot runs/latest jsrt/ --shots 3,6,12,24
      repcore medical3d few-shot runs/latest radiographs --limit 60 --steps 100
    """
    import repcore
    from repcore_medical3d.configs.anatomy_tasks import FewShotConfig
    from repcore_medical3d.tasks.few_shot_segmentation import few_shot_table

    config = FewShotConfig(shots=_numbers(given["shots"]), steps=given["steps"])
    loaded = repcore.load(model)
    train, test = _labelled(loaded, data, given["reader"], given["limit"])
    seeds = range(given["seeds"])
    starts: dict[str, Any] = {
        "pre-trained": [loaded.encoder for _ in seeds], "random init": [loaded.random_twin(seed) for seed in seeds],
    }  # fmt: skip
    reporter = ConsoleReporter()
    reporter.info(
        f"{len(train.images)} images to choose from, {len(test.images)} to test, {train.classes - 1} structures"
    )
    found = few_shot_table(starts, train, test, config, partial(reporter.progress, "training"))
    reporter.close()
    record = {
        "model": model, "data": data, "test_images": len(test.images), "shots": list(config.shots),
        "steps": config.steps, "dice": {name: {str(k): v for k, v in row.items()} for name, row in found.items()},
    }  # fmt: skip
    if given["output"] is not None:
        given["output"].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if given["as_json"]:
        show_json(record)
        return
    rows = [(name, *(_words(scores) for scores in row.values())) for name, row in found.items()]
    say(f"mean Dice on {len(test.images)} images, mean and standard deviation over {len(seeds)} seeds")
    table(("start", *(f"{shots} labelled" for shots in config.shots)), rows)


def _numbers(text: str) -> tuple[int, ...]:
    from repcore.errors import ConfigError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise ConfigError(f"--shots {text!r} is no list of numbers", hint="--shots 3,6,12,24")
    return tuple(int(word) for word in words)


def _words(scores: list[float]) -> str:
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return f"{statistics.mean(scores):.3f} ({deviation:.3f})"


def _labelled(loaded: Any, data: str, reader: str | None, limit: int) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images with labels, split by row."""
    import torch

    from repcore.data.seeds import generator
    from repcore.errors import ConfigError, DataError, ItemError
    from repcore_medical3d.tasks.few_shot_segmentation import LabelledImages

    if not hasattr(loaded.preprocessor, "mask"):
        raise ConfigError(f"{loaded.folder.preprocessor_name} gives no label images", hint="a model of medical3d/image")
    opened = loaded.reader(data, reader=reader)
    images, labels = [], []
    for row in range(min(limit, len(opened))):
        try:
            sample = opened[row]
            images.append(loaded.preprocessor.prepare(sample)[0].values)
        except ItemError:
            continue
        labels.append(loaded.preprocessor.mask(sample))
    if len(images) < 2:
        raise DataError(f"{len(images)} of the images of {data} can be used", expected="images with label images")
    every = LabelledImages(torch.stack(images), torch.stack(labels), int(torch.stack(labels).max()) + 1)
    order = generator(0, "few-shot-split").permutation(len(images))
    held = max(1, round(TEST_SHARE * len(order)))
    return every.rows(order[held:]), every.rows(order[:held])
