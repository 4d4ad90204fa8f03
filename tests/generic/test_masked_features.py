"""Masked features: which tokens are hidden, what the target is, and that capabilities mean what they say."""

from __future__ import annotations

import pytest
import torch
from repcore_generic.objectives.masked_features import distance, hidden_tokens
from torch import nn

from repcore.interfaces import Tokens
from tests.generic.domains import PROGRESS, batch_of, losses, parts_of

OBJECTIVE = "objective=generic/masked-features"
KINDS = ["molecules", "audio"]


def test_a_share_of_the_real_tokens_of_each_item_is_hidden_dense_and_ragged() -> None:
    lengths = torch.tensor([6, 1, 2, 10])
    valid = torch.arange(10) < lengths[:, None]
    score = torch.rand(4, 10, generator=torch.Generator().manual_seed(0))
    dense = hidden_tokens(Tokens(torch.zeros(4, 10, 3), valid=valid), score, 0.5, 4)
    assert dense.sum(1).tolist() == [3, 0, 1, 5]
    assert not (dense & ~valid).any()
    for row in (0, 2, 3):  # the lowest scores
        assert score[row][dense[row]].max() < score[row][valid[row] & ~dense[row]].min()
    owner = torch.repeat_interleave(torch.arange(4), lengths)
    ragged = hidden_tokens(Tokens(torch.zeros(19, 3), owner=owner), score[valid], 0.5, 4)
    assert torch.equal(ragged, dense[valid])


def test_distances_of_both_kinds() -> None:
    guess, target = torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2)
    assert float(distance(guess, target, 1.0)) == pytest.approx((0.125 + 2.5) / 2)
    assert float(distance(guess, target, 0.0)) == pytest.approx((0.125 + 4.5) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_embedding_and_encoding_tokens_is_the_forward_pass(kind: str) -> None:
    parts = parts_of(kind, OBJECTIVE)
    encoder, batch = parts.encoder.eval(), batch_of(parts)
    every = range(encoder.depth + 1)
    with torch.no_grad():
        whole = encoder(batch, layers=every)
        tokens = encoder.embed_tokens(batch)
        parts_joined = encoder.encode_tokens(tokens, batch, layers=every)
        tokens.values = tokens.values.clone()
        tokens.values[:, 1] *= -2.0  # a shift of all dimensions would be lost in a norm
        changed = encoder.encode_tokens(tokens, batch)
    torch.testing.assert_close(parts_joined.pooled, whole.pooled, atol=1e-6, rtol=1e-5)
    assert sorted(whole.layers) == list(every)
    for layer, found in whole.layers.items():
        assert found.values.shape[-1] == encoder.token_width()
        torch.testing.assert_close(parts_joined.layers[layer].values, found.values, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(changed.pooled, whole.pooled, atol=1e-4)


def test_until_stops_there_and_gives_that_layer() -> None:
    parts = parts_of("molecules", OBJECTIVE)
    encoder, batch = parts.encoder.eval(), batch_of(parts)
    ran: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(encoder.layers, start=1)
    ]
    with torch.no_grad():
        stopped = encoder(batch, layers=(1,), until=1)
        assert ran == [1]
        whole = encoder(batch, layers=(1,))
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(stopped.layers[1].values, whole.layers[1].values)
    torch.testing.assert_close(stopped.tokens["tokens"].values, whole.layers[1].values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_the_teachers_and_only_hidden_tokens_count(kind: str) -> None:
    torch.manual_seed(0)
    parts = parts_of(kind, OBJECTIVE)
    objective, batch = parts.objective.train(), batch_of(parts)
    draws = objective.draw(batch, torch.Generator().manual_seed(0), PROGRESS)
    terms = objective(batch, draws)
    assert int(terms.counts["masked_features"]) == int(draws["hidden"].sum()) > 0
    terms.total.backward()
    assert all(one.grad is None for one in objective.teacher.parameters())
    assert objective.mask_token.grad is not None
    assert float(objective.mask_token.grad.abs().sum()) > 0
    with torch.no_grad():
        top = objective._targets(batch)
        layers = objective.teacher.eval()(batch, layers=range(1, objective.depth + 1)).layers
        mean = torch.stack([nn.functional.layer_norm(one.values, one.values.shape[-1:]) for one in layers.values()])
    torch.testing.assert_close(top, mean.mean(0))  # two layers are all there are


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_the_teacher_follows(kind: str) -> None:
    torch.manual_seed(0)
    parts = parts_of(kind, OBJECTIVE, "objective.momentum=0.9")
    before = [one.clone() for one in parts.objective.teacher.parameters()]
    found = losses(parts, steps=6)
    assert min(found[-2:]) < found[0]
    assert any(not torch.equal(old, new) for old, new in zip(before, parts.objective.teacher.parameters(), strict=True))
