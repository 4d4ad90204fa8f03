"""A run folder as plain values: everything the report shows that needs no plugin.

Any file may be missing or cut off (the run was killed, has no validation rows, is older): its part is then empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from repcore.checkpoints.model_folder import WEIGHTS
from repcore.errors import RunError
from repcore.files import is_left_by_a_system, read_json_file, read_lines
from repcore.reporting import BASELINE

BOOKKEEPING = ("step", "epoch", "split", "lr", "grad_norm", "items_per_second", "data_wait_share")

Line = Mapping[str, Any]  # one object of a JSON-lines file
Series = tuple[list[float], list[float]]
"""Steps and values, without values that are not finite."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run folder says.

    Args:
        path: the run folder.
        config / origin / environment: its JSON files.
        train / validation: lines of ``metrics.jsonl`` by split, by step.
        diagnostics: lines of ``diagnostics.jsonl``.
        rejected: rows that training could not use.
        pictures: what the trained objective drew of held-out rows.
        probes: file stem -> probe result.
        finetune: content of ``finetune.json``, empty if there is none.
        target: what the model predicts, empty if it has no task.
        answered: test items of a fine-tuning with picture, prediction and label, as lines of their file.
        kept_step: step whose weights the model holds, where that need not be the last one (fine-tuning).
        has_model: the run was exported.
        damaged: names of files that could not be read.
    """

    path: Path
    config: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    train: Sequence[Line] = ()
    validation: Sequence[Line] = ()
    diagnostics: Sequence[Line] = ()
    rejected: Sequence[Line] = ()
    pictures: Sequence[Line] = ()
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finetune: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    answered: Sequence[Line] = ()
    kept_step: int | None = None
    has_model: bool = False
    damaged: Sequence[str] = ()

    @property
    def recipe(self) -> str:
        return str(self.config.get("recipe", "unknown recipe"))

    @property
    def domain(self) -> str:
        return self.recipe.partition("/")[0]

    @property
    def seed(self) -> int:
        return int(self.section("trainer").get("seed") or 0)

    @property
    def last_step(self) -> int:
        """Optimiser steps that left a trace."""
        return max((int(line.get("step", 0)) for line in (*self.train, *self.validation)), default=0)

    @property
    def steps_planned(self) -> int | None:
        """As configured; None when the run was configured by epochs."""
        steps = self.section("trainer").get("steps")
        return None if steps is None else int(steps)

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the settings, empty if it is null."""
        found = self.config.get(name)
        return found if isinstance(found, Mapping) else {}

    def part(self, kind: str) -> str:
        """Registered name of a part, ``"-"`` if there is none."""
        return str(self.section(kind).get("name", "-"))

    def measured(self) -> list[str]:
        """Losses, terms and metrics by name, the total first; baselines and bookkeeping left out."""
        names = dict.fromkeys(key for line in (*self.validation, *self.train) for key in line)
        return [name for name in names if name not in BOOKKEEPING and not name.endswith(BASELINE)]

    def series(self, split: str, name: str) -> Series:
        """Finite values of one column of ``metrics.jsonl``."""
        return finite_series(self.train if split == "train" else self.validation, name)

    def place_of_model(self, steps: Sequence[float]) -> int:
        """Which of these steps tells of the model: the one whose weights are kept, else the last (-1)."""
        kept = self.kept_step
        return -1 if kept is None or kept not in steps else list(steps).index(kept)

    def judged(self) -> Line:
        """Diagnostics of the model; empty if there are none."""
        steps = [number(line.get("step")) for line in self.diagnostics]
        return self.diagnostics[self.place_of_model(steps)] if steps else {}

    def baseline(self, name: str) -> float:
        """Last value of the baseline of a metric, NaN if the objective reports none."""
        for lines in (self.validation, self.train):
            _, values = finite_series(lines, name + BASELINE)
            if values:
                return values[-1]
        return math.nan


def finite_series(lines: Sequence[Line], name: str) -> Series:
    """Steps and values of one key, where it is a finite number."""
    pairs = [(float(line["step"]), number(line.get(name))) for line in lines if "step" in line]
    kept = [(step, value) for step, value in pairs if math.isfinite(value)]
    return [step for step, _ in kept], [value for _, value in kept]


def number(value: object) -> float:
    """A number as float; NaN for everything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def collect(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        RunError: the folder does not exist or holds no run.
    """
    path = Path(folder).resolve()
    damaged: list[str] = []
    config = _object(path / "config.json", damaged)
    if not config or "recipe" not in config:
        what = "is not a run folder" if path.is_dir() else "does not exist"
        raise RunError(
            f"{folder} {what}", expected="config.json of a run", hint="repcore report RUN, for example runs/latest"
        )
    lines = _by_step(read_lines(path / "metrics.jsonl"))
    return RunRecord(
        path=path,
        config=config,
        origin=_object(path / "origin.json", damaged),
        environment=_object(path / "environment.json", damaged),
        train=[line for line in lines if line.get("split") == "train"],
        validation=[line for line in lines if line.get("split") == "validation"],
        diagnostics=_by_step(read_lines(path / "diagnostics.jsonl")),
        rejected=[line for line in read_lines(path / "rejected.jsonl") if isinstance(line, dict)],
        pictures=[line for line in read_lines(path / "pictures.jsonl") if isinstance(line, dict)],
        probes={
            file.stem: _object(file, damaged)
            for file in sorted((path / "probes").glob("*.json"))
            if not is_left_by_a_system(file.name)
        },
        finetune=_object(path / "finetune.json", damaged),
        target=_target(path / "model" / "config.json"),
        answered=[line for line in read_lines(path / "predictions" / "pictures.jsonl") if isinstance(line, dict)],
        kept_step=_kept(_object(path / "trained.json", damaged)),
        has_model=(path / "model" / "config.json").is_file(),
        damaged=damaged,
    )


def _kept(trained: Mapping[str, Any]) -> int | None:
    step = number(trained.get("kept_step"))
    return int(step) if math.isfinite(step) else None


def _target(path: Path) -> Mapping[str, Any]:
    task = _object(path, []).get("task")
    target = task.get("target") if isinstance(task, Mapping) else None
    return target if isinstance(target, Mapping) else {}


def table_of(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The probe table of a result file: the file itself, or the part inside its header; None if it holds none."""
    for candidate in (content, *content.values()):
        if isinstance(candidate, Mapping) and isinstance(candidate.get("entries"), list):
            return candidate
    return None


def exported_parameters(record: RunRecord) -> int | None:
    """Number of parameters of the exported encoder, from the header of its file; None if there is none."""
    return stored_parameters(record.path / "model")


def stored_parameters(model: Path) -> int | None:
    """Number of parameters in the weights file of a model folder; None if there is none."""
    path = model / WEIGHTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _by_step(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((line for line in lines if isinstance(line, dict)), key=lambda line: number(line.get("step", 0)))


def _object(path: Path, damaged: list[str]) -> dict[str, Any]:
    """A JSON object; empty if the file is absent, or damaged (then its name is noted)."""
    if not path.is_file():
        return {}
    try:
        content = read_json_file(path)
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict):
        return content
    damaged.append(path.name)
    return {}
