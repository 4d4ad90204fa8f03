"""``embed --layer L --dim D``: the network stops there, and the first numbers of the vector are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.errors import ConfigError
from repcore.reporting import LogReporter
from repcore.training.run import start_run
from tests.core.test_toy_path import run
from tests.generic.domains import PROGRESS, batch_of, parts_of

KINDS = ["molecules", "audio", "graphs", "clouds", "films"]


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_tokens_are_predicted_in_every_domain(kind: str) -> None:
    """Pyramids, whose output tokens are others than those that are hidden, predict all of them."""
    torch.manual_seed(0)
    parts = parts_of(kind, "objective=generic/masked-features")
    objective, batch = parts.objective.train(), batch_of(parts)
    draws = objective.draw(batch, torch.Generator().manual_seed(0), PROGRESS)
    terms = objective(batch, draws)
    assert 0.0 < float(terms.total.detach()) < 10.0
    assert float(terms.counts["masked_features"]) == float(objective.counts(batch, draws)["masked_features"]) > 0
    terms.total.backward()
    assert float(objective.mask_token.grad.abs().sum()) > 0
    changed = objective(batch, {"hidden": ~draws["hidden"]})
    assert float(changed.total.detach()) != pytest.approx(float(terms.total.detach()), rel=1e-6)


@pytest.mark.parametrize(("kind", "layer"), [("molecules", 1), ("audio", 1), ("graphs", 2), ("films", 2)])
def test_rows_of_a_layer_are_its_means_cut_to_the_first_numbers(kind: str, layer: int) -> None:
    parts = parts_of(kind, "objective=generic/vicreg")
    rows = parts.train[:5]
    ran: list[torch.nn.Module] = []
    hooks = [one.register_forward_hook(lambda module, *_: ran.append(module)) for one in parts.encoder.modules()]
    whole = embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(), rows=rows)
    through_all = len(ran)
    early = embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(layer=layer), rows=rows)
    assert len(ran) - through_all < through_all
    for hook in hooks:
        hook.remove()
    options = InferenceOptions(layer=layer, dim=6, normalise=True)
    short = embed_rows(parts.encoder, parts.preprocessor, parts.reader, options, rows=rows).vectors
    assert short.shape == (5, 6)
    cut = early.vectors[:, :6]
    np.testing.assert_allclose(short, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-5)
    assert whole.vectors.shape[1] == parts.encoder.dim


def test_the_width_that_is_said_is_the_width_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = parts_of("graphs", "objective=generic/vicreg", "trainer.steps=1")
    start_run(registry.default(), parts, LogReporter(), root=tmp_path, name="r", device="cpu")
    words = ["embed", "r", "graphs/motifs", "--read", "size=12"]
    for number, options in enumerate((["--layer", "1"], ["--layer", "1", "--dim", "5"], [])):
        assert run([*words, *options, "-o", f"{number}.npz"]) == 0
        width = np.load(f"{number}.npz")["embeddings"].shape[1]
        assert f"embeddings of width {width} in {number}.npz" in capsys.readouterr().out
        assert run([*words, *options, "-o", f"{number}.npz", "--overwrite", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["dim"] == width
    assert width == parts.encoder.dim != parts.encoder.token_width()  # a layer is of another width
    for command in (words, ["fit", "clusters", "r", "graphs/motifs"]):
        assert run([*command, "--layer", "-1", "-o", "n.npz"]) == 2
        assert "'--layer': -1 is not in the range x>=0" in capsys.readouterr().err


def test_a_layer_below_zero_is_told_the_layers_that_exist() -> None:
    parts = parts_of("molecules", "objective=generic/vicreg")
    with pytest.raises(ConfigError, match=rf"no layer -1\n.*0 \(embedding output\) to {len(parts.encoder.layers)}"):
        embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(layer=-1), rows=parts.train[:2])


def test_more_numbers_than_there_are_is_an_error() -> None:
    parts = parts_of("molecules", "objective=generic/vicreg")
    with pytest.raises(ConfigError, match=r"--dim 500 of embeddings of width 96"):
        embed_rows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions(dim=500), rows=parts.train[:2])


def test_nested_vectors_are_trained_from_the_first_layer_of_one_width() -> None:
    """Graph nodes have their common width from layer 1 on: layer 0 is never drawn, and widths are those of tokens."""
    parts = parts_of("graphs", "objective=generic/matryoshka-2d", "objective.layers_per_step=-1")
    objective, batch = parts.objective.train(), batch_of(parts)
    draws = objective.draw(batch, torch.Generator().manual_seed(0), PROGRESS)
    assert draws["layers"].tolist() == [1, 2]
    assert max(objective.widths) == parts.encoder.token_width() < parts.encoder.dim
    terms = objective(batch, draws)
    assert torch.isfinite(terms.total)
