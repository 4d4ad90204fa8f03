"""A model as one file: it equals the model on batches of other sizes, and what has no such form is refused.

A real network with a task, as ONNX through the command: tests/molecules/test_way_out.py.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repcore.cli.main import run
from repcore.embedding.export_program import FACTS, Program, export_program
from repcore.embedding.model import Model
from repcore.embedding.program_inputs import ProgramInputs, program_inputs
from repcore.embedding.windows import PreparedRow
from repcore.errors import PluginError, RunError
from repcore.interfaces import Batch, Features, Item, Sample


def answers(path: Path, inputs: Mapping[str, Tensor]) -> np.ndarray:
    """What a written file gives, without any of repcore."""
    module = torch.export.load(path).module()
    return cast(Tensor, module(dict(inputs))).detach().numpy()


@pytest.mark.parametrize(("domain", "recipe"), [("pairs", "set-net"), ("edges", "edge-net")])
def test_what_has_no_such_form_is_refused(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: str, recipe: str
) -> None:
    """Ragged points of one toy domain, graphs of the other."""
    command = [domain, "train", recipe, "--out", str(tmp_path), "--name", "r", "--device", "cpu", "trainer.steps=2"]
    assert run(command) == 0
    assert run(["export", str(tmp_path / "r"), "-o", str(tmp_path / "m.pt2")]) == 2
    told = capsys.readouterr().err
    assert "cannot be exported" in told
    assert ("ragged or sparse" if domain == "pairs" else "its inputs are a ") in told
    assert not (tmp_path / "m.pt2").exists()


class Lines:
    """A preprocessor of sequences (T,) that are padded with 0; says ``frames`` only where lengths differ."""

    says_frames = False

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["frames"])

    def collate(self, items: list[Item]) -> Batch:
        longest = max(len(item.values) for item in items)
        padded = [np.pad(item.values, (0, longest - len(item.values))) for item in items]
        inputs: dict[str, Any] = {"line": torch.from_numpy(np.stack(padded)), "rate": 8}
        lengths = [len(item.values) for item in items]
        if self.says_frames and len(set(lengths)) > 1:
            inputs["frames"] = torch.tensor(lengths)
        return Batch(inputs, len(items))


class Squares(nn.Module):
    """Mean of squares and sum, times the rate; ``kind`` plants what cannot be exported."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.dim, self.calls = kind, 2, 0

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        line, rate = batch.inputs["line"], batch.inputs["rate"]
        if self.kind == "values" and float(line.sum()) > 0:
            line = 2 * line
        if self.kind == "fixed" and len(line) == 2:
            line = 1.0 * line
        if self.kind == "length":
            line = {line.shape[1]: line}[line.shape[1]]  # a size that is not known yet cannot be looked up
        if self.kind == "size":
            line = line * torch.arange(1.0, 3.0)[:, None]
        if self.kind == "compiled" and torch.compiler.is_compiling():
            line = line + 1e-2
        return Features(rate * torch.stack([line.square().mean(1), line.sum(1)], 1))


def program(kind: str, preprocessor: Lines) -> tuple[Program, ProgramInputs]:
    rng = np.random.default_rng(0)
    rows = []
    for size in (4, 7, 9):
        item = Item(rng.normal(size=size).astype(np.float32), {"frames": size})
        rows.append(PreparedRow(Sample(str(size), item.values), str(size), [item]))
    inputs = program_inputs(cast(Any, preprocessor), rows, "x/lines", "x")
    encoder = Squares(kind).eval()
    model = SimpleNamespace(encoder=encoder, poolings=("mean",), domain="x")
    return Program(cast(Model, model), inputs, None, False), inputs


def test_axes_come_from_the_rows(tmp_path: Path) -> None:
    made, inputs = program("", Lines())
    done = export_program(made, tmp_path / "p.pt2", "torch-export", {"encoder": "x"})
    assert done.axes == {"line": ("batch", "length1")}
    assert done.batches == (2, 3, 1)
    kept = {FACTS: ""}
    torch.export.load(done.path, extra_files=kept)
    assert json.loads(kept[FACTS]) == {"encoder": "x", "output": "vectors", "inputs": {"line": ["batch", "length1"]}}
    assert inputs.fixed == {"rate": 8}
    assert not inputs.alike
    line = torch.arange(10.0).reshape(5, 2)
    expected = 8 * torch.stack([line.square().mean(1), line.sum(1)], 1)
    np.testing.assert_allclose(answers(done.path, {"line": line}), expected.numpy(), rtol=1e-6)
    differing = Lines()
    differing.says_frames = True
    _, inputs = program("", differing)
    assert inputs.alike
    assert set(inputs.example) == {"line"}
    assert inputs.lengths == {"line": (1,)}


def test_a_network_that_fixes_the_number_of_items_takes_one_at_a_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made, _ = program("fixed", Lines())
    done = export_program(made, tmp_path / "p.pt2", "torch-export", {})
    assert done.axes == {"line": (1, "length1")}
    assert set(done.batches) == {1}
    assert len(done.batches) > 2, "compared on too few rows"
    line = torch.arange(5.0)[None]
    np.testing.assert_allclose(answers(done.path, {"line": line}), [[8 * 6.0, 8 * 10.0]], rtol=1e-6)
    assert capfd.readouterr().err == ""  # torch prints the whole graph of a failed capture


def test_a_network_that_fixes_lengths_takes_one_length(tmp_path: Path) -> None:
    made, inputs = program("length", Lines())
    done = export_program(made, tmp_path / "p.pt2", "torch-export", {})
    length = inputs.example["line"].shape[1]
    assert done.axes == {"line": (1, length)}
    line = torch.arange(float(length))[None]
    expected = 8 * torch.stack([line.square().mean(1), line.sum(1)], 1)
    np.testing.assert_allclose(answers(done.path, {"line": line}), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("values", "cannot be captured"), ("size", "cannot be captured"), ("compiled", "differs from the model")],
)
def test_a_program_that_is_not_the_model_is_not_written(tmp_path: Path, kind: str, words: str) -> None:
    made, _ = program(kind, Lines())
    with pytest.raises(RunError, match=words):
        export_program(made, tmp_path / "p.pt2", "torch-export", {})
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = program("", Lines())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r'pip install "repcore\[onnx\]"'):
        export_program(made, tmp_path / "p.onnx", "onnx", {})
