"""``repcore compat``: whether versions of a model can share one store of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import say, show_json, table
from repcore.cli.options import (
    device_option,
    inference_options,
    json_option,
    reader_options,
    reading_options,
    work_options,
)
from repcore.devices import torch_device
from repcore.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from repcore.embedding.model import Model
    from repcore.interfaces import DatasetReader
    from repcore.specs import TargetSpec


@click.command("compat")
@click.argument("models", nargs=-1, metavar="OLD NEW... DATA")
@click.option("--label", required=True, help="Class column by which a found vector is right or wrong.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the halves: gallery and queries.")
@reading_options
@work_options
@device_option
@json_option
def compat_command(models: tuple[str, ...], label: str, seed: int, **given: Any) -> None:
    """Do vectors of a NEW model find what an OLD one stored? Models in the order of their age, then the data.

    Half of the rows of each class are the gallery, whose classes are their mean vectors; the others are queries. Row i,
    column j of the table: queries of model i on the gallery of model j. A later model is compatible with an earlier
    one if its queries score above the earlier one's own. AC is the share of compatible pairs, AA the mean of the table.

    \b
    Example:
      repcore compat runs/old runs/new archive.csv --label species
    """
    if len(models) < 3:
        raise ConfigError(
            f"{len(models)} arguments; two models and the data are needed",
            hint="repcore compat OLD NEW DATA --label NAME",
        )
    import torch

    from repcore.embedding.model import load
    from repcore.evaluation.compatibility import average_score, compatibility, cross_scores, gallery_rows

    *paths, data = models
    device = torch_device(given["device"])
    versions = [load(Path(one), device=device) for one in paths]
    reader, target = _data(versions, data, label, given)
    vectors, labels, names, left_out = _vectors(versions, reader, target, given)
    gallery = gallery_rows(labels, torch.Generator().manual_seed(seed))
    if bool(gallery.all()):
        raise DataError(f"no class of '{label}' has two rows that every model can embed", rows=len(labels))
    whole, single = cross_scores([torch.from_numpy(one).double() for one in vectors], labels, gallery)
    shares = compatibility(whole)
    result = {
        "models": [str(one) for one in paths],
        "rows": {"gallery": int(gallery.sum()), "queries": int((~gallery).sum()), "left_out": left_out},
        "scores": [[float(whole[i, j]) for j in range(i + 1)] for i in range(len(whole))],
        "average_compatibility": float(shares[-1]),
        "average_score": float(average_score(whole)),
        "classes": {
            name: [[float(one[i, j]) for j in range(i + 1)] for i in range(len(one))]
            for name, one in zip(names, single, strict=True)
        },
        "related": _same_line(versions),
    }
    if given["as_json"]:
        show_json(result)
        return
    _show(result, label)


def _data(versions: list[Model], data: str, label: str, given: dict[str, Any]) -> tuple[DatasetReader, TargetSpec]:
    from repcore.evaluation.probing import chosen_targets

    first = versions[0]
    for one in versions[1:]:
        if one.domain != first.domain:
            raise ConfigError(f"{one.folder.folder} is a model of {one.domain}, the first of {first.domain}")
        if one.folder.dim != first.folder.dim:
            raise ConfigError(
                f"{one.folder.folder} gives vectors of {one.folder.dim} numbers, {first.folder.folder} of "
                f"{first.folder.dim}: they cannot be compared",
                hint="versions trained with --method stationary and the same method.slots",
            )
    options = reader_options(given)
    reader = first.reader(data, reader=given["reader"], options=options, labels=[label])
    (target,) = chosen_targets(reader, [label])
    if target.kind != "class" or target.level != "item":
        raise ConfigError(f"compat compares classes of items; '{label}' is a {target.kind} label of {target.level}s")
    return reader, target


def _vectors(
    versions: list[Model], reader: DatasetReader, target: TargetSpec, given: dict[str, Any]
) -> tuple[list[np.ndarray], Any, list[str], int]:
    """Vectors of the rows that every model can embed and that have a class, their classes, names of the classes that
    are asked for, and how many rows are left out."""
    import numpy as np
    import torch

    from repcore.data.batching import label_array
    from repcore.data.guard import read_sample

    options = inference_options(given, versions[0].device)
    found = [one.embed(reader, options=options) for one in versions]
    good = np.asarray(np.stack([np.asarray(one.status) == "ok" for one in found]).all(0))
    values = []
    for row in range(len(reader)):
        values.append(read_sample(reader, row).targets.get(target.name) if good[row] else None)
    labels = label_array(values, target).reshape(-1)
    good &= ~np.isnan(labels) & ((labels != target.ignore) if target.ignore is not None else True)
    if good.sum() < 2:
        raise DataError(f"{int(good.sum())} rows have a class '{target.name}' and a vector", rows=len(reader))
    kept = torch.from_numpy(labels[good]).long()
    asked = [int(one) for one in kept.unique() if (kept == one).sum() > 1]
    names = [target.names[one] if target.names else str(one) for one in asked]
    return [one.vectors[good] for one in found], kept, names, int((~good).sum())


def _same_line(versions: list[Model]) -> bool:
    """Whether a method of fixed directions says that all are of one line: the same slots for the classes they share."""
    lines = []
    for one in versions:
        told = [record for record in one.folder.changes if "slots" in record and "classes" in record]
        if not told:
            return False
        lines.append((told[-1]["name"], told[-1]["slots"], list(told[-1]["classes"])))
    longest = max((classes for _, _, classes in lines), key=len)
    return all((name, slots) == lines[0][:2] and classes == longest[: len(classes)] for name, slots, classes in lines)


def _show(result: dict[str, Any], label: str) -> None:
    numbers = [str(one + 1) for one in range(len(result["models"]))]
    for number, path in zip(numbers, result["models"], strict=True):
        say(f"{number}: {path}")
    if not result["related"]:
        say("note: these models are not of one line (--method stationary), so low scores are to be expected")
    rows = result["rows"]
    say(f"{label}: {rows['gallery']} rows in the gallery, {rows['queries']} queries, {rows['left_out']} left out")
    table(("queries \\ gallery", *numbers), _cells(numbers, result["scores"]))
    say(f"compatible pairs (AC): {result['average_compatibility']:.3f}; mean (AA): {result['average_score']:.3f}")
    newest = len(numbers) - 1
    cells = [(name, one[newest][0], one[0][0], one[newest][newest]) for name, one in result["classes"].items()]
    table(("class", "newest on oldest", "oldest on itself", "newest on itself"), cells)


def _cells(numbers: list[str], scores: list[list[float]]) -> list[tuple[Any, ...]]:
    return [(number, *own, *[""] * (len(numbers) - len(own))) for number, own in zip(numbers, scores, strict=True)]
