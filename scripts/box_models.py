"""Train the models that lie in the distributions ``repcore-<domain>-models``, and write them with their cards.

    python scripts/box_models.py molecules --data FOLDER [--only NAME] [--out FOLDER] [--run FOLDER]

``plugins/<domain>/models/models.toml`` says what is trained and on what; each table of it becomes one model folder:
pre-trained by its recipe and preset, probed beside its random twin and raw inputs, its weights rounded to half
precision, the difference that this makes measured, and all of it said in the card. What lies in the folder of data is
never copied. A model that is there already is replaced once the new one is whole.

    [selformer-tiny]            # name of the model
    recipe = "selformer"        # of the domain
    preset = "tiny"
    data = "molecules/x.tsv.gz" # below --data; left out: the recipe's own, which is generated or comes with a library
    keep = {source = "chembl"}  # rows of a table that count; left out: all
    seed = 0
    settings = {"trainer.steps" = 500}
    trained_by = "..."          # in place of data: the command that trains it; its finished run is given as --run
    training_data, licence, attribution, intended_use = "..."    # of the card; licence is that of the weights
    limits = ["..."]
    [[selformer-tiny.judged]]   # labelled data for its figures, none of it seen in training
    data, label, split = "...", "...", "random"
    level, joined = "voxel", ["place"]   # for labels of elements; raw features beside the encoder's
    task, settings = "medical3d/segmentation", {"trainer.steps" = 300}   # in place of probes: a task that is trained on
    labels, how = 10, "..."      # so many labelled rows, over the model and over random weights; how, in words
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import repcore
from repcore.checkpoints.saving import store_halved
from repcore.embedding.model import Model
from repcore.errors import RepcoreError
from repcore.evaluation.comparison import mean_and_deviation
from repcore.evaluation.protocol import ProbeTable

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 6_000_000  # of a model folder
MOST_DIFFERENT = 1e-2  # of vectors, as a share of their length
COMPARED = 200  # rows
PROBE_SEEDS = 3
KEPT = ("summary", "paper", "recipe", "objective", "steps", "kept_step", "seed", "validation", "diagnostics")
"""Facts of the run's own card that stay; paths and versions of the machine that trained it do not."""


class BoxError(Exception):
    """A model cannot be made as its table says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Labelled data on which a model is probed."""

    data: str
    label: str
    split: str = "random"
    protocols: tuple[str, ...] = ()
    level: str | None = None
    joined: tuple[str, ...] = ()
    read: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: int | None = None
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedModel:
    """One table of ``models.toml``."""

    name: str
    recipe: str
    preset: str
    training_data: str
    licence: str
    intended_use: str
    data: str = ""
    trained_by: str = ""
    keep: Mapping[str, str] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    attribution: str = ""
    limits: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()


def read_tables(path: Path) -> list[BoxedModel]:
    """The models of one distribution.

    Raises:
        BoxError: a table lacks something, or says something that nobody reads.
    """
    found = []
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        try:
            judged = tuple(Judged(**_hashable(one)) for one in table.pop("judged", ()))
            found.append(BoxedModel(name=name, judged=judged, **_hashable(table)))
        except TypeError as error:
            raise BoxError(f"{path}, [{name}]: {error}") from error
    return found


