"""``embed --layer L --dim D``: the network stops there, and the first numbers of the vector are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.errors import ConfigError
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
