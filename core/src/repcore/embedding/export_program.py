"""A model as one file that runs without repcore: ``torch.export`` programs (.pt2) and ONNX.

What is exported takes prepared inputs (the preprocessor stays outside) and gives pooled vectors (B, D), or the
calibrated answers (B, K) of a model with a task. The written file is read again and compared with the model on batches
of other sizes; a file that differs is removed. A network that fixes the number of items (window attention, states of a
scan) becomes a program of one item at a time.

Symbols: B items, D width of vectors, K outputs.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from repcore.embedding.columns import read_beside
from repcore.embedding.pooling import pool
from repcore.embedding.prediction import Predictor
from repcore.embedding.program_inputs import ProgramInputs
from repcore.errors import ConfigError, PluginError, RunError
from repcore.files import is_disk_full, written_whole
from repcore.interfaces import Features

if TYPE_CHECKING:
    from repcore.embedding.model import Model

FORMATS = {"torch-export": ".pt2", "onnx": ".onnx"}
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
FACTS = "repcore.json"
"""Where a program keeps its facts: an extra file of a ``.pt2``, a metadata property of an ``.onnx``."""
Inputs = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Exported:
    """A written program.

    Args:
        error: largest difference from the model, as a share of the larger of 1 and the largest output.
        batches: sizes of the batches that were compared.
        axes: input -> its axes: ``batch``, a name for an axis that may change, or a fixed size.
    """

    path: Path
    output: str
    error: float
    batches: tuple[int, ...]
    axes: Mapping[str, tuple[str | int, ...]]


class Program(nn.Module):
    """An encoder, or the networks of a task, over a mapping of tensors.

    Args:
        model: on the CPU.
        inputs: their names and what else a batch holds.
        pooling: of the vectors; None = the encoder's own. Not used with a task.
        task: whether the answers of the model's task are exported instead of vectors.

    Raises:
        CheckpointError: the model has no task. RunError: the task is about elements, not items. ConfigError: it reads
            labels of the data beside its input.
    """

    def __init__(self, model: Model, inputs: ProgramInputs, pooling: str | None, task: bool) -> None:
        super().__init__()
        self.inputs, self.pooling, self.known, self.domain = inputs, pooling, model.poolings, model.domain
        self.predictor: Predictor | None = model.predictor() if task else None
        if self.predictor is not None and self.predictor.target.level != "item":
            raise RunError(
                f"{self.predictor.target.name!r} is about elements ({self.predictor.target.level}), whose way back to "
                "the sample is no part of a program",
                hint="--part encoder, or repcore predict",
            )
        self.networks = nn.ModuleList([model.encoder] if self.predictor is None else self.predictor.tasks)
        if columns := read_beside(self.networks):
            raise ConfigError(
                f"the network reads {', '.join(map(repr, columns))} beside its input, which a program does not get",
                hint="repcore predict or embed; repcore.load(...) in Python",
            )
        self.eval()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, D) vectors or probabilities (B, K), float32; values in the units of the labels are float64."""
        batch = self.inputs.batch(inputs, self.domain)
        if self.predictor is None:
            features: Features = self.networks[0](batch)
            return pool(self.networks[0], features, self.pooling, None, self.known).float()
        answers = [self.predictor.answered(one, one(batch).float()) for one in self.networks]
        return torch.stack(answers).mean(0)

    @property
    def output(self) -> str:
        """What comes out."""
        return "vectors" if self.predictor is None else self.predictor.target.name


