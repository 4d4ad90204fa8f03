"""What checks look at: real parts, built from a plugin's own recipes (or examples) the way a run builds them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.checkpoints.encoder_changes import changed, changes_encoder
from repcore.config import OptimiserConfig
from repcore.config.resolve import ResolvedPart, ResolvedRun, resolve_run
from repcore.data.batching import TrainingCollator, plain_batch
from repcore.data.readers import open_part
from repcore.data.seeds import mix
from repcore.data.stream import ItemKey
from repcore.embedding.inference import PreparedRow, prepare_row
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, DatasetReader, Draws, Encoder, Item, Objective, Progress
from repcore.registry import Entry, Registry
from repcore.reporting import LogReporter
from repcore.specs import DatasetSpec, EncoderSpec, ObjectiveSpec, TargetSpec
from repcore.testing.changed_files import CHANGES, changed_copy
from repcore.testing.check import SubjectError
from repcore.testing.tensors import difference
from repcore.training.assembly import RunParts, assemble, build
from repcore.training.optimisers import DecayRule, matrices_decay
from repcore.training.start import RunStart

DRAWN = TargetSpec("drawn", "class", names=("a", "b", "c"))
"""The label that methods of fine-tuning get in checks."""
ROWS = 64
BATCH = 6
STEPS = 40
SMALL = {
    "data.limit": ROWS,
    "data.workers": 0,
    "data.batch_size": BATCH,
    "trainer.steps": STEPS,
    "trainer.epochs": None,
}


@dataclass
class RecipeSubject:
    """One preset of a recipe, shrunk to a few rows; with ``views`` or ``objective`` in the place of its own, if a name
    is given.

    Args:
        data_of: the same recipe with another objective, whose data and fitted preprocessor are taken over.
    """

    registry: Registry
    entry: Entry[Any]
    preset: str
    views: str = ""
    objective: str = ""
    data_of: RecipeSubject | None = None

    @cached_property
    def resolved(self) -> ResolvedRun:
        """The preset's settings with few rows and steps."""
        named = {"views.name": self.views, "objective.name": self.objective}
        settings = {**SMALL, **{key: value for key, value in named.items() if value}}
        return resolve_run(self.registry, self.entry.full_name, preset=self.preset, settings=settings)

    @cached_property
    def parts(self) -> RunParts:
        """Reader, preprocessor, encoder and objective as a run would have them.

        Raises:
            SubjectError: they cannot be built.
        """
        try:
            if self.data_of is not None and not getattr(self.resolved.objective.config, "preprocessor_from", ""):
                return _around(self.data_of.parts, self.resolved)
            return assemble(self.resolved, LogReporter())
        except Exception as error:
            message = f"recipe {self.entry.full_name} cannot be built: {type(error).__name__}: {error}"
            raise SubjectError(message) from error

    @cached_property
    def reader(self) -> DatasetReader:
        """The data as it lies there, which splits and baselines get; that of a run may be prepared."""
        return open_part(self.resolved.dataset)

    @cached_property
    def all_rows(self) -> list[PreparedRow]:
        """Prepared training rows, in their order."""
        parts = self.parts
        return [prepare_row(parts.reader, parts.preprocessor, int(row)) for row in parts.train[:ROWS]]

    @cached_property
    def usable(self) -> list[PreparedRow]:
        """Prepared training rows without the ones that are reported as unusable."""
        kept = [row for row in self.all_rows if row.items]
        if len(kept) < 2:
            raise SubjectError(f"recipe {self.entry.full_name}: {len(kept)} of {len(self.all_rows)} rows can be used")
        return kept

    @cached_property
    def pieces(self) -> list[tuple[PreparedRow, Item]]:
        """Every item of every usable row: the first ones of all rows, then the second ones, and so on."""
        most = max(len(row.items) for row in self.usable)
        return [(row, row.items[place]) for place in range(most) for row in self.usable if place < len(row.items)]

    def plain_batch(self, numbers: Sequence[int]) -> Batch:
        """Chosen pieces as embedding sees them."""
        chosen = [self.pieces[number % len(self.pieces)] for number in numbers]
        samples = [row.sample for row, _ in chosen if row.sample is not None]
        items = [item for _, item in chosen]
        return plain_batch(self.parts.preprocessor, items, samples, self.parts.reader.targets, self.resolved.domain)

    def cost(self, number: int) -> int:
        """Of one piece."""
        return self.parts.preprocessor.cost(self.pieces[number][1].meta)

    def cheapest_first(self) -> list[int]:
        """Numbers of the pieces by cost."""
        return sorted(range(len(self.pieces)), key=self.cost)

    @torch.no_grad()
    def encoder_sees_apart(self, one: Batch, other: Batch) -> str:
        """Where two batches differ for the encoder; empty if they do not.

        Of inputs that carry labels beside (graphs do, so that pieces keep theirs), the encoder says whether it reads
        them.
        """
        where = difference(one.inputs, other.inputs)
        if not where:
            return ""
        encoder = as_encoder(EncoderSubject(self.resolved.encoder.entry, self).build())
        features = [encoder.forward(batch) for batch in (one, other)]
        return where if difference(*([found.pooled, found.tokens] for found in features)) else ""

    def training_batch(self, size: int, number: int = 0) -> Batch:
        """Rows as training sees them, with views if the recipe has some."""
        parts = self.parts
        items = parts.items(parts.train)
        chosen = np.resize(np.roll(parts.train, -number * size), size)
        drawn = [items[ItemKey(int(row), mix(0, "check", number, int(row)), progress(0))] for row in chosen]
        return TrainingCollator(parts.preprocessor, parts.reader.targets, self.resolved.domain)(drawn).batch


