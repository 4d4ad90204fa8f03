"""``repcore medical3d properties``: zero-shot properties of an anatomy encoder beside its random-init twins."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import ConsoleReporter, say, show_json, table

if TYPE_CHECKING:
    from torch import Tensor

    from repcore_medical3d.configs.properties import PropertiesConfig
    from repcore_medical3d.encoders.anatomy import AnatomyEncoder

SHOWN_PICTURES = 4


@click.command("properties")
@click.argument("model")
@click.argument("data")
@click.option("--property", "names", multiple=True, help="Evaluation by name and version (repeatable); all by default.")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--split", default="", help="Only rows of a split that the data declares, for example test.")
@click.option("--limit", default=200, show_default=True, help="Most images, from the first on.")
@click.option("--seeds", default=3, show_default=True, help="Seeds of places and of random-init twins.")
@click.option("--exponent", default=1, show_default=True, help="Patches have edges / 2**exponent of the image.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="JSON file with all figures and constants.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for co-segmentation pictures (images only).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def properties_command(model: str, data: str, names: Sequence[str], **given: Any) -> None:
    """Localizability, part-whole agreement, lines between places and matching of MODEL on the images of DATA.

    \b
    Example:
      repcore medical3d properties runs/latest radiographs/ --split test
      repcore medical3d properties runs/latest radiographs/ --property part-whole@1 -o figures.json
    """
    import repcore
    from repcore_medical3d.configs.properties import PropertiesConfig
    from repcore_medical3d.probes.properties import PROPERTIES, constants, property_named

    chosen = list(names) or list(PROPERTIES)
    for name in chosen:
        property_named(name)
    loaded = repcore.load(model)
    encoder = _checked_encoder(loaded.encoder, model)
    config = PropertiesConfig(exponent=given["exponent"])
    images, left_out = _images(loaded, data, given["reader"], given["split"], given["limit"])
    reporter = ConsoleReporter()
    record: dict[str, Any] = {"model": str(model), "data": str(data), "images": len(images), "left_out": left_out}
    seeds = range(given["seeds"])
    for number, name in enumerate(chosen):
        reporter.progress("evaluating", number, len(chosen), name)
        trained = [PROPERTIES[name](encoder, images, config, seed) for seed in seeds]
        twins = [PROPERTIES[name](loaded.random_twin(seed), images, config, seed) for seed in seeds]  # type: ignore[arg-type]
        record[name] = {
            "constants": constants(name, config), "trained": _summary(trained), "random-init": _summary(twins),
        }  # fmt: skip
    reporter.close()
    if given["output"] is not None:
        given["output"].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if given["pictures"] is not None:
        record["pictures"] = [str(path) for path in _draw(encoder, images, config, given["pictures"])]
    if given["as_json"]:
        show_json(record)
        return
    say(f"{len(images)} images of {data}" + (f", {left_out} rows cannot be used" if left_out else ""))
    rows = [
        (name, figure, f"{one['mean']:.3f}", f"{record[name]['random-init'][figure]['mean']:.3f}", f"{one['sd']:.3f}")
        for name in chosen
        for figure, one in record[name]["trained"].items()
    ]
    table(("property", "figure", "trained", "random init", "sd"), rows)


def _checked_encoder(encoder: Any, model: str) -> AnatomyEncoder:  # whatever the folder holds
    from repcore.errors import ConfigError
    from repcore_medical3d.encoders.anatomy import AnatomyEncoder

    if not isinstance(encoder, AnatomyEncoder):
        raise ConfigError(
            f"{model} holds a {type(encoder).__name__}; properties need medical3d/convnext or medical3d/resnet"
        )
    return encoder


def _images(loaded: Any, data: str, reader: str | None, split: str, limit: int) -> tuple[Tensor, int]:
    """Prepared images of one size, and the number of rows that cannot be used."""
    from repcore.errors import DataError, ItemError
    from repcore_medical3d.probes.patches import stacked_images

    opened = loaded.reader(data, reader=reader)
    if split and split not in opened.splits:
        raise DataError(f"{data} declares no split {split!r}", splits=", ".join(opened.splits) or "none")
    rows = list(opened.splits[split]) if split else list(range(len(opened)))
    found, left_out = [], 0
    for row in rows[:limit]:
        try:
            found.append(loaded.preprocessor.prepare(opened[int(row)])[0].values)
        except ItemError:
            left_out += 1
    return stacked_images(found), left_out


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": statistics.mean(run[name] for run in runs),
            "sd": statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        }
        for name in runs[0]
    }


def _draw(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, folder: Path) -> list[Path]:
    """One co-segmentation picture of the first images."""
    import numpy as np

    from repcore_medical3d.formats.images import write_png
    from repcore_medical3d.rendering.dense import co_segmentation
    from repcore_medical3d.rendering.images import side_by_side, with_mask

    folder.mkdir(parents=True, exist_ok=True)
    chosen = images[:SHOWN_PICTURES]
    labels, _ = co_segmentation(encoder, chosen, config, 0)
    grey = (chosen.mean(1).numpy() * 255).round().astype(np.uint8)
    drawn = [with_mask(np.repeat(one[..., None], 3, 2), mask) for one, mask in zip(grey, labels, strict=True)]
    path = folder / "co-segmentation.png"
    path.write_bytes(write_png(side_by_side(drawn)))
    return [path]
