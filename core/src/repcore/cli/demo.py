"""``repcore demo``: the whole path on data that comes with the package: train, embed, probe, report."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, duration, say, table
from repcore.cli.ending import report_of
from repcore.cli.options import RUNS_FOLDER, device_option
from repcore.devices import torch_device
from repcore.errors import ConfigError, RepcoreError
from repcore.stopping import Stopped

if TYPE_CHECKING:
    import numpy as np

    from repcore.config.resolve import ResolvedRun
    from repcore.embedding.model import Model
    from repcore.evaluation.protocol import ProbeTable
    from repcore.interfaces import DatasetReader

SEEDS = (0, 1, 2)
DEMO_PRESET = "demo"


@click.command("demo")
@click.argument("domain")
@click.argument("overrides", nargs=-1)
@click.option("--recipe", help="Recipe to show; the domain's first by default.")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
@device_option
def demo_command(domain: str, overrides: tuple[str, ...], recipe: str | None, out: Path, device: str) -> None:
    """Pre-train DOMAIN's recipe on its built-in data, embed, probe beside baselines and installed models, and write a
    report.

    \b
    Example:
      repcore demo molecules
    """
    started = time.perf_counter()
    resolved = _resolve(domain, recipe, overrides)
    reporter = ConsoleReporter()
    chosen = torch_device(device)
    reporter.info(f"1/4 training {resolved.recipe} ({resolved.preset}) on {resolved.dataset.name}")
    run = _train(resolved, reporter, out, device)
    reporter.info("2/4 embedding every row")
    vectors = _embed(run, resolved, chosen)
    reporter.info("3/4 probing the frozen features")
    tables = _probe(run, resolved, chosen, reporter)
    reporter.info("4/4 writing the report")
    from repcore.report.build import build_report

    with report_of(run):
        report = build_report(run)
    reporter.close()
    _tell(resolved, run, tables)
    say(f"model:      {run / 'model'}")
    say(f"embeddings: {vectors}")
    say(f"report:     {report}")
    say(f"all of this took {duration(time.perf_counter() - started)}")


def _resolve(domain: str, recipe: str | None, overrides: tuple[str, ...]) -> ResolvedRun:
    from repcore.config.resolve import resolve_run

    known = registry.default()
    if domain not in known.domains():
        from repcore.cli.main import unknown_command

        raise unknown_command(domain)
    entries = known.entries("recipe", domain)
    if not entries:
        raise ConfigError(f"domain {domain!r} has no recipe")
    entry = known.recipe(recipe, domain) if recipe else entries[0]
    preset = DEMO_PRESET if DEMO_PRESET in entry.spec.presets else entry.spec.default
    return resolve_run(known, entry.full_name, preset=preset, overrides=overrides)


def _train(resolved: ResolvedRun, reporter: ConsoleReporter, out: Path, device: str) -> Path:
    from repcore.training.assembly import assemble
    from repcore.training.run import start_run

    result = start_run(registry.default(), assemble(resolved, reporter), reporter, root=out, device=device)
    if result.status != "finished":
        resume = shlex.join(["repcore", resolved.domain, "train", "--resume", str(result.folder)])
        raise Stopped(result.signal, f"step {result.steps} is saved", resume)
    return result.folder


def _embed(run: Path, resolved: ResolvedRun, device: str) -> Path:
    from repcore.data.readers import open_part
    from repcore.embedding.model import load
    from repcore.embedding.writers import ParquetWriter

    model = load(run, device=device)
    reader = open_part(resolved.dataset)
    writer = ParquetWriter(
        run / "embeddings.parquet", {"encoder": model.folder.encoder_name, "model": model.identity()}
    )
    writer.write(model.embed(reader))
    return writer.finish()


def _probe(run: Path, resolved: ResolvedRun, device: str, reporter: ConsoleReporter) -> list[ProbeTable]:
    from repcore.data.readers import open_part
    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import load
    from repcore.evaluation.probing import compute_features, probe_features, write_tables

    model = load(run, device=device)
    reader = open_part(resolved.dataset)
    targets = [spec for spec in reader.targets if spec.level == "item"]
    if not targets:
        return []
    features = compute_features(model, reader, SEEDS, InferenceOptions(device=device), reporter)
    features.matrices.update(_installed(model, reader, device, reporter))
    split = "group" if any(one is not None and one.group for one in features.rows.samples) else "random"
    tables = [
        probe_features(
            model.registry,
            features,
            target,
            preprocessor_name=model.folder.preprocessor_name,
            protocols=(),
            split=split,
            seeds=SEEDS,
            raw_forms=("centred@1",),  # a forest a label would take longer than all the rest
        )
        for target in targets
    ]
    write_tables(run / "probes", tables, data=resolved.dataset.name, split=split)
    return tables


def _installed(model: Model, reader: DatasetReader, device: str, reporter: ConsoleReporter) -> dict[str, np.ndarray]:
    """Vectors of the installed models with the encoder that the demo has trained, by their names: float64 (N, D)."""
    import numpy as np

    from repcore.embedding.model import load

    found = {}
    for entry in model.registry.entries("model", model.domain):
        try:
            other = load(f"{entry.plugin.name}:{entry.full_name}", device=device)
            if other.folder.encoder_name == model.folder.encoder_name:
                found[entry.full_name] = np.asarray(other.embed(reader).vectors, np.float64)
        except RepcoreError as error:
            reporter.warn(f"model {entry.full_name} is left out: {error.in_one_line()}")
    return found


def _tell(resolved: ResolvedRun, run: Path, tables: list[ProbeTable]) -> None:
    """What was learned, in numbers that stand beside their baselines."""
    from repcore.files import read_figures

    validation = [line for line in read_figures(run / "metrics.jsonl") if line["split"] == "validation"]
    if validation:
        say(f"validation loss {validation[0]['loss']:.3f} before training, {validation[-1]['loss']:.3f} after")
    if not tables:
        say("this data set has no labels to probe")
        return
    headers = ("label", "features", "probe", "metric", "mean", "sd")
    rows = [(one.target.name, *(row[name] for name in headers[1:])) for one in tables for row in one.rows()]
    table(headers, rows)
    for one in tables:
        for sentence in one.verdicts()[:1]:
            say(f"{one.target.name}: {sentence}")
    say(f"this was {resolved.dataset.name}, which comes with the package: it proves nothing about your data")