def _begin(objective: Any, encoder: nn.Module, parts: RunParts) -> None:
    """What an objective does once when a run is assembled, if it does something."""
    if hasattr(objective, "begin"):
        say, domain = LogReporter().info, parts.resolved.domain
        start = RunStart(parts.reader, parts.preprocessor, encoder, parts.train, parts.validation, domain, say)
        entry = parts.resolved.preprocessor.entry
        objective.begin(dataclasses.replace(start, own_reader=parts.own_reader, preprocessor_entry=entry))


def _around(parts: RunParts, resolved: ResolvedRun) -> RunParts:
    """New networks on data that are open and a preprocessor that is fitted."""
    resolved = resolved.with_facts(parts.preprocessor.facts())
    views = None if resolved.views is None else build(resolved.views, parts.preprocessor)
    torch.manual_seed(mix(resolved.trainer.seed, "initialisation"))
    encoder = build(resolved.encoder)
    objective = build(resolved.objective, encoder)
    _begin(objective, encoder, parts)
    return dataclasses.replace(parts, resolved=resolved, views=views, encoder=encoder, objective=objective)


def progress(step: int) -> Progress:
    """A place in a short run."""
    return Progress(step=step, total_steps=STEPS, steps_per_epoch=10)


@dataclass
class EncoderSubject:
    """An encoder with batches: from a recipe, or one fixed batch from the spec's example."""

    entry: Entry[EncoderSpec]
    recipe: RecipeSubject | None

    def build(self, seed: int = 0) -> nn.Module:
        """A new encoder in eval mode."""
        torch.manual_seed(seed)
        if self.recipe is not None:
            encoder = build(self.recipe.parts.resolved.encoder)
        else:
            encoder = self.entry.load()(self._example[0])
        return cast(nn.Module, encoder).eval()

    def batch(self, numbers: Sequence[int] = range(BATCH)) -> Batch:
        """Chosen rows; the example's batch where there is no recipe."""
        return self._example[1] if self.recipe is None else self.recipe.plain_batch(numbers)

    @property
    def rows(self) -> RecipeSubject:
        """The recipe that rows are chosen from."""
        if self.recipe is None:
            raise SubjectError(f"{self.entry.full_name} is in no recipe, so rows cannot be chosen")
        return self.recipe

    @cached_property
    def _example(self) -> tuple[Any, Batch]:
        config, batch = self.entry.load("example")()
        return config, batch


