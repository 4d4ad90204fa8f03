"""Verifying a system against a golden folder: the replay computes, core alone compares and counts.

A stage that is due and did not run is a failure, and so is a tensor that was not produced, or that belongs to no stage
or to several. Only checks on data sets outside the folder may be unavailable, and the verdict says so.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from repcore.errors import DataError, RepcoreError
from repcore.interfaces import Replay
from repcore.verification.compare import Extras, Row, check_rule, compare_tensor
from repcore.verification.documents import compare_document, compare_lines
from repcore.verification.golden import Golden, Stage

Status = Literal["passed", "failed", "not run", "unavailable", "informational"]
RAW_GRADIENT = "raw_gradient:"
"""Prefix under which a replay gives the raw gradient of an output, for ``skip_where_raw_gradient_below``."""
ROUNDING = "rounding:"
"""Prefix under which a replay gives the rounding of an output that it measured; see ``compare.ROUNDING_LIMIT``."""


@dataclass(slots=True)
class StageVerdict:
    """Outcome of one stage.

    Args:
        name / kind: from the manifest.
        status: outcome.
        rows: one a tensor or field.
        fed: names of stored upstream tensors, when this is the second, tighter comparison.
        detail: why it did not run, or what is unavailable.
    """

    name: str
    kind: str
    status: Status
    rows: list[Row] = field(default_factory=list)
    fed: tuple[str, ...] = ()
    detail: str = ""

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.name} (fed)" if self.fed else self.name

    def largest(self, what: Literal["max_absolute", "max_relative"]) -> float:
        """Largest error over the rows; nan if none has one."""
        values = [getattr(row, what) for row in self.rows]
        return max((value for value in values if value == value), default=float("nan"))


@dataclass(slots=True)
class Verdict:
    """Outcome of a verification.

    Args:
        system / folder: what was verified against what.
        stages: in manifest order, fed repetitions after their stage.
        error: what stopped the replay, if anything did.
    """

    system: str
    folder: str
    stages: list[StageVerdict]
    error: str = ""

    @property
    def due(self) -> int:
        """Stages that had to run."""
        return sum(stage.status not in ("informational", "unavailable") for stage in self.stages)

    @property
    def run(self) -> int:
        """Due stages that ran."""
        return sum(stage.status in ("passed", "failed") for stage in self.stages)

    @property
    def passed(self) -> int:
        """Stages that passed."""
        return sum(stage.status == "passed" for stage in self.stages)

    @property
    def ok(self) -> bool:
        """True if at least one stage was due and every due stage passed, without an error."""
        return self.due > 0 and self.passed == self.due and not self.error

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values (nan as null)."""
        stages = [
            {
                "name": stage.name, "kind": stage.kind, "status": stage.status, "fed": list(stage.fed),
                "detail": stage.detail, "rows": [_without_nan(asdict(row)) for row in stage.rows],
            }
            for stage in self.stages
        ]  # fmt: skip
        counts = {"due": self.due, "run": self.run, "passed": self.passed}
        return {
            "system": self.system, "folder": self.folder, "ok": self.ok, **counts, "error": self.error, "stages": stages
        }  # fmt: skip

    def text(self) -> str:
        """A table with one line a stage, then one a failure, then the count."""
        head = ("stage", "compared", "max abs", "max rel", "verdict")
        lines = [head, *(_line(stage) for stage in self.stages)]
        width = [max(len(line[column]) for line in lines) for column in range(len(head))]
        table = ["  ".join(cell.ljust(size) for cell, size in zip(line, width, strict=True)).rstrip() for line in lines]
        failures = [
            f"  {stage.title}: {row.name}: {row.detail or 'differs'}"
            for stage in self.stages
            for row in stage.rows
            if not row.passed
        ]
        failures += [f"  {s.title}: {s.detail}" for s in self.stages if s.detail and s.status != "passed"]
        failures += [f"  the replay stopped: {self.error}"] if self.error else []
        count = f"{self.system}: {self.passed} of {self.due} stages due passed, {self.run} ran"
        return "\n".join([*table, *failures, f"{'PASS' if self.ok else 'FAIL'}  {count}"])


def verify(replay: Replay, folder: Path | str, *, system: str | None = None) -> Verdict:
    """Run a system's replay over a golden folder and compare everything the manifest asks for.

    Args:
        replay: ``fn(golden, fed) -> Iterator[StageResult]``.
        folder: golden folder.
        system: full name that the folder must be for; any when None.

    Returns:
        the verdict. Errors inside the replay are part of it.

    Raises:
        DataError: the folder is malformed, for another system, or its rules are unknown to this version.
    """
    golden = Golden.open(folder)
    if system is not None and golden.system != system:
        raise DataError(f"{folder} holds golden data of {golden.system}", expected=system)
    for stage in golden.stages:
        check_rule(stage.compare)
    problems = _ownership_problems(golden)
    produced, error = _collect(replay, golden, frozenset())
    due_fed = frozenset(stage.name for stage in golden.stages if "when_fed" in stage.compare)
    fed_produced, fed_error = _collect(replay, golden, due_fed) if due_fed else ({}, "")
    verdicts = []
    for stage in golden.stages:
        verdicts.append(_judge(golden, stage, produced.get(stage.name)))
        if stage.name in due_fed:
            tight = {key: value for key, value in stage.compare["when_fed"].items() if key != "from"}
            again = replace(stage, compare={**stage.compare, **tight})
            verdict = _judge(golden, again, fed_produced.get(stage.name))
            verdict.fed = tuple(stage.compare["when_fed"].get("from", ()))
            verdicts.append(verdict)
    unknown = sorted((set(produced) | set(fed_produced)) - {stage.name for stage in golden.stages})
    problems += [f"the replay gave a stage {name!r} that the manifest does not have" for name in unknown]
    return Verdict(golden.system, str(folder), verdicts, "; ".join(p for p in (*problems, error, fed_error) if p))


