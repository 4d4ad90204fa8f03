"""What a fine-tuning does when it has few labelled rows: one rule for all domains, tasks and methods.

With tens of rows, training moves a head away from what the rows say sooner than it improves the encoder. So the head
starts as a linear probe on the encoder's own pooled vector, everything learns at a rate that grows with the rows,
running statistics stay, and the probe is what is kept unless validation rows say surely otherwise (it is then fitted
again to all labelled rows, see :mod:`repcore.training.kept_start`). A probe first and fine-tuning from there is Kumar
et al. 2022 (LP-FT). The figures were chosen as ``benchmarks/few_labels.py`` says, never on test rows.

The rule is a function of the number of labelled rows and of the settings, so a resumed run has the same. What a user
sets is never changed by it.
"""

from __future__ import annotations

import dataclasses

from repcore.training.finetune import FinetuneSettings

FULL_RATE_ROWS = 200
"""Labelled rows from which the rate is the one of many."""
LEAST_STEPS = 60
"""Optimiser steps of a run whose passes over few rows would be fewer."""
LENGTH = ("trainer.steps", "trainer.epochs")


def is_few(settings: FinetuneSettings, rows: int) -> bool:
    """Whether the rule holds for so many labelled rows (training and validation)."""
    return settings.target.level == "item" and rows < settings.sections["finetune"].few_rows


def for_rows(settings: FinetuneSettings, rows: int, members: int = 1) -> FinetuneSettings:
    """The settings with everything that was left to the number of labelled rows.

    Args:
        members: of the ensemble; several ones are trained, or they would all be the same probe.
    """
    few, sections = is_few(settings, rows), dict(settings.sections)
    finetune = sections["finetune"]
    chosen = {
        "head_start": "probe" if few else "linear",
        "keep_start": "never" if members > 1 else "unless-surely-worse" if few else "unless-worse",
        "norm_statistics": "kept" if few and finetune.head_start != "random" else "moving",
    }
    open_ones = {name: value for name, value in chosen.items() if getattr(finetune, name) == "auto"}
    sections["finetune"] = dataclasses.replace(finetune, **open_ones)
    if few and not settings.given & set(LENGTH):
        trainer = sections["trainer"]
        batch = sections["data"].batch_size * trainer.accumulate * trainer.processes
        if (trainer.epochs or 1.0) * rows < LEAST_STEPS * batch:
            sections["trainer"] = dataclasses.replace(trainer, steps=LEAST_STEPS, epochs=None)
    if few and "optimiser.lr" not in settings.given:
        optimiser = sections["optimiser"]
        lr = float(f"{optimiser.lr * min(1.0, rows / FULL_RATE_ROWS):.2g}")
        sections["optimiser"] = dataclasses.replace(optimiser, lr=lr)
    return dataclasses.replace(settings, sections=sections)


def said_of_few(settings: FinetuneSettings, rows: int) -> str:
    """What the rule chose, in one line; empty for many rows.

    Args:
        settings: as :func:`for_rows` gave them.
    """
    if not is_few(settings, rows):
        return ""
    sections = settings.sections
    finetune, trainer = sections["finetune"], sections["trainer"]
    length = f"{trainer.steps:,} steps" if trainer.steps is not None else f"{trainer.epochs:g} epochs"
    return (
        f"{rows:,} labelled rows are few (below finetune.few_rows={finetune.few_rows}), so: task {settings.task.name}, "
        f"head_start={finetune.head_start}, keep_start={finetune.keep_start}, {length} at lr "
        f"{sections['optimiser'].lr:g}, norm_statistics={finetune.norm_statistics}"
    )