def export_program(program: Program, path: Path, form: str, facts: Mapping[str, Any]) -> Exported:
    """Write a program and compare what was written with the model.

    Args:
        form: ``torch-export`` or ``onnx``.
        facts: kept inside the file as JSON, beside the names of inputs and outputs.

    Raises:
        ConfigError: unknown format. PluginError: packages for ONNX are missing.
        RunError: the network cannot be captured, or the file differs from the model.
    """
    if form not in FORMATS:
        raise ConfigError(f"--format {form!r} is unknown", expected=", ".join(FORMATS))
    if form == "onnx":
        _need_onnx()
    captured, tried = _captured(program)
    axes = _axes(captured, program.inputs)
    told = json.dumps({**facts, "output": program.output, "inputs": axes}, default=str)
    partial = path.with_name(f".{path.name}.{os.getpid()}{FORMATS[form]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, partial):
        run = (_write_onnx if form == "onnx" else _write_torch)(captured, program, partial, told)
        error, batches = _compared(program, run, tried)
    return Exported(path, program.output, error, batches, axes)


def _captured(program: Program) -> tuple[torch.export.ExportedProgram, list[Inputs]]:
    """The program with a free batch size, else of one item, at worst of one length; and what it is to be compared on.

    Raises:
        RunError: neither can be captured.
    """
    inputs = program.inputs
    tried: list[Inputs] = [inputs.example, *inputs.checks]
    dynamic = torch.export.Dim.DYNAMIC  # an error where the network fixes it
    try:
        return _exported(program, inputs.example, dynamic), tried
    except Exception:  # what torch raises here has no common base
        single = [{k: v[n : n + 1] for k, v in one.items()} for one in tried for n in range(_items(one))]
    try:
        captured = _one_at_a_time(program, single[0])
    except Exception as error:  # as above
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise RunError(
            f"{program.networks[0].__class__.__name__} cannot be captured as a program",
            problem=f"{type(error).__name__}: {lines[0] if lines else ''}",
            hint="its computation depends on values of its input; use the model from Python: repcore.load(MODEL)",
        ) from error
    axes = _axes(captured, inputs)
    return captured, [one for one in single if all(_fits(value, axes[key]) for key, value in one.items())]


def _one_at_a_time(program: Program, example: Inputs) -> torch.export.ExportedProgram:
    try:
        return _exported(program, example, None)
    except Exception:  # as above
        if not any(program.inputs.lengths.values()):
            raise
    return _exported(program, example, None, free=None)


def _exported(
    program: Program, example: Inputs, items: Any, free: Any = torch.export.Dim.AUTO
) -> torch.export.ExportedProgram:
    """Capture.

    Args:
        items / free: of the axes of items and of lengths; ``AUTO`` is fixed where the network fixes it, None always.
    """
    shapes = {name: {0: items, **dict.fromkeys(program.inputs.lengths[name], free)} for name in example}
    # a failed capture leaves its own tensors where a network keeps masks for later; what prepares items has none
    kept = [] if program.predictor is None else [program.predictor.preprocessor]
    own = copy.deepcopy(program, {id(one): one for one in kept})
    with torch.no_grad(), _quiet():
        own(dict(example))  # now they are there, and real
        return torch.export.export(own, (dict(example),), dynamic_shapes=(shapes,))


def _items(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def _fits(value: Tensor, axes: tuple[str | int, ...]) -> bool:
    return all(isinstance(word, str) or word == size for word, size in zip(axes, value.shape, strict=True))


def _axes(captured: torch.export.ExportedProgram, inputs: ProgramInputs) -> dict[str, tuple[str | int, ...]]:
    """Axes of each input: ``batch``, names of free lengths (equal names, equal sizes), fixed sizes."""
    names = captured.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in captured.graph.nodes if node.op == "placeholder"}
    letters: dict[str, str] = {}
    found: dict[str, tuple[str | int, ...]] = {}
    for key, name in zip(inputs.example, names, strict=True):
        shape = values[str(name)].shape
        words: list[str | int] = [1 if isinstance(shape[0], int) else "batch"]
        for size in shape[1:]:
            words.append(size if isinstance(size, int) else letters.setdefault(str(size), f"length{len(letters) + 1}"))
        found[key] = tuple(words)
    return found


def _write_torch(
    captured: torch.export.ExportedProgram, program: Program, path: Path, facts: str
) -> Callable[[Inputs], Tensor]:
    with _quiet():
        content = io.BytesIO()  # torch's own writer of files ends the process where a disk is full
        torch.export.save(captured, content, extra_files={FACTS: facts})
        path.write_bytes(content.getbuffer())
        module = torch.export.load(path).module()

    def run(inputs: Inputs) -> Tensor:
        answer: Tensor = module(dict(inputs))
        return answer

    return run


def _write_onnx(
    captured: torch.export.ExportedProgram, program: Program, path: Path, facts: str
) -> Callable[[Inputs], Tensor]:
    names = list(program.inputs.example)
    try:
        with _quiet():
            written = torch.onnx.export(
                captured, input_names=names, output_names=["output"], dynamo=True, verbose=False, optimize=True
            )
            assert written is not None
            written.model.metadata_props[FACTS] = facts
            written.save(str(path), external_data=False)
    except Exception as error:  # the exporter's errors have no common base
        if is_disk_full(error):
            raise
        raise RunError(
            f"{program.networks[0].__class__.__name__} cannot be written as ONNX",
            problem=_cause(error),
            hint="--format torch-export",
        ) from error
    session = importlib.import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    used = {one.name for one in session.get_inputs()}

    def run(inputs: Inputs) -> Tensor:
        arrays = {name: value.numpy() for name, value in inputs.items() if name in used}
        return torch.from_numpy(session.run(None, arrays)[0])

    return run


def _cause(error: BaseException) -> str:
    """What the exporter stumbled over: it wraps that in pages of advice, coloured for a terminal."""
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    first = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"


def _compared(program: Program, run: Callable[[Inputs], Tensor], tried: list[Inputs]) -> tuple[float, tuple[int, ...]]:
    """Largest difference over the inputs tried, and the sizes of their batches.

    Raises:
        RunError: larger than the tolerance, or the program cannot run on another batch.
    """
    worst = 0.0
    sizes: list[int] = []
    for inputs in tried:
        size = _items(inputs)
        with torch.no_grad():
            expected = program(dict(inputs))
        if len(expected) != size:
            raise RunError(
                f"{program.networks[0].__class__.__name__} cannot be captured: {len(expected)} rows of {size}"
            )
        try:
            with torch.no_grad():
                found = run(inputs)
        except Exception as error:  # onnxruntime's errors have no common base
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            raise RunError(f"the exported program fails on a batch of {size}", problem=first) from error
        gap = (found - expected).abs().max() / expected.abs().max().clamp(min=1.0)
        if found.shape != expected.shape or not float(gap) <= TOLERANCE:  # also NaN
            raise RunError(
                f"the exported program differs from the model by {float(gap):.2g} on a batch of {size}; nothing is "
                "written",
                expected=f"at most {TOLERANCE:g} of the larger of 1 and the largest output",
            )
        worst = max(worst, float(gap))
        sizes.append(size)
    return worst, tuple(sizes)


def _need_onnx() -> None:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise PluginError(
            f"--format onnx needs {', '.join(missing)}", hint='pip install "repcore[onnx]", or --format torch-export'
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks about their own insides."""
    logs = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # a failed capture prints its whole graph
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