def _hashable(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def place_of(data: str, folder: Path) -> str:
    """Data by its path below the folder, or a registered name as it is.

    Raises:
        BoxError: neither.
    """
    if (folder / data).exists():
        return str(folder / data)
    known = {one.full_name for one in repcore_registry().entries("dataset")}
    if data not in known:
        raise BoxError(f"no data {data!r} below {folder}, and no data set has this name")
    return data


def repcore_registry() -> Any:
    """What is installed."""
    from repcore import registry

    return registry.default()


def chosen_rows(source: str, keep: Mapping[str, str], scratch: Path) -> str:
    """A table with those of its rows that have these values, in the scratch folder; the source where all count.

    Raises:
        BoxError: there is no such column, or no such row.
    """
    if not keep:
        return source
    opened = gzip.open if source.endswith(".gz") else open
    stem = Path(source).name.removesuffix(".gz")
    with opened(source, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t" if stem.endswith(".tsv") else ","))
    names = [one for one in (rows[0] if rows else {}) if one not in keep]
    chosen = [{name: row[name] for name in names} for row in rows if all(row.get(k) == v for k, v in keep.items())]
    if not chosen:
        raise BoxError(f"{source} has no row with {dict(keep)}")
    path = scratch / f"{Path(stem).stem}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(chosen)
    return str(path)


def make(domain: str, wanted: BoxedModel, data: Path, out: Path, run: Path | None = None) -> Path:
    """Train, judge, round and write one model; returns its folder.

    Args:
        run: a finished run to take instead of training, where the table says what trains it.

    Raises:
        BoxError: it is too large, differs too much once rounded, or something it needs is not there.
        RepcoreError: what training or probing says.
    """
    with tempfile.TemporaryDirectory() as holder:
        scratch = Path(holder)
        source = chosen_rows(place_of(wanted.data, data), wanted.keep, scratch) if wanted.data else None
        if wanted.trained_by:
            whole, minutes = finished(domain, wanted, run)
        else:
            trained = repcore.train(
                f"{domain}/{wanted.recipe}", source, preset=wanted.preset, out=scratch / "runs", name=wanted.name,
                report=False, progress=True, read=dict(wanted.read) or None,
                **{"trainer.seed": wanted.seed, **wanted.settings},
            )  # fmt: skip
            whole, minutes = trained.model, trained.seconds / 60
        figures = {key: text for judged in wanted.judged for key, text in judged_figures(whole, judged, data).items()}
        boxed = scratch / wanted.name
        shutil.copytree(whole.folder.folder, boxed)
        card = card_of(domain, wanted, whole, figures, minutes)
        store_halved(boxed, card=card, origin={})
        compared = place_of(wanted.judged[0].data, data) if wanted.judged else source or default_data(whole)
        difference = largest_difference(whole, repcore.load(boxed), compared)
        store_halved(boxed, card={**card, "difference_of_float16": f"{difference:.1e} of a vector's length"}, origin={})
        size = sum(one.stat().st_size for one in boxed.iterdir())
        if size > MOST_BYTES or difference > MOST_DIFFERENT:
            raise BoxError(f"{wanted.name}: {size:,} bytes, difference {difference:.1e}: more than may be")
        leaks = [one.name for one in boxed.iterdir() if one.suffix in (".json", ".md") and str(data) in one.read_text()]
        if leaks:
            raise BoxError(f"{wanted.name}: {', '.join(leaks)} names a path of this machine")
        shutil.rmtree(out / wanted.name, ignore_errors=True)
        shutil.copytree(boxed, out / wanted.name)
    return out / wanted.name


def finished(domain: str, wanted: BoxedModel, run: Path | None) -> tuple[Model, float]:
    """The model of a finished run, and the minutes that the script wrote down beside its folder.

    Raises:
        BoxError: no run is given, or one of another recipe, preset, seed or settings.
    """
    if run is None:
        raise BoxError(f"{wanted.name} is trained by another script: --run FOLDER of `{wanted.trained_by}`")
    model = repcore.load(run / "model")
    own = model.folder.config["origin"]["run"]
    asked = {"recipe": f"{domain}/{wanted.recipe}", "preset": wanted.preset, "trainer.seed": wanted.seed}
    for name, value in {**asked, **wanted.settings}.items():
        found: Any = own
        for key in name.split("."):
            found = found[key]
        if found != value:
            raise BoxError(f"{run}: {name} is {found!r}, the table of {wanted.name} says {value!r}")
    return model, float(json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["minutes"])


def default_data(model: Model) -> str:
    """Name of the data set that the model was trained on."""
    return str(model.folder.config["origin"]["run"]["dataset"]["name"])


def judged_figures(model: Model, judged: Judged, data: Path) -> dict[str, str]:
    """``{"bbbp p_np, scaffold split, AUROC up": "trained 0.87 +- 0.01; random twin 0.83 +- 0.02; ecfp4 0.86"}``."""
    name = Path(judged.data).name.partition(".")[0]
    if judged.task:
        return {f"{name}: {key}": text for key, text in tuned_figures(model, judged, data).items()}
    tables = repcore.probe(
        model, place_of(judged.data, data), label=judged.label, split=judged.split, protocols=judged.protocols,
        seeds=PROBE_SEEDS, read=dict(judged.read) or None, level=judged.level, joined=judged.joined,
    )  # fmt: skip
    return {f"{name}: {key}": text for table in tables for key, text in _lines_of(table)}


def tuned_figures(model: Model, judged: Judged, data: Path) -> dict[str, str]:
    """The same of a task that is trained on labels: each metric over the model and over random weights."""
    with tempfile.TemporaryDirectory() as out:
        run = repcore.finetune(
            model, place_of(judged.data, data), label=judged.label, split=judged.split, task=judged.task,
            labels=judged.labels, seeds=PROBE_SEEDS, read=dict(judged.read) or None, out=out, report=False,
            progress=True, **judged.settings,
        )  # fmt: skip
        parts = json.loads((run.folder / "finetune.json").read_text(encoding="utf-8"))["parts"]
    cells: dict[str, list[str]] = {}
    for start, shown in (("model", "trained"), ("random", "random-init")):
        scores = [one["test"] for one in parts if one["start"] == start]
        for metric in scores[0]:
            mean, deviation = mean_and_deviation([one[metric] for one in scores])
            cells.setdefault(metric, []).append(f"{shown} {mean:.3f} +- {deviation:.3f}")
    counted = f", {judged.labels} labelled rows" if judged.labels else ""
    found = {
        f"{judged.label}, {judged.split} split{counted}, {judged.how}, {metric}": "; ".join(texts)
        for metric, texts in cells.items()
    }
    primary = next(iter(found))
    return {**found, primary: f"{found[primary]}; trained is {run.verdict}"}


def _lines_of(table: ProbeTable) -> list[tuple[str, str]]:
    """One line a probe: features with mean and standard deviation over seeds, then what the comparison says."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table.rows():
        found.setdefault((row["probe"], row["metric"]), []).append(f"{row['features']} {row['mean']} +- {row['sd']}")
    verdicts = {one.probe: one.verdict for one in table.comparisons if one.features == "trained"}
    return [
        (
            f"{table.target.name}, {table.split} split, {probe}, {metric}",
            "; ".join([*cells, *([f"trained is {verdicts[probe]}"] if probe in verdicts else [])]),
        )
        for (probe, metric), cells in found.items()
    ]


def card_of(
    domain: str, wanted: BoxedModel, model: Model, figures: Mapping[str, str], minutes: float
) -> dict[str, Any]:
    """Facts of the card; none of them names the machine."""
    own = {key: model.folder.card[key] for key in KEPT if model.folder.card.get(key) not in (None, "")}
    paper = repcore_registry().recipe(f"{domain}/{wanted.recipe}").spec.paper  # the run's own card names its encoder's
    if paper:
        own["paper"] = paper
    return {
        **own,
        "installed_as": f"{domain}/{wanted.name}",
        "training_data": wanted.training_data,
        "licence": wanted.licence,
        "notices": wanted.attribution,
        "figures": {key: text for key, text in figures.items() if "trained " in text},
        "baselines_by_other_probes": {key: text for key, text in figures.items() if "trained " not in text},
        "minutes": round(minutes, 1),
        "intended_use": wanted.intended_use,
        "limits": list(wanted.limits),
    }


def largest_difference(whole: Model, rounded: Model, data: str) -> float:
    """Over some rows: distance of the vectors of both, as a share of the vector's length."""
    reader = whole.reader(data)
    rows = [reader[row] for row in range(min(COMPARED, len(reader)))]
    first, second = (model.embed(rows).vectors for model in (whole, rounded))
    there = np.isfinite(first).all(1)
    if not there.any():
        raise BoxError(f"no row of {data} has a vector")
    return float((np.linalg.norm(first - second, axis=1) / np.linalg.norm(first, axis=1))[there].max())


def main() -> int:
    """1 when a model could not be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    domains = sorted(one.parent.parent.name for one in ROOT.glob("plugins/*/models/models.toml"))
    parser.add_argument("domain", choices=domains)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data that the tables name")
    parser.add_argument("--only", action="append", default=[], help="this model alone (repeatable)")
    parser.add_argument("--out", type=Path, help="folder for the model folders; the distribution's package by default")
    parser.add_argument("--run", type=Path, help="finished run of the command that trains the model (trained_by)")
    given = parser.parse_args()
    home = ROOT / "plugins" / given.domain / "models"
    out = given.out or home / "src" / f"repcore_{given.domain}_models"
    try:
        tables = [one for one in read_tables(home / "models.toml") if not given.only or one.name in given.only]
        if not tables:
            raise BoxError(f"no model of {given.domain} is called {', '.join(given.only)}")
        for one in tables:
            folder = make(given.domain, one, given.data, out, given.run)
            print(json.dumps({"model": one.name, "bytes": sum(f.stat().st_size for f in folder.iterdir())}))
    except (BoxError, RepcoreError) as problem:
        print(f"box_models: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
