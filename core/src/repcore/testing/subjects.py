"""What checks look at: real parts, built from a plugin's own recipes (or examples) the way a run builds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.config import OptimiserConfig
from repcore.config.resolve import ResolvedRun, resolve_run
from repcore.data.batching import TrainingCollator, plain_batch
from repcore.data.seeds import mix
from repcore.data.stream import ItemKey
from repcore.embedding.inference import PreparedRow, prepare_row
from repcore.interfaces import Batch, Draws, Encoder, Objective, Progress
from repcore.registry import Entry, Registry
from repcore.reporting import LogReporter
from repcore.specs import DatasetSpec, EncoderSpec, ObjectiveSpec
from repcore.testing.check import SubjectError
from repcore.training.assembly import RunParts, assemble, build
from repcore.training.optimisers import DecayRule, matrices_decay

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
    """One preset of a recipe, shrunk to a few rows."""

    registry: Registry
    entry: Entry[Any]
    preset: str

    @cached_property
    def resolved(self) -> ResolvedRun:
        """The preset's settings with few rows and steps."""
        return resolve_run(self.registry, self.entry.full_name, preset=self.preset, settings=SMALL)

    @cached_property
    def parts(self) -> RunParts:
        """Reader, preprocessor, encoder and objective as a run would have them.

        Raises:
            SubjectError: they cannot be built.
        """
        try:
            return assemble(self.resolved, LogReporter())
        except Exception as error:
            message = f"recipe {self.entry.full_name} cannot be built: {type(error).__name__}: {error}"
            raise SubjectError(message) from error

    @cached_property
    def usable(self) -> list[PreparedRow]:
        """Prepared training rows without the ones that are reported as unusable."""
        parts = self.parts
        rows = [prepare_row(parts.reader, parts.preprocessor, int(row)) for row in parts.train[:ROWS]]
        kept = [row for row in rows if row.items]
        if len(kept) < 2:
            raise SubjectError(f"recipe {self.entry.full_name}: {len(kept)} of {len(rows)} rows can be used")
        return kept

    def plain_batch(self, numbers: Sequence[int]) -> Batch:
        """Chosen usable rows as embedding sees them."""
        rows = [self.usable[number % len(self.usable)] for number in numbers]
        samples = [row.sample for row in rows if row.sample is not None]
        items = [row.items[0] for row in rows]
        return plain_batch(self.parts.preprocessor, items, samples, self.parts.reader.targets, self.resolved.domain)

    def cheapest_first(self) -> list[int]:
        """Numbers of the usable rows by cost."""
        cost = self.parts.preprocessor.cost
        return sorted(range(len(self.usable)), key=lambda number: cost(self.usable[number].items[0].meta))

    def training_batch(self, size: int, number: int = 0) -> Batch:
        """Rows as training sees them, with views if the recipe has some."""
        parts = self.parts
        items = parts.items(parts.train)
        chosen = np.resize(np.roll(parts.train, -number * size), size)
        drawn = [items[ItemKey(int(row), mix(0, "check", number, int(row)), progress(0))] for row in chosen]
        return TrainingCollator(parts.preprocessor, parts.reader.targets, self.resolved.domain)(drawn).batch


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
    """An objective with its encoder and training batches."""

    entry: Entry[ObjectiveSpec]
    recipe: RecipeSubject | None
    partner: EncoderSubject | None

    def build(self, seed: int = 0) -> nn.Module:
        """A new objective around a new encoder, in training mode."""
        torch.manual_seed(seed)
        if self.recipe is not None:
            resolved = self.recipe.parts.resolved
            objective = build(resolved.objective, build(resolved.encoder))
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
        return self.recipe.training_batch(size, number)

    def setting(self, name: str) -> float:
        """A number of the objective's settings."""
        config = self.entry.load("example")()[0] if self.recipe is None else self.recipe.parts.resolved.objective.config
        return float(getattr(config, name))

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
    """A data set that can be opened without files of the user."""

    entry: Entry[DatasetSpec]
    recipe: RecipeSubject | None

    def open(self) -> Any:  # the author's reader
        """A new reader."""
        if self.recipe is not None:
            return self.entry.load()(self.recipe.resolved.dataset.config)
        config = self.entry.load("example")() if self.entry.spec.example else self.entry.load("config")()
        return self.entry.load()(config)
