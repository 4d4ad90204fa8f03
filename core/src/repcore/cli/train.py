"""``repcore <domain> train``: start, resume or plan a run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, duration, say
from repcore.cli.ending import report_of
from repcore.cli.options import RUNS_FOLDER, data_options, device_option, rows_option
from repcore.devices import device_in_words, torch_device
from repcore.errors import ConfigError
from repcore.launching import is_first_process
from repcore.reporting import figures_in_words

if TYPE_CHECKING:
    from repcore.config.resolve import ResolvedRun
    from repcore.training.assembly import RunParts
    from repcore.training.estimate import Estimate
    from repcore.training.run_folder import RunFolder
    from repcore.training.state import RunResult


@click.command("train")
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1)
@click.option("--preset", help="Preset of the recipe, for example tiny or paper.")
@data_options
@rows_option
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file merged over the preset.")
@click.option("--resume", metavar="RUN", help="Go on with a run: its folder, its name, or latest.")
@click.option("--allow-changed-data", is_flag=True, help="Resume although the data have changed; says what differs.")
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Start from the parameters of a trained model.",
)
@click.option("--name", help="Name of the run folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
@device_option
@click.option("--workers", type=int, help="Loader processes (same as data.workers=N).")
@click.option("--dry-run", is_flag=True, help="Open the data, make two trial steps, print the plan, stop.")
@click.pass_context
def train_command(
    ctx: click.Context,
    recipe: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    data: str | None,
    reader: str | None,
    selected_rows: str | None,
    file: Path | None,
    resume: str | None,
    allow_changed_data: bool,
    init_from: Path | None,
    name: str | None,
    out: Path,
    device: str,
    workers: int | None,
    dry_run: bool,
) -> None:
    """Pre-train RECIPE on unlabelled data; OVERRIDES are key.sub=value, for example trainer.steps=500.

    Without --data the recipe's own small data set is used: good for a first look.

    \b
    Example:
      repcore DOMAIN train RECIPE --preset tiny --data PATH
      repcore DOMAIN train RECIPE --resume latest
    """
    from repcore.training.run_folder import check_run_name

    domain: str = ctx.obj
    check_run_name(name)
    reporter = ConsoleReporter()
    if resume is not None:
        if recipe and "=" in recipe:  # none was named
            overrides = (recipe, *overrides)
            recipe = None
        _refuse_with_resume(preset, file, init_from, selected_rows)
        result = _resume(domain, recipe, resume, out, device, reporter, data, allow_changed_data, overrides)
    else:
        if recipe is None or "=" in recipe:
            raise _which_recipe(domain)
        resolved = resolve_command_line(domain, recipe, preset, file, overrides, data, reader, workers, selected_rows)
        if dry_run:
            _dry_run(resolved, device, reporter, init_from)
            return
        again = _requeued(resolved, out)
        if again is None:
            result = _start(resolved, reporter, out, name, device, init_from)
        else:
            result = _resume(domain, recipe, str(again), out, device, reporter)
    reporter.close()
    _finish(domain, result)


def _requeued(resolved: ResolvedRun, out: Path) -> Path | None:
    """The run to go on with when Slurm has started this very command again."""
    if resolved.trainer.on_preempt != "requeue":
        return None
    from repcore.training.processes import requeued_run

    found = requeued_run(out)
    return None if found is None else found.path


def _which_recipe(domain: str) -> ConfigError:
    """No recipe was named: those there are, or that the domain has none."""
    known = [one.full_name for one in _recipes(domain)]
    if not known:
        return ConfigError(f"no plugin registers a recipe in domain {domain!r}", hint="repcore list recipe")
    return ConfigError("which recipe?", recipes=", ".join(known))


def _recipes(domain: str) -> list[Any]:
    return registry.default().entries("recipe", domain)


def _refuse_with_resume(*given: object) -> None:
    if any(given):
        raise ConfigError(
            "--resume goes on with the run's own settings and takes no others",
            hint="to change settings, start a new run with --init-from runs/NAME/model",
        )


def _settings(
    domain: str, data: str | None, reader: str | None, workers: int | None, preprocessor: str
) -> dict[str, Any]:
    from repcore.data.readers import dataset_settings

    settings: dict[str, Any] = {}
    if data is not None:
        chosen = dataset_settings(registry.default(), data, domain=domain, reader=reader, preprocessor=preprocessor)
        for key, value in chosen.items():
            settings[f"dataset.{key}"] = value
    elif reader is not None:
        raise ConfigError(f"--reader {reader} needs --data PATH")
    if workers is not None:
        settings["data.workers"] = workers
    return settings


def resolve_command_line(
    domain: str,
    recipe: str,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    data: str | None,
    reader: str | None,
    workers: int | None,
    selected_rows: str | None = None,
) -> ResolvedRun:
    """Settings of a new run from what the user typed."""
    from repcore.config.recipes import recipe_preprocessor
    from repcore.config.resolve import resolve_run

    preprocessor = recipe_preprocessor(registry.default(), recipe, domain, preset, file, overrides)
    settings = _settings(domain, data, reader, workers, preprocessor)
    if selected_rows is not None:
        settings["data.rows"] = selected_rows
    return resolve_run(
        registry.default(), recipe, preset=preset, file=file, overrides=overrides, domain=domain, settings=settings
    )


def _prepare_torch(resolved: ResolvedRun, device: str, reporter: ConsoleReporter) -> str:
    """Threads and device, said before the slow imports."""
    import torch

    if resolved.trainer.threads is not None:
        torch.set_num_threads(resolved.trainer.threads)
    chosen = torch_device(device)
    words = device_in_words(chosen)
    reporter.info(f"{resolved.recipe}, preset {resolved.preset}, on {chosen} ({words}), {resolved.trainer.precision}")
    return chosen


def _start(
    resolved: ResolvedRun, reporter: ConsoleReporter, out: Path, name: str | None, device: str, init_from: Path | None
) -> RunResult:
    chosen = _prepare_torch(resolved, device, reporter)
    from repcore.training.assembly import assemble

    parts = assemble(resolved, reporter, init_from=init_from)
    from repcore.training.run import start_run  # seconds, which are over before it is said how long the run will take

    estimate = _estimate(parts, chosen)
    if estimate is not None:
        reporter.info(_forecast(estimate))
    return start_run(registry.default(), parts, reporter, root=out, name=name, device=device)


def _estimate(parts: RunParts, device: str) -> Estimate | None:
    from repcore.training.estimate import estimate_run
    from repcore.training.plan import stream_order, total_steps

    order = stream_order(parts)
    return estimate_run(parts, device, total_steps(parts.resolved, order), order)


def _forecast(estimate: Estimate) -> str:
    """``about 2 min: 19 s of training at 636 ms a step, 95 s of 11 validations, 6 s for the report``."""
    parts = [f"{duration(estimate.training_seconds)} of training at {1000 * estimate.step_seconds:.0f} ms a step"]
    if estimate.validations:
        parts.append(f"{duration(estimate.validation_seconds)} of {estimate.validations} validations")
    parts.append(f"{duration(estimate.report_seconds)} for the report")
    return f"about {duration(estimate.total_seconds)}: {', '.join(parts)}"


def _resume(
    domain: str,
    recipe: str | None,
    word: str,
    out: Path,
    device: str,
    reporter: ConsoleReporter,
    data: str | None = None,
    changed_data: bool = False,
    overrides: tuple[str, ...] = (),
) -> RunResult:
    from repcore.config.resolve import resolve_plain
    from repcore.data.shards.addresses import recorded_place
    from repcore.training.run_folder import RunFolder
    from repcore.training.same_run import with_free

    folder = RunFolder.open(word, out)
    plain = folder.read_json("config.json")
    has_data = isinstance(plain, dict) and isinstance(plain.get("dataset"), dict)
    if data is not None and has_data:  # the same data in another place; their content is compared
        plain = {**plain, "dataset": {**plain["dataset"], "path": recorded_place(data)}}
    if isinstance(plain, dict):
        plain = _seen_from_here(with_free(plain, overrides, folder), folder)
    resolved = resolve_plain(registry.default(), plain, f"run {folder.path.name}")
    if resolved.domain != domain or (recipe and registry.default().recipe(recipe, domain).full_name != resolved.recipe):
        raise ConfigError(
            f"{folder.path} is a run of {resolved.recipe}, not of {domain}/{recipe or '...'}",
            hint=shlex.join(["repcore", resolved.domain, "train", "--resume", word]),
        )
    _prepare_torch(resolved, device, reporter)
    from repcore.training.assembly import assemble
    from repcore.training.run import resume_run

    parts = assemble(resolved, reporter, fitted=folder.preprocessing)
    return resume_run(registry.default(), parts, folder, reporter, device=device, changed_data=changed_data)


def _seen_from_here(plain: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Settings with the paths of data and of other models, which were typed in the folder that the run began in.

    Raises:
        ConfigError: the data are not there; says how to name the place where they are.
    """
    for section, keys in {"dataset": ("path",), "objective": ("teacher", "teacher_path", "previous")}.items():
        for key in keys:
            part = plain.get(section)
            if isinstance(part, dict) and isinstance(part.get(key), str):
                plain[section] = {**part, key: folder.place_of(part[key])}
    part = plain.get("dataset")
    path = part.get("path") if isinstance(part, dict) else None
    if isinstance(path, str) and path and "://" not in path and not Path(path).expanduser().exists():
        raise ConfigError(
            f"{path!r}, the data of {folder.path}, does not exist", hint="--data PATH where the same data lie now"
        )
    return plain


