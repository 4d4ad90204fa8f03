"""Masked-language objective: the 80/10/10 rule, exact counts, an empty batch, and the head only where it is needed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Progress
from repcore.training.objective_rules import exported_encoder
from repcore_molecules.configs.selformer import MaskedLanguageConfig, SelformerConfig
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.objectives.masked_language import TERM, MaskedLanguage, fixed_guess, has_weight_decay

ENCODER = SelformerConfig(
    vocabulary_size=30, hidden_width=16, layers=2, attention_heads=2, feed_forward_width=24, max_positions=300,
    hidden_dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
PROGRESS = Progress(step=0, total_steps=10)


def build(**changes: object) -> MaskedLanguage:
    torch.manual_seed(0)
    config = replace(MaskedLanguageConfig(token_count=25), **changes)  # type: ignore[arg-type]
    return MaskedLanguage(config, Selformer(ENCODER))


def make_batch(items: int = 6, length: int = 20) -> Batch:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 25, (items, length), generator=generator)
    ids[:, 0] = 1
    for row in range(items):
        end = 4 + 2 * row if length < 100 else length - 1
        ids[row, end] = 2
        ids[row, end + 1 :] = 3
    return Batch(inputs={"input_ids": ids, "attention_mask": ids != 3}, size=items)


def draws_of(objective: MaskedLanguage, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(objective.draw(batch, torch.Generator().manual_seed(seed), PROGRESS))


def test_the_rule_token_by_token() -> None:
    objective, batch = build(), make_batch()
    draws = draws_of(objective, batch)
    masked = objective.mask_tokens(batch, draws)
    ids = batch.inputs["input_ids"]
    for row in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            at = (row, t)
            chosen = int(ids[at]) >= 5 and float(draws["select"][at]) < 0.15
            expected = int(ids[at])
            if chosen and float(draws["replace"][at]) < 0.8:
                expected = 4
            elif chosen and float(draws["randomise"][at]) < 0.5:
                expected = int(draws["random_words"][at])
            assert bool(masked.selected[at]) == chosen
            assert int(masked.input_ids[at]) == expected


def test_shares_over_many_tokens() -> None:
    objective, batch = build(), make_batch(200, 250)
    masked = objective.mask_tokens(batch, draws_of(objective, batch))
    ids = batch.inputs["input_ids"]
    ordinary = int((ids >= 5).sum())
    share = int(masked.selected.sum()) / ordinary
    assert abs(share - 0.15) < 0.006  # 50,000 tokens: 4 deviations
    shown, truth = masked.input_ids[masked.selected], ids[masked.selected]
    assert abs(float((shown == 4).float().mean()) - 0.8 - 0.1 / 25) < 0.02  # a random word may be the mask token
    unchanged = float((shown == truth).float().mean())
    assert abs(unchanged - 0.1 - 0.1 / 25) < 0.02
    assert int(shown.max()) < 25  # only tokens that the tokeniser can write


def test_draws_depend_on_the_generator_alone() -> None:
    objective, batch = build(), make_batch()
    first, again, other = (draws_of(objective, batch, seed) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["select"], other["select"])
    assert int(first["random_words"].max()) < 25


def test_loss_equals_the_full_head_and_counts_are_known_before() -> None:
    objective, batch = build(mask_probability=0.5), make_batch()
    draws = draws_of(objective, batch)
    terms = objective(batch, draws)
    masked = objective.mask_tokens(batch, draws)
    hidden = objective.encode(batch, masked).tokens["tokens"].values
    scores = objective.logits(hidden)
    labels = batch.inputs["input_ids"].masked_fill(~masked.selected, -100)
    full = F.cross_entropy(scores.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(terms.total, full, rtol=1e-5, atol=1e-6)  # float32 sums in another order
    assert int(terms.counts[TERM]) == int(masked.selected.sum()) == int(objective.counts(batch, draws)[TERM])
    right = (scores.argmax(-1) == labels)[masked.selected].float().mean()
    assert float(terms.metrics["masked_accuracy"]) == pytest.approx(float(right))


def test_a_batch_with_nothing_to_predict_is_zero_with_zero_gradients() -> None:
    objective, batch = build(mask_probability=0.0), make_batch()
    terms = objective(batch, draws_of(objective, batch))
    assert float(terms.total.detach()) == 0.0
    assert int(terms.counts[TERM]) == 0
    assert float(terms.metrics["masked_accuracy"]) == 0.0
    terms.total.backward()
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert gradients
    assert all(not g.any() and g.isfinite().all() for g in gradients)


def test_every_parameter_learns_and_the_decoder_is_tied() -> None:
    objective, batch = build(mask_probability=0.9), make_batch()
    objective(batch, draws_of(objective, batch)).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    assert not any("decoder" in name for name in objective.state_dict())
    untouched = 29  # never an input here: its gradient can only come through the decoder
    assert objective.encoder.embeddings.words.weight.grad[untouched].any()


def test_padding_is_attended_to_only_on_request() -> None:
    batch = make_batch()
    proper, reference = build(), build(attention_mask="reference")
    for parameter in [*proper.parameters(), *reference.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)  # initial weights are too small to tell attention apart
    draws = draws_of(proper, batch)
    longer = Batch(
        inputs={
            name: F.pad(value, (0, 7), value=3 if name == "input_ids" else 0) for name, value in batch.inputs.items()
        },
        size=batch.size,
    )
    longer_draws = {name: F.pad(value, (0, 7)) for name, value in draws.items()}
    same = proper(batch, draws).total - proper(longer, longer_draws).total
    moved = reference(batch, draws).total - reference(longer, longer_draws).total
    assert abs(float(same.detach())) < 1e-5
    assert abs(float(moved.detach())) > 1e-5


def test_weight_decay_skips_biases_and_norms() -> None:
    names = {name for name, p in build().named_parameters() if not has_weight_decay(name, p)}
    assert names
    assert all(name.endswith("bias") or "norm" in name for name in names)
    decayed = {name for name, p in build().named_parameters() if has_weight_decay(name, p)}
    assert not any("norm" in name or name.endswith("bias") for name in decayed)
    assert "encoder.embeddings.positions.weight" in decayed


def test_export_and_guards() -> None:
    objective = build()
    assert exported_encoder(objective) is objective.encoder
    with pytest.raises(ConfigError, match="no branch 'teacher'"):
        exported_encoder(objective, "teacher")
    with pytest.raises(ConfigError, match=r"mask_share=1\.5"):
        build(mask_share=1.5)
    with pytest.raises(ConfigError, match="token_count=31 does not fit an encoder with a vocabulary of 30"):
        build(token_count=31)
    assert build(token_count=None).token_count == 30


def test_fixed_guess_is_the_entropy_and_the_commonest_share() -> None:
    loss, accuracy = fixed_guess(torch.tensor([4, 4, 4, 7]), 9)
    assert float(loss) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert float(accuracy) == 0.75
    nothing = fixed_guess(torch.tensor([], dtype=torch.long), 9)
    assert [float(value) for value in nothing] == [0.0, 0.0]