def _collect(replay: Replay, golden: Golden, fed: frozenset[str]) -> tuple[dict[str, dict[str, Any]], str]:
    """All results by stage (a stage may come in several parts), and what stopped the replay."""
    collected: dict[str, dict[str, Any]] = {}
    try:
        for result in replay(golden, fed):
            part = collected.setdefault(result.stage, {})
            twice = part.keys() & result.produced.keys()
            if twice:
                return collected, f"stage {result.stage!r} came twice with {', '.join(sorted(twice))}"
            part.update(result.produced)
    except RepcoreError as error:
        return collected, str(error)
    except Exception as error:  # a replay is the author's code: whatever it raises is a finding, not a crash
        place = traceback.extract_tb(error.__traceback__)[-1]
        return collected, f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return collected, ""


def _ownership_problems(golden: Golden) -> list[str]:
    """Every stored output must belong to exactly one stage, and every pattern to an output."""
    owners: dict[str, list[str]] = {name: [] for name in golden.outputs}
    problems = []
    for stage in golden.stages:
        for name in golden.outputs.matching(stage.outputs):
            owners[name].append(stage.name)
        empty = [pattern for pattern in stage.outputs if not golden.outputs.matching([pattern])]
        problems += [f"stage {stage.name!r}: no stored output fits {pattern!r}" for pattern in empty]
    for name, stages in owners.items():
        if len(stages) != 1:
            problems.append(f"output {name!r} belongs to {' and '.join(stages) if stages else 'no stage'}")
    return problems


def _judge(golden: Golden, stage: Stage, produced: Mapping[str, Any] | None) -> StageVerdict:
    """Compare what was produced for one stage."""
    if stage.kind == "informational":
        reason = str(stage.compare.get("reason", ""))
        return StageVerdict(stage.name, stage.kind, "informational", detail=reason)
    if produced is None:
        return StageVerdict(stage.name, stage.kind, "not run", detail="the replay did not produce it")
    if stage.kind == "exact_json":
        return _judge_document(golden, stage, produced)
    source = golden.tensors(stage.file) if stage.file else golden.outputs
    names = source.matching(stage.fields if stage.file else stage.outputs)
    given = {name: value for name, value in produced.items() if not name.startswith((RAW_GRADIENT, ROUNDING))}
    rows = [
        compare_tensor(name, source[name], given[name], stage.compare, _extras(golden, stage, name, produced))
        if name in given
        else Row(name, False, detail="not produced")
        for name in names
    ]
    wanted = [pattern for pattern in stage.fields if not source.matching([pattern])]
    rows += [Row(name, False, detail=f"{stage.file} does not have it") for name in wanted]
    rows += [Row(name, False, detail="produced, but not stored") for name in given if name not in names]
    return _verdict(stage, rows, "")


def _judge_document(golden: Golden, stage: Stage, produced: Mapping[str, Any]) -> StageVerdict:
    stored = golden.json(stage.file)
    if isinstance(stored, list):
        return _verdict(stage, compare_lines(stored, produced, stage.fields, stage.compare), "")
    rows, missing = compare_document(stored, produced, stage.fields, stage.compare, golden.folder)
    return _verdict(stage, rows, "; ".join(missing))


def _verdict(stage: Stage, rows: list[Row], missing: str) -> StageVerdict:
    if not rows:
        return StageVerdict(stage.name, stage.kind, "unavailable" if missing else "failed", detail=missing or "empty")
    status: Status = "passed" if all(row.passed for row in rows) else "failed"
    return StageVerdict(stage.name, stage.kind, status, rows, detail=missing)


def _extras(golden: Golden, stage: Stage, name: str, produced: Mapping[str, Any]) -> Extras:
    """Tensors that the stage's modifiers name."""
    valid = None
    mask = stage.compare.get("valid_rows")
    if mask is not None:
        valid = golden.outputs[mask] if mask in golden.outputs else golden.inputs[mask]
    given = {prefix: produced.get(prefix + name) for prefix in (RAW_GRADIENT, ROUNDING)}
    tensors = {prefix: None if value is None else torch.as_tensor(value) for prefix, value in given.items()}
    return Extras(valid=valid, raw_gradient=tensors[RAW_GRADIENT], rounding=tensors[ROUNDING])


def measured_rounding(compute: Callable[[torch.dtype, float], Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """How far float32 moves each output on this machine, under the names that a replay hands to the comparison.

    Args:
        compute: ``fn(dtype, factor)``: the outputs in this dtype with the inputs times ``factor``, which is 1 or next
            to it, so that every sum is rounded anew.

    Returns:
        ``"rounding:<name>"`` -> largest distance of a few float32 runs from float64, element by element.
    """
    exact = compute(torch.float64, 1.0)
    runs = [compute(torch.float32, 1.0 + step * 2.0**-23) for step in (0, 1, -1, 2, -2, 3)]
    return {
        f"{ROUNDING}{name}": torch.stack([(run[name].double() - value).abs() for run in runs]).amax(0)
        for name, value in exact.items()
    }


def _line(stage: StageVerdict) -> tuple[str, ...]:
    compared = str(sum(row.compared for row in stage.rows)) if stage.rows else "-"
    errors = (stage.largest("max_absolute"), stage.largest("max_relative"))
    shown = ["-" if value != value else f"{value:.2e}" for value in errors]
    return (stage.title, compared, *shown, stage.status)


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}
