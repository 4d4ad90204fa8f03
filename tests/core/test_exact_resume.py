"""A run that is stopped and resumed equals a run that was not: bit by bit, in every setting that could break it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.files import read_lines
from repcore.interfaces import Batch, Draws, LossTerms
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.checkpointing import has_checkpoint
from repcore.training.listeners import Interruption
from repcore.training.run import resume_run, start_run
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunResult

SETTINGS = {
    "plain": (),
    "workers": ("data.workers=2",),
    "accumulation": ("trainer.accumulate=3",),
    "accumulation-workers": ("trainer.accumulate=2", "data.workers=2"),
    "buckets-off": ("data.bucket_by_cost=false",),
    "blocks": ("data.block_rows=5", "data.mixed_blocks=2"),
    "validation-each-step": ("trainer.validate_every=1",),
}


def train(
    recipe: str, root: Path, overrides: tuple[str, ...], stop_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> RunResult:
    """Train 10 steps; with ``stop_at`` as if Ctrl-C came during that step, then resume in freshly built parts."""
    known = registry.default()
    resolved = resolve_run(known, recipe, overrides=overrides)
    if stop_at is None:
        return start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=root, name="whole", device="cpu")
    with monkeypatch.context() as patched:
        step = Interruption.step

        def interrupt(self: Interruption, state, record) -> None:  # type: ignore[no-untyped-def]
            self.note.number = 2 if state.step == stop_at else 0
            step(self, state, record)

        patched.setattr(Interruption, "step", interrupt)
        first = start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=root, name="cut", device="cpu")
    assert (first.status, first.steps) == ("interrupted", stop_at)
    torch.manual_seed(1234)  # whatever state a new process is in must not matter
    folder = RunFolder.open("cut", root)
    parts = assemble(resolved, LogReporter(), fitted=folder.preprocessing)
    return resume_run(known, parts, folder, LogReporter(), device="cpu")


def checkpoint(root: Path, name: str) -> dict[str, torch.Tensor]:
    saved = torch.load(root / name / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 10
    tensors = dict(saved["state_dict"])
    for index, state in saved["optimizer_states"][0]["state"].items():
        tensors.update({f"optimiser.{index}.{key}": value for key, value in state.items()})
    return tensors


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("recipe", ["pairs/set-net", "edges/edge-net"])
def test_two_halves_equal_the_whole(
    recipe: str, setting: str, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*SETTINGS[setting], "trainer.checkpoint_every=2")
    whole = train(recipe, tmp_path, overrides, None, monkeypatch)
    resumed = train(recipe, tmp_path, overrides, 5, monkeypatch)
    assert whole.steps == resumed.steps == 10
    expected, got = checkpoint(tmp_path, "whole"), checkpoint(tmp_path, "cut")
    assert expected.keys() == got.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, got[name])]
    assert different == []
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def losses(run: Path) -> list[tuple[int, str, float]]:
    return [(line["step"], line["split"], line["loss"]) for line in read_lines(run / "metrics.jsonl")]


def test_a_stop_between_micro_batches_gives_up_the_step(toys: None, tmp_path: Path) -> None:
    """Running statistics that micro-batches of the unfinished step have moved are those of the last step again."""
    known, calls = registry.default(), []
    resolved = resolve_run(known, "edges/edge-net", overrides=["trainer.accumulate=3", "trainer.checkpoint_every=2"])

    def with_statistics(parts: RunParts, stop_at: int) -> RunParts:
        forward = parts.objective.forward
        parts.objective.register_buffer("seen", torch.zeros(()))

        def counted(batch: Batch, draws: Draws) -> LossTerms:
            terms: LossTerms = forward(batch, draws)
            if parts.objective.training:
                calls.append(len(calls))
                parts.objective.get_buffer("seen").add_(terms.total.detach())
                if len(calls) == stop_at:
                    signal.raise_signal(signal.SIGTERM)
            return terms

        parts.objective.forward = counted  # type: ignore[method-assign]
        return parts

    def parts(stop_at: int = -1, fitted: Path | None = None) -> RunParts:
        return with_statistics(assemble(resolved, LogReporter(), fitted=fitted), stop_at)

    start_run(known, parts(), LogReporter(), root=tmp_path, name="whole", device="cpu")
    calls.clear()
    stop_at = 5 * 3 + 2  # the second of three micro-batches of step 6
    cut = start_run(known, parts(stop_at), LogReporter(), root=tmp_path, name="cut", device="cpu")
    assert (cut.status, cut.steps, cut.signal, len(calls)) == ("interrupted", 5, signal.SIGTERM, stop_at)
    folder = RunFolder.open("cut", tmp_path)
    assert torch.load(folder.last_checkpoint, weights_only=True)["global_step"] == 5
    resume_run(known, parts(fitted=folder.preprocessing), folder, LogReporter(), device="cpu")
    expected, got = checkpoint(tmp_path, "whole"), checkpoint(tmp_path, "cut")
    assert "objective.seen" in expected
    assert [name for name, value in expected.items() if not torch.equal(value, got[name])] == []
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_a_stop_in_the_first_step_promises_no_checkpoint(toys: None, tmp_path: Path) -> None:
    known = registry.default()
    resolved = resolve_run(known, "edges/edge-net", overrides=["trainer.accumulate=3"])
    parts = assemble(resolved, LogReporter())
    forward = parts.objective.forward

    def stopped(batch: Batch, draws: Draws) -> LossTerms:
        if parts.objective.training:
            signal.raise_signal(signal.SIGTERM)
        terms: LossTerms = forward(batch, draws)
        return terms

    parts.objective.forward = stopped  # type: ignore[method-assign]
    result = start_run(known, parts, LogReporter(), root=tmp_path, name="cut", device="cpu")
    assert (result.status, result.steps) == ("interrupted", 0)
    assert not has_checkpoint(RunFolder.open("cut", tmp_path))
    assert "no step of" in result.left(None).saved


def test_workers_change_nothing(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.default()
    found = []
    for workers in (0, 2):
        resolved = resolve_run(known, "pairs/set-net", overrides=[f"data.workers={workers}"])
        root = tmp_path / str(workers)
        start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=root, name="run", device="cpu")
        found.append(checkpoint(root, "run"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_accumulated_mean_is_the_mean_over_all_items(toys: None, tmp_path: Path) -> None:
    """One step of 2 x 6 graphs with different numbers of masked edges equals the gradient of the joint mean."""
    known = registry.default()
    overrides = ["trainer.accumulate=2", "trainer.steps=1", "optimiser.name=sgd", "optimiser.momentum=0",
                 "optimiser.clip_norm=null", "optimiser.weight_decay=0", "optimiser.lr=1.0"]  # fmt: skip
    resolved = resolve_run(known, "edges/edge-net", overrides=overrides)
    parts = assemble(resolved, LogReporter())
    before = {name: value.detach().clone() for name, value in parts.objective.named_parameters()}
    seen: list[tuple[object, object]] = []
    rules = parts.objective
    original = rules.forward

    def spy(batch, draws):  # type: ignore[no-untyped-def]
        seen.append((batch, draws))
        return original(batch, draws)

    rules.forward = spy  # type: ignore[method-assign]
    start_run(known, parts, LogReporter(), root=tmp_path, name="run", device="cpu")
    rules.forward = original  # type: ignore[method-assign]
    after = {name: value.detach().clone() for name, value in parts.objective.named_parameters()}
    parts.objective.load_state_dict(before, strict=False)
    # the two training micro-batches are the calls between the step-0 and the last validation
    validation = -(-len(parts.validation) // 6)
    micro = seen[validation : validation + 2]
    total, count = torch.zeros(()), 0
    for batch, draws in micro:
        hidden = draws["hidden"]
        features = parts.objective.encoder(batch, hidden=hidden)
        errors = (parts.objective.head(features.tokens["edge"].values) - batch.inputs.edge_attr).square().mean(1)
        total, count = total + (errors * hidden).sum(), count + int(hidden.sum())
    assert len({int(draws["hidden"].sum()) for _, draws in micro}) == 2, "the test needs unequal counts"
    parts.objective.zero_grad()
    (total / count).backward()
    for name, parameter in parts.objective.named_parameters():
        moved = before[name] - after[name]
        expected = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(moved, expected, atol=1e-6, rtol=1e-5, msg=name)  # lr 1: the step is the gradient


def test_checkpoints_appear_whole(toys: None, tmp_path: Path) -> None:
    known = registry.default()
    resolved = resolve_run(known, "edges/edge-net", overrides=["trainer.steps=4", "trainer.checkpoint_every=1"])
    start_run(known, assemble(resolved, LogReporter()), LogReporter(), root=tmp_path, name="run", device="cpu")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "previous.ckpt"]
