"""W2v-BERT and SpecMaskGIT: a run that goes on from a checkpoint is the run that was never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repcore import registry
from repcore.checkpoints.reading import read_file
from repcore.config.resolve import ResolvedRun, resolve_run
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import resume_run, start_run
from repcore.training.run_folder import RunFolder

COMMON = (
    "dataset.clips=12", "dataset.seconds=0.5", "encoder.width=16", "encoder.depth=2", "encoder.heads=2",
    "preprocessor.mel_bins=32", "preprocessor.frames=64", "data.batch_size=4", "trainer.steps=4",
    "trainer.checkpoint_every=2", "trainer.validate_every=4", "trainer.threads=1",
)  # fmt: skip
FAMILIES = {
    "w2v-bert": (
        ("objective.codebook=8", "objective.code_width=8", "objective.contrast_width=8", "objective.negatives=4"),
        ("usage", "quantiser.codevectors"),
    ),
    "spec-mask-git": (("preprocessor.codes=16",), ("code_frequencies", "patches")),
}


def settings(family: str) -> ResolvedRun:
    return resolve_run(registry.default(), f"audio/{family}", overrides=(*COMMON, *FAMILIES[family][0]))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_codes_and_temperature_come_back_when_a_run_goes_on(tmp_path: Path, family: str) -> None:
    quiet = LogReporter()
    parts = assemble(settings(family), quiet)
    whole = start_run(registry.default(), parts, quiet, root=tmp_path, name="whole", device="cpu")
    folder = RunFolder.open("whole", tmp_path)
    first = read_file(whole.folder / "model" / "weights.safetensors")
    (earlier,) = [one for one in folder.last_checkpoint.parent.iterdir() if "previous" in one.name]
    earlier.replace(folder.last_checkpoint)  # as if the run had died behind its second step
    again = assemble(settings(family), quiet, fitted=folder.preprocessing)
    resume_run(registry.default(), again, folder, quiet, device="cpu")
    second = read_file(whole.folder / "model" / "weights.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    one, other = parts.objective.state_dict(), again.objective.state_dict()
    for name in FAMILIES[family][1]:
        assert torch.equal(one[name], other[name]), name
        assert bool(one[name].any()), name
