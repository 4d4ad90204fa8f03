"""Short runs as users start them: what is learned without labels beats random weights and the obvious guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.inference import InferenceOptions
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run


def train(recipe: str, folder: Path, *overrides: str, **settings: object) -> tuple[Path, dict[str, float]]:
    resolved = resolve_run(
        registry.default(), recipe, domain="graphs", overrides=["trainer.threads=1", *overrides], settings=settings
    )
    parts = assemble(resolved, LogReporter())
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=recipe, device="cpu")
    return result.folder, dict(result.validation)


def linear_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Ridge on one-hot labels, first half against second half."""
    half = len(labels) // 2
    scale = features[:half].std(0) + 1e-6
    x = torch.tensor(np.c_[(features - features[:half].mean(0)) / scale, np.ones(len(labels))])
    y = torch.nn.functional.one_hot(torch.tensor(labels)).double()
    weights = torch.linalg.solve(x[:half].T @ x[:half] + 30 * torch.eye(x.shape[1]), x[:half].T @ y[:half])
    return float(((x[half:] @ weights).argmax(1) == y[half:].argmax(1)).double().mean())


@pytest.mark.learns
def test_masked_edges_on_generated_graphs_beat_random_weights(tmp_path: Path) -> None:
    """Over four seeds the gain of the linear probe was 0.16 to 0.37, hidden bonds 0.77 to 0.84."""
    small = ("encoder.hidden_width=32", "trainer.epochs=20", "optimiser.lr=0.003", "trainer.validate_every=400")
    run, figures = train("masked-edge", tmp_path, *small)
    assert figures["masked_accuracy"] > 0.6  # a guess is right once in three
    model = repcore.load(run)
    reader = model.reader("motifs")
    labels = np.array([int(reader[row].targets["rule"]) for row in range(len(reader))])
    scores = {}
    for name, encoder in (("trained", model.encoder), ("random", model.random_twin(0))):
        model.encoder = encoder
        vectors = model.embed(reader, options=InferenceOptions(batch_size=128)).vectors
        scores[name] = linear_accuracy(np.asarray(vectors, np.float64), labels)
    assert scores["trained"] > scores["random"] + 0.08, scores


@pytest.mark.learns
def test_hidden_bonds_of_held_out_molecules(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "graphs" / "MUTAG"
    if not folder.is_dir():
        pytest.skip("no MUTAG")
    settings = {"dataset.name": "graphs/tu", "dataset.path": str(folder), "dataset.fold": 1}
    _, figures = train("masked-edge", tmp_path, "trainer.epochs=25", **settings)
    assert figures["masked_accuracy"] >= 0.9  # the commonest bond makes up 0.64
