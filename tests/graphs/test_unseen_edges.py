"""Pre-train, fine-tune, predict: edges in a file that training never saw, each with its two ends and its answer."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.embedding.prediction_files import read_table


def write_edges(path: Path, graphs: int, seed: int, *, labelled: bool) -> list[tuple[str, str, str]]:
    """Rings with chords; an edge is strong where its weight is above 0. Returns ends and truth in the file's order."""
    rng = np.random.default_rng(seed)
    truth = []
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["graph", "source", "target", "weight", *(["edge_label"] if labelled else [])])
        for graph in range(graphs):
            count = int(rng.integers(5, 9))
            names = [f"{path.stem}{graph}-{one}" for one in rng.permutation(count)]
            pairs = [(one, (one + 1) % count) for one in range(count)] + [(0, count // 2)]
            for first, second in rng.permutation(pairs):
                weight = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5))
                answer = "strong" if weight > 0 else "weak"
                table.writerow([f"g{graph}", names[first], names[second], weight, *([answer] if labelled else [])])
                truth.append((names[first], names[second], answer))
    return truth


def test_edges_of_a_file_that_training_never_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_edges(tmp_path / "known.csv", 40, 0, labelled=True)
    truth = write_edges(tmp_path / "new.csv", 12, 1, labelled=False)
    small = ["--device", "cpu", "trainer.steps=4", "data.batch_size=16"]
    assert run(["graphs", "train", "masked-edge", "--data", "known.csv", "--name", "r", *small]) == 0
    settings = ["--no-twin", "--device", "cpu", "trainer.steps=60", "optimiser.lr=0.01"]
    words = ["graphs", "finetune", "runs/r", "--data", "known.csv", "--label", "edge_label", "--name", "f", *settings]
    assert run(words) == 0
    assert run(["predict", "runs/f", "new.csv", "-o", "answers.csv", "--device", "cpu"]) == 0
    found = read_table(tmp_path / "answers.csv")
    ends = [{first, second} for first, second in zip(found["source"], found["target"], strict=True)]
    assert ends == [{first, second} for first, second, _ in truth]
    answered = np.asarray(found["edge_label"])
    right = answered == np.asarray([answer for *_, answer in truth])
    assert right.mean() > 0.9
    strong = np.asarray(found["p:strong"], float)
    np.testing.assert_allclose(strong + np.asarray(found["p:weak"], float), 1.0, atol=1e-5)
    np.testing.assert_array_equal(answered == "strong", strong > 0.5)