def _dry_run(resolved: ResolvedRun, device: str, reporter: ConsoleReporter, init_from: Path | None) -> None:
    chosen = _prepare_torch(resolved, device, reporter)
    from repcore.training.assembly import assemble

    estimate = _estimate(assemble(resolved, reporter, init_from=init_from), chosen)
    reporter.close()
    if estimate is None:
        say("the model is too large for a trial step on a copy")
        return
    say(f"rows:       {estimate.rows[0]:,} training, {estimate.rows[1]:,} validation")
    say(f"parameters: {estimate.parameters:,}")
    say(f"steps:      {estimate.steps:,} of {estimate.items_per_step} items")
    say(f"one step:   {1000 * estimate.step_seconds:.0f} ms")
    say(f"whole run:  {_forecast(estimate)}")
    say("dry run: nothing was trained or written")


def _finish(domain: str, result: RunResult) -> None:
    if result.status == "interrupted":
        resume = shlex.join(["repcore", domain, "train", "--resume", str(result.folder)])
        raise result.left(resume if result.steps else None)
    if not is_first_process():
        return
    from repcore.report.build import build_report

    with report_of(result.folder):
        report = build_report(result.folder, data=result.data)
    figures = figures_in_words(result.validation)
    say(f"{result.steps} steps in {duration(result.seconds)}; validation: {figures or 'none'}")
    say(f"model:  {result.folder / 'model'}")
    say(f"report: {report}")
