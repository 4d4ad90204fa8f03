"""``repcore.train`` and ``repcore.Run``: pre-training from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repcore import registry as registries
from repcore.api.given_data import as_overrides, given_data, reporter_for
from repcore.arguments import checked
from repcore.config.recipes import recipe_preprocessor
from repcore.config.resolve import ResolvedRun, resolve_plain, resolve_run
from repcore.config.schema import DataConfig
from repcore.data.given_tables import is_table
from repcore.data.memory import MEMORY
from repcore.devices import torch_device
from repcore.embedding.model import Model, load
from repcore.embedding.results import Embeddings, Predictions
from repcore.errors import ConfigError
from repcore.interfaces import DatasetReader, DenseAnswer, Preprocessor
from repcore.process_state import as_it_was, leaves_no_trace
from repcore.registry import Registry
from repcore.reporting import Reporter
from repcore.training.assembly import OpenData, assemble
from repcore.training.run import resume_run, start_run
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunResult


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its figures, and its model, whose methods it has, too.

    Args:
        folder: the run folder (``model/``, ``report.html``, ``metrics.jsonl``).
        steps: optimiser steps, of a fine-tuning those of the model that is kept; seconds: of training.
        metrics: the last validation figures, of a fine-tuning those on test rows.
        verdict: of a fine-tuning: pre-trained against random starting weights, in words.
        device: where the model is loaded.
    """

    folder: Path
    steps: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""
    device: str = "cpu"
    _place: Path = field(init=False, repr=False, compare=False)  # wherever the process goes later

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", Path(self.folder).absolute())

    @cached_property
    def model(self) -> Model:
        """The trained model, loaded when it is first asked for."""
        return load(self._place, device=self.device)

    @property
    def report(self) -> Path:
        """The page about the run; drawn when it is first asked for, where the run has not done so."""
        page = self._place / "report.html"
        return page if page.is_file() else _drawn(self._place)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.model.module

    @checked
    def embed(self, data: Any, **options: Any) -> Embeddings:
        """:meth:`repcore.Model.embed`."""
        return self.model.embed(data, **options)

    @checked
    def predict(self, data: Any, **options: Any) -> Predictions:
        """:meth:`repcore.Model.predict`."""
        return self.model.predict(data, **options)

    @checked
    def tokens(self, data: Any, level: str | None = None, **options: Any) -> list[DenseAnswer | None]:
        """:meth:`repcore.Model.tokens`."""
        return self.model.tokens(data, level, **options)

    @checked
    def save(self, folder: Path | str) -> Model:
        """:meth:`repcore.Model.save`."""
        return self.model.save(folder)

    @checked
    def push_to_hub(self, repo: str, **options: Any) -> str:
        """:meth:`repcore.Model.push_to_hub`."""
        return self.model.push_to_hub(repo, **options)

    @checked
    def to(self, device: str | torch.device) -> Run:
        """This run, its model moved to another device."""
        self.model.to(device)
        return self


@checked
@leaves_no_trace
def train(
    recipe: str,
    data: Any = None,  # anything that Model.reader() takes
    *,
    domain: str | None = None,
    preset: str | None = None,
    config: Path | str | None = None,
    reader: str | None = None,
    read: Mapping[str, Any] | None = None,
    init_from: Model | Run | Path | str | None = None,
    resume: Path | str | None = None,
    allow_changed_data: bool = False,
    name: str | None = None,
    out: Path | str = "runs",
    device: str | torch.device = "auto",
    progress: bool | Reporter = False,
    report: bool = True,
    callbacks: Sequence[Any] = (),
    registry: Registry | None = None,
    **overrides: Any,
) -> Run:
    """Pre-train a recipe, as ``repcore DOMAIN train`` does.

    Args:
        recipe: ``domain/name``, or a short name with ``domain``.
        data: a path or the name of a data set, a table, inputs, samples, a torch data set, a callable that yields
            inputs or samples, or a reader; the recipe's own small data set if None.
        preset / config: of the recipe, and a YAML file merged over it.
        reader / read: registered reader for a path or a table, and its settings.
        init_from: model whose weights and preprocessor the run starts from.
        resume: an interrupted run to go on with; ``data`` that lay in memory are given again, other settings are not.
        allow_changed_data: go on although the data are not the same; what differs is said.
        name / out: of the run folder, and the folder of runs.
        device: ``auto`` (cuda where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        progress: True prints what happens to standard error; False logs it; or a reporter.
        report: write ``report.html``.
        callbacks: Lightning's, or functions that are called with each line of ``metrics.jsonl`` as a dict.
        overrides: settings: ``trainer={"steps": 20}``, ``trainer__steps=20`` or ``**{"trainer.steps": 20}``; steps,
            epochs, seed, batch_size and lr by these names, too.

    Raises:
        CheckpointError: the network of ``init_from`` was changed since it was loaded: save it first.
        RepcoreError: what is wrong with data or settings. Stopped: interrupted (a KeyboardInterrupt); all is saved.
    """
    known, teller, device = registry or registries.default(), reporter_for(progress), torch_device(device, "device")
    if resume is not None:
        _alone(resume, preset=preset, config=config, read=read, init_from=init_from, name=name, **overrides)
        folder = RunFolder.open(str(resume), Path(out))
        resolved, held = _of_run(known, folder, data, reader)
        if known.recipe(recipe, domain).full_name != resolved.recipe:
            raise ConfigError(f"{folder.path} is a run of {resolved.recipe}, not of {recipe}")
        parts = assemble(resolved, teller, fitted=folder.preprocessing, reader=held)
        parts.callbacks = _checked(callbacks)
        result = resume_run(known, parts, folder, teller, device=device, changed_data=allow_changed_data)
        return _finished(result, resolved, device, report)
    if allow_changed_data:
        raise ConfigError("allow_changed_data=True is for a run that goes on", hint="resume=RUN")
    donor = None if init_from is None else _folder_of(init_from)
    fitted = None if donor is None or data is None else load(donor, registry=known).preprocessor
    resolved, held = _resolved(known, recipe, domain, preset, config, data, reader, read, fitted, overrides)
    if resolved.trainer.threads is not None:
        torch.set_num_threads(resolved.trainer.threads)
    parts = assemble(resolved, teller, init_from=donor, reader=held)
    parts.callbacks = _checked(callbacks)
    result = start_run(known, parts, teller, root=Path(out), name=name, device=device)
    return _finished(result, resolved, device, report)


