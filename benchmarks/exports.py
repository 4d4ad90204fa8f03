"""Which encoders become programs of torch.export and ONNX, alone and with a task on top, and how exactly?

Every installed encoder is built from its registered example (tiny, random weights) and written by the product's own
code, which compares the written program with the network on batches of other sizes. What cannot be captured is told in
the words that a user gets.

    python benchmarks/exports.py [--only NAME ...] [--formats torch-export onnx]

Writes results/exports.md. One core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from measuring import RESULTS, facts
from torch import Tensor, nn

from repcore import registry
from repcore.embedding.export_program import FORMATS, Program, export_program
from repcore.embedding.prediction import Predictor
from repcore.embedding.program_inputs import WHOLE, ProgramInputs, program_parts
from repcore.errors import RepcoreError
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch
from repcore.registry import Entry
from repcore.specs import TargetSpec

TARGET = TargetSpec("kind", "class", names=("a", "b", "c"))


def inputs_of(batch: Batch, name: str) -> ProgramInputs:
    """The example's first two items as example of the program, one and three of them as checks.

    What says how long rows of different lengths are is left out, as the preprocessor does for rows of one length.
    """
    tensors, fixed = program_parts(batch, batch.size, name)
    tensors.pop("frames", None)

    def some(count: int) -> Mapping[str, Tensor]:
        return {key: torch.cat([value] * count)[:count] for key, value in tensors.items()}

    return ProgramInputs(some(2), [some(3), some(1)], fixed, dict.fromkeys(tensors, ()), WHOLE in tensors)


def written(entry: Entry, form: str, task: bool, folder: Path) -> str:
    """Result of one export in a few words."""
    config, batch = entry.load("example")()
    torch.manual_seed(0)
    encoder: nn.Module = entry.load()(config).eval()
    started = time.perf_counter()
    try:
        inputs = inputs_of(batch, entry.full_name)
        made = ClassificationTask(ClassificationConfig(), encoder, TARGET).eval()
        predictor = Predictor([made], cast(Any, None), TARGET, {}, entry.domain)
        model = SimpleNamespace(encoder=encoder, poolings=entry.spec.poolings, domain=entry.domain,
                                predictor=lambda: predictor)  # fmt: skip
        program = Program(cast(Any, model), inputs, None, task)
        done = export_program(program, folder / f"program{FORMATS[form]}", form, {})
    except RepcoreError as error:
        problem = str(error.facts.get("problem", ""))
        return f"no: {error.summary}" + (f" ({problem[:160]})" if problem else "")
    one = "one item at a time, " if any(axes[0] == 1 for axes in done.axes.values()) else ""
    return f"yes, {one}error {done.error:.0e}, {time.perf_counter() - started:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--output", type=Path, default=RESULTS / "exports.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    told = facts(["torch", "onnx", "onnxruntime"])
    heads = [f"{form}, {word}" for form in given.formats for word in ("encoder", "encoder and task")]
    lines = ["# Exports", "",
             f"Made by `python benchmarks/exports.py`; {told['date']}. Tiny networks of random weights.", "",
             f"| encoder | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]  # fmt: skip
    for entry in registry.default().entries("encoder"):
        if entry.spec.example and (not given.only or entry.full_name in given.only):
            with tempfile.TemporaryDirectory() as folder:
                cells = [written(entry, form, task, Path(folder)) for form in given.formats for task in (False, True)]
            lines.append(f"| {entry.full_name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")  # what is there stays if it is stopped


if __name__ == "__main__":
    main()
