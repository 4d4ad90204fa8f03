"""``repcore generic contrast MODEL DATA --label NAME``: which layers tell an attribute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from repcore.embedding.model import Model
    from repcore.interfaces import DatasetReader, ReportSection
    from repcore_generic.estimators.layer_contrast import LayerContrast

SHOWN = 10


@click.command("contrast")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--label", required=True, help="Label that says which rows have the attribute.")
@click.option("--positive", help="Class that is the attribute; of two classes the second when left out.")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--k", type=int, default=4, show_default=True, help="Entries of the dictionary active in a vector.")
@click.option("--features", type=int, help="Entries of the dictionary; four times the width when left out.")
@click.option("--steps", type=int, default=500, show_default=True, help="Optimiser steps of the dictionary.")
@click.option("--permutations", type=int, default=999, show_default=True, help="Random orders behind the p-values.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of dictionary and orders.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also write this page (FILE.html).")
def contrast_command(
    model: Path, data: str, label: str, positive: str | None, reader: str | None, output: Path | None, **given: int
) -> None:
    """Which layers of MODEL tell rows of DATA with an attribute from those without it.

    \b
    Example:
      repcore generic contrast runs/latest bbbp.csv --label p_np -o layers.html
    """
    from repcore.cli.console import say, table
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import load
    from repcore.errors import ConfigError
    from repcore.evaluation.probing import chosen_targets
    from repcore_generic.configs.estimators import SparseCodesConfig
    from repcore_generic.estimators.layer_contrast import HEADERS, contrast_layers, positives, vectors_of_layers

    if given["permutations"] < 1:
        raise ConfigError(f"--permutations {given['permutations']}: at least one is needed")
    loaded = load(model)
    rows = loaded.reader(data, reader=reader, labels=[label])
    (target,) = chosen_targets(rows, [label])
    layers, vectors, labels = vectors_of_layers(loaded, rows, InferenceOptions(), target)
    chosen, words = positives(labels, target, positive)
    config = SparseCodesConfig(k=given["k"], features=given["features"], steps=given["steps"], seed=given["seed"])
    found = contrast_layers(layers, vectors, labels, chosen, config, given["permutations"])
    counts = f"{words}: {int(found.is_positive.sum()):,} rows have it, {int((~found.is_positive).sum()):,} do not"
    say(counts)
    table(HEADERS, found.table())
    say(f"score: share of a layer's codes that only positives show; {given['permutations']:,} random orders")
    if output is not None:
        _page(output, loaded, data, rows, _sections(found, counts))
        say(f"page: {output}")


def _sections(found: LayerContrast, counts: str) -> list[ReportSection]:
    from repcore.interfaces import ReportGroup, ReportItem, ReportSection
    from repcore_generic.estimators.layer_contrast import HEADERS

    rows = found.table()
    best = int(rows[0][0])
    items = [ReportItem(row, f"row {row}") for row in found.examples(best)[:SHOWN]]
    text = (
        f"{counts}. The score is the share of a layer's codes that only rows with the attribute show; the p-value is "
        "the share of random orders of the labels that reach it."
    )
    shown = [ReportGroup(f"Rows whose code at layer {best} no row without the attribute shows", items)] if items else []
    return [
        ReportSection("Layers", text, table=[HEADERS, *rows]),
        *([ReportSection("Rows", groups=shown)] if items else []),
    ]


def _page(output: Path, model: Model, data: str, reader: DatasetReader, sections: list[ReportSection]) -> None:
    from repcore import registry
    from repcore.data.readers import dataset_settings
    from repcore.estimation.report import write_estimator_report

    name = dataset_settings(
        registry.default(), data, domain=model.domain, reader=None, preprocessor=model.folder.preprocessor_name
    )["name"]
    entry = registry.default().dataset(name, model.domain)
    facts = [("data", data), ("rows", f"{len(reader):,}")]
    render = entry.load("render") if entry.spec.render else None
    write_estimator_report(output, f"Layers that tell an attribute: {Path(data).name}", facts, sections, reader, render)