def _alone(resume: Path | str, **others: Any) -> None:
    """A run that goes on takes no settings, and has a name.

    Raises:
        ConfigError: names the first that was given.
    """
    for name, value in others.items():
        if value is not None:
            raise ConfigError(
                f"resume={str(resume)!r} and {name} are both given: resume goes on with the run's own settings and "
                "takes no others",
                hint=f"leave {name} out, or start a new run with init_from",
            )


def _checked(callbacks: Sequence[Any]) -> tuple[Any, ...]:
    for one in callbacks:
        if not (callable(one) or hasattr(one, "on_train_batch_end")):
            raise ConfigError(
                f"{type(one).__name__} is no callback", expected="a lightning.pytorch.Callback, or a function of a dict"
            )
    return tuple(callbacks)


def _resolved(
    registry: Registry,
    recipe: str,
    domain: str | None,
    preset: str | None,
    config: Path | str | None,
    data: Any,
    reader: str | None,
    read: Mapping[str, Any] | None,
    fitted: Preprocessor | None,
    overrides: Mapping[str, Any],
) -> tuple[ResolvedRun, DatasetReader | None]:
    """Settings of a new run, and its data where they lie in memory."""
    texts, file = as_overrides(overrides), None if config is None else Path(config)
    settings: dict[str, Any] = {}
    held = None
    if data is not None:
        entry = registry.recipe(recipe, domain)
        preprocessor = recipe_preprocessor(registry, recipe, domain, preset, file, texts)
        if isinstance(data, Mapping) and not is_table(data) and set(data) & {one.name for one in fields(DataConfig)}:
            hint = "settings of the section data are data__NAME=VALUE"
            raise ConfigError(f"data={dict(data)!r} is no data", hint=hint)
        given = given_data(
            registry, data, domain=entry.domain, preprocessor=preprocessor, reader=reader, options=read, fitted=fitted
        )
        settings, held = {f"dataset.{key}": value for key, value in given.settings.items()}, given.reader
    elif reader is not None or read:
        raise ConfigError(f"{f'reader={reader!r}' if reader is not None else f'read={read!r}'} needs data")
    run = resolve_run(registry, recipe, preset=preset, file=file, overrides=texts, domain=domain, settings=settings)
    return run, held


def _of_run(
    registry: Registry, folder: RunFolder, data: Any, reader: str | None
) -> tuple[ResolvedRun, DatasetReader | None]:
    """Settings of a run that is resumed, over the same data in another place, or given again."""
    plain = dict(folder.read_json("config.json") or {})
    if data is None:
        if reader is not None:
            raise ConfigError(f"reader={reader!r} needs data")
        return resolve_plain(registry, plain, f"run {folder.path.name}"), None
    domain = str(plain["recipe"]).rpartition("/")[0]
    given = given_data(registry, data, domain=domain, preprocessor=plain["preprocessor"]["name"], reader=reader)
    old = dict(plain["dataset"])
    plain["dataset"] = dict(given.settings) if MEMORY in (old["name"], given.settings["name"]) else {
        **old, **given.settings
    }  # fmt: skip
    return resolve_plain(registry, plain, f"run {folder.path.name}"), given.reader


def _folder_of(model: Model | Run | Path | str) -> Path:
    if isinstance(model, Run):
        loaded = vars(model).get("model")  # only a loaded one can have been changed
        return model._place / "model" if loaded is None else _folder_of(loaded)
    if isinstance(model, Model):
        return model.unchanged().folder.folder
    from repcore.checkpoints.places import model_path

    return model_path(model)


def _finished(result: RunResult, resolved: ResolvedRun, device: str, report: bool) -> Run:
    if result.status == "interrupted":
        again = shlex.join(["repcore", resolved.domain, "train", "--resume", str(result.folder)])
        raise result.left(again if result.steps else None)
    if report:
        _drawn(result.folder, result.data)
    return Run(result.folder, result.steps, result.seconds, dict(result.validation), device=device)


def _drawn(folder: Path, data: OpenData | None = None) -> Path:
    """The page about a run; what draws it is imported when it is asked for, because it takes seconds."""
    from repcore.report.build import build_report

    with as_it_was():
        return build_report(folder, data=data)