@dataclass
class ObjectiveSubject:
    """An objective with its encoder and training batches; one that needs labels gets a task of three classes."""

    entry: Entry[ObjectiveSpec]
    recipe: RecipeSubject | None
    partner: EncoderSubject | None

    @property
    def labelled(self) -> bool:
        """Whether it is a method of fine-tuning."""
        return self.entry.spec.labels == "required"

    def build(self, seed: int = 0) -> nn.Module:
        """A new objective around a new encoder, in training mode."""
        torch.manual_seed(seed)
        if self.recipe is not None and self.labelled:
            encoder = build(self.recipe.parts.resolved.encoder)
            if changes_encoder(self.entry):
                encoder = changed(ResolvedPart(self.entry, self.config), encoder)
            task = ClassificationTask(ClassificationConfig(), encoder, DRAWN)
            objective = self.entry.load()(self.config, encoder, task)
        elif self.recipe is not None:
            resolved = self.recipe.parts.resolved
            encoder = build(resolved.encoder)
            objective = build(resolved.objective, encoder)
            _begin(objective, encoder, self.recipe.parts)
        elif self.partner is not None:
            encoder = self.partner.build(seed).train()
            objective = self.entry.load()(self.entry.load("example")()[0], encoder)
        else:
            raise SubjectError(f"no encoder with an example offers what {self.entry.full_name} needs")
        return cast(nn.Module, objective).train()

    def batch(self, size: int = BATCH, number: int = 0) -> Batch:
        """Training rows; the example's batch where there is no recipe."""
        if self.recipe is None:
            batch: Batch = self.entry.load("example")()[1]
            return batch
        if self.labelled:
            batch = self.recipe.plain_batch(range(number * size, (number + 1) * size))
            labels = torch.arange(size) % len(DRAWN.names)
            if self.entry.spec.sampler == "mixed":  # labelled rows first, as its batches have them
                labels[-(-size // 2) :] = -1
            batch.targets = {**batch.targets, DRAWN.name: labels}
            return batch
        return self.recipe.training_batch(size, number)

    @property
    def config(self) -> Any:  # the author's dataclass
        """Settings as the recipe has them; of a method its example's, else its defaults."""
        if self.recipe is not None and not self.labelled:
            return self.recipe.parts.resolved.objective.config
        return self.entry.load("example")()[0] if self.entry.spec.example else self.entry.load("config")()

    def setting(self, name: str) -> float:
        """A number of the objective's settings."""
        return float(getattr(self.config, name))

    def with_setting(self, name: str, value: float) -> ObjectiveSubject | None:
        """The same objective with another number in its settings; None if it has no such setting or refuses it."""
        if self.recipe is None or self.labelled:
            return None
        part = self.recipe.parts.resolved.objective
        if name not in {one.name for one in dataclasses.fields(part.config)}:
            return None
        changed = dataclasses.replace(part, config=dataclasses.replace(part.config, **{name: value}))
        other = copy.copy(self.recipe)
        resolved = dataclasses.replace(self.recipe.parts.resolved, objective=changed)
        other.__dict__["parts"] = dataclasses.replace(self.recipe.parts, resolved=resolved)
        return ObjectiveSubject(self.entry, other, None)

    @property
    def optimiser(self) -> OptimiserConfig:
        """As the recipe has it."""
        return OptimiserConfig() if self.recipe is None else self.recipe.parts.resolved.optimiser

    @property
    def decay_rule(self) -> DecayRule:
        """As the spec has it."""
        rule: DecayRule = self.entry.load("decay_rule") if self.entry.spec.decay_rule else matrices_decay
        return rule


def rules(module: nn.Module) -> Objective:
    """An objective as the contract sees it."""
    return cast(Objective, module)


def as_encoder(module: nn.Module) -> Encoder:
    """An encoder as the contract sees it."""
    return cast(Encoder, module)


def draw(objective: nn.Module, batch: Batch, seed: int = 0, step: int = 0) -> Draws:
    """An objective's draws from a seed."""
    with torch.no_grad():
        return rules(objective).draw(batch, torch.Generator().manual_seed(seed), progress(step))


@dataclass
class DatasetSubject:
    """A data set that can be opened without files of the user.

    Args:
        seen: kept by the checks, so that many rows are read once.
    """

    entry: Entry[DatasetSpec]
    recipe: RecipeSubject | None
    seen: list[Any] = field(default_factory=list)

    @property
    def config(self) -> Any:  # the author's dataclass
        """Settings that open some rows."""
        if self.recipe is not None:
            return self.recipe.resolved.dataset.config
        return self.entry.load("example")() if self.entry.spec.example else self.entry.load("config")()

    def open(self) -> Any:  # the author's reader
        """A new reader."""
        return self.entry.load()(self.config)

    def variants(self) -> Iterator[tuple[str, Any]]:
        """Readers with one setting changed, or of a changed copy of their files; what fails is left out."""
        config = self.config
        path = getattr(config, "path", None)
        if path and Path(path).exists():
            for words, change in CHANGES.items():
                with tempfile.TemporaryDirectory() as name, contextlib.suppress(Exception):  # may be unreadable now
                    other_file = changed_copy(Path(path), Path(name), change)
                    if other_file is not None:
                        yield words, self.entry.load()(dataclasses.replace(config, path=type(path)(other_file)))
        for setting in dataclasses.fields(config):
            other = _another(getattr(config, setting.name))
            if other is not None:
                with contextlib.suppress(Exception):  # outside the setting's range
                    changed = dataclasses.replace(config, **{setting.name: other})
                    yield f"{setting.name}={other}", self.entry.load()(changed)


def _another(value: object) -> object:
    """Another value of a setting; None where none is near at hand."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value * 0.5 if isinstance(value, float) else None
