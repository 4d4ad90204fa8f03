"""The SELFormer encoder: published sizes, positions, packing, pooling, batch independence and guards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch
from repcore_molecules.configs.selformer import SELFORMER, SELFORMER_LITE, SelformerConfig
from repcore_molecules.encoders.selformer import Selformer, longest_sequence, tiny_example, token_positions
from repcore_molecules.objectives.masked_language import LanguageHead

CONFIG = SelformerConfig(
    vocabulary_size=30, hidden_width=24, layers=3, attention_heads=3, feed_forward_width=40, max_positions=40
)


def build(**changes: object) -> Selformer:
    torch.manual_seed(0)
    encoder = Selformer(replace(CONFIG, **changes)).eval()  # type: ignore[arg-type]
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def sequences(lengths: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.cat([torch.tensor([1]), torch.randint(5, 30, (n - 2,), generator=generator), torch.tensor([2])])
        for n in lengths
    ]


def collate(rows: list[Tensor], length: int | None = None) -> Batch:
    length = length or max(len(row) for row in rows)
    ids = torch.full((len(rows), length), 3)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return Batch(inputs={"input_ids": ids, "attention_mask": ids != 3}, size=len(rows))


ROWS = sequences((9, 4, 4, 14, 2, 9))


@pytest.mark.parametrize(("config", "expected"), [(SELFORMER, 86_658_848), (SELFORMER_LITE, 58_307_360)])
def test_published_sizes(config: SelformerConfig, expected: int) -> None:
    with torch.device("meta"):
        parts = [Selformer(config), LanguageHead(config.hidden_width, 800)]
    assert sum(p.numel() for part in parts for p in part.parameters()) == expected
    assert longest_sequence(config) == 513


def test_positions_by_hand() -> None:
    ids = torch.tensor([[1, 9, 8, 2, 3, 3]])
    assert token_positions(ids, 1).tolist() == [[1, 2, 3, 4, 5, 6]]  # published: padding goes on counting
    assert token_positions(ids, 3).tolist() == [[4, 5, 6, 7, 3, 3]]


@torch.no_grad()
def test_leaving_padding_out_changes_nothing_for_real_tokens() -> None:
    skip, compute = build(padding="skip"), build(padding="compute")
    batch = collate(ROWS, 17)
    ours, plain = skip(batch, layers=(0, 2)), compute(batch, layers=(0, 2))
    valid = batch.inputs["attention_mask"]
    for one, other in ((ours.tokens["tokens"], plain.tokens["tokens"]), (ours.layers[2], plain.layers[2])):
        # float32: other matrix shapes, other order of sums
        torch.testing.assert_close(one.values[valid], other.values[valid], rtol=0, atol=2e-6)
        assert not one.values[~valid].any()
    torch.testing.assert_close(ours.layers[0].values[valid], plain.layers[0].values[valid], rtol=0, atol=0)
    torch.testing.assert_close(ours.pooled, plain.pooled, rtol=0, atol=2e-6)


@torch.no_grad()
@pytest.mark.parametrize("padding", ["skip", "compute"])
def test_batch_mates_padding_and_order_change_nothing(padding: str) -> None:
    encoder = build(padding=padding)
    alone = torch.cat([encoder(collate([row])).pooled for row in ROWS])
    together = encoder(collate(ROWS, 20)).pooled
    order = [3, 0, 5, 1, 4, 2]
    shuffled = encoder(collate([ROWS[i] for i in order])).pooled
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)  # float32 sums
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=2e-6)


def test_gradients_are_those_of_the_padded_computation() -> None:
    batch = collate(ROWS)
    gradients = []
    for padding in ("skip", "compute"):
        encoder = build(padding=padding)
        encoder(batch).pooled.square().sum().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
    for name, value in gradients[0].items():
        scale = float(gradients[1][name].abs().max())
        torch.testing.assert_close(value, gradients[1][name], rtol=0, atol=1e-5 * max(scale, 1.0))


def test_padding_rows_get_no_gradient() -> None:
    encoder = build(position_padding_id=1, embedding_padding_id=1)
    encoder(collate(ROWS)).pooled.sum().backward()
    assert not encoder.embeddings.words.weight.grad[1].any()
    assert not encoder.embeddings.positions.weight.grad[1].any()
    assert encoder.embeddings.positions.weight.grad[2].any()


@torch.no_grad()
def test_poolings_by_hand() -> None:
    encoder = build()
    features = encoder(collate(ROWS))
    values = features.tokens["tokens"].values
    for row, ids in enumerate(ROWS):
        real = values[row, : len(ids)]
        torch.testing.assert_close(features.pooled[row], real.mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(encoder.pool(features, "max")[row], real.amax(0), rtol=0, atol=0)
        torch.testing.assert_close(encoder.pool(features, "bos")[row], real[0], rtol=0, atol=0)
        symbols = real[1:-1].mean(0) if len(ids) > 2 else torch.zeros(24)
        torch.testing.assert_close(encoder.pool(features, "mean-symbols")[row], symbols, rtol=0, atol=1e-6)
    assert torch.equal(encoder.pool(features, "mean"), features.pooled)
    with pytest.raises(ConfigError, match=r"no pooling 'median'[\s\S]*mean, mean-symbols, bos, max"):
        encoder.pool(features, "median")


@torch.no_grad()
@pytest.mark.parametrize("padding", ["skip", "compute"])
def test_mean_layers_are_the_means_of_every_layer_side_by_side(padding: str) -> None:
    still = {"padding": padding, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    published, own = build(**still), build(**still, pooling="mean-layers")
    own.load_state_dict(published.state_dict())
    numbers = range(len(published.layers) + 1)
    features = published(collate(ROWS), layers=numbers)
    for row, ids in enumerate(ROWS):
        by_hand = torch.cat([features.layers[number].values[row, : len(ids)].mean(0) for number in numbers])
        torch.testing.assert_close(published.pool(features, "mean-layers")[row], by_hand, rtol=0, atol=1e-6)
    assert (own.dim, published.dim) == (24 * len(numbers), 24)
    for training in (True, False):
        vectors = own.train(training)(collate(ROWS)).pooled
        assert torch.equal(vectors, published.pool(features, "mean-layers"))
    assert torch.equal(own.pool(own(collate(ROWS)), "mean"), features.pooled)


@torch.no_grad()
@pytest.mark.parametrize("padding", ["skip", "compute"])
def test_sums_beside_the_means_know_how_large_a_molecule_is(padding: str) -> None:
    still = {"padding": padding, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    means, own = build(**still, pooling="mean-layers"), build(**still, pooling="mean-sum-layers")
    own.load_state_dict(means.state_dict())
    expected = means(collate(ROWS)).pooled
    lengths = torch.tensor([[len(ids)] for ids in ROWS])
    for training in (True, False):
        vectors = own.train(training)(collate(ROWS)).pooled
        assert vectors.shape == (len(ROWS), own.dim) == (len(ROWS), 2 * means.dim)
        torch.testing.assert_close(vectors, torch.cat([expected, expected * lengths / 32], 1))


@torch.no_grad()
def test_without_a_mask_padding_is_attended_to() -> None:
    encoder = build()
    batch = collate(ROWS)
    open_batch = Batch(inputs={"input_ids": batch.inputs["input_ids"]}, size=batch.size)
    masked, unmasked = encoder(batch), encoder(open_batch)
    longest = 3
    torch.testing.assert_close(masked.pooled[longest], unmasked.pooled[longest], rtol=0, atol=2e-6)
    assert float((masked.pooled[1] - unmasked.pooled[1]).abs().max()) > 1e-3


def test_evaluation_is_deterministic_and_training_drops_out() -> None:
    encoder = build()
    batch = collate(ROWS)
    assert torch.equal(encoder(batch).pooled, encoder(batch).pooled)
    encoder.train()
    torch.manual_seed(1)
    first = encoder(batch).pooled
    assert not torch.equal(first, encoder(batch).pooled)
    torch.manual_seed(1)
    assert torch.equal(first, encoder(batch).pooled)


def test_initial_weights() -> None:
    encoder = Selformer(CONFIG)
    assert not encoder.embeddings.words.weight[3].any()
    assert not encoder.embeddings.positions.weight[3].any()
    assert not encoder.layers[0].attention.qkv.bias.any()
    assert abs(float(encoder.layers[0].feed_forward.expand.weight.detach().std()) - 0.02) < 0.002
    generator = torch.Generator().manual_seed(4)
    encoder.initialise(generator)
    again = Selformer(CONFIG)
    again.initialise(torch.Generator().manual_seed(4))
    assert torch.equal(again.embeddings.token_type, encoder.embeddings.token_type)


@torch.no_grad()
def test_the_longest_sequence() -> None:
    for changes in ({}, {"position_padding_id": 1, "embedding_padding_id": 1}):
        encoder = build(**changes)
        longest = encoder.max_tokens
        assert longest == (36 if not changes else 39)
        assert encoder(collate(sequences((longest,)))).pooled.isfinite().all()
        with pytest.raises(ShapeError, match=rf"{longest + 1} tokens a row[\s\S]*truncate"):
            encoder(collate(sequences((longest + 1,))))


def test_guards() -> None:
    encoder = build()
    with pytest.raises(ShapeError, match=r"ids 1 to 30; molecules/selformer has a vocabulary of 30"):
        encoder(Batch(inputs={"input_ids": torch.tensor([[1, 30]])}, size=1))
    with pytest.raises(ShapeError, match=r"expects batch.inputs with 'input_ids'"):
        encoder(Batch(inputs=torch.zeros(2, 2), size=2))
    with pytest.raises(ShapeError, match="attention_mask"):
        encoder(Batch(inputs={"input_ids": torch.ones(2, 3).long(), "attention_mask": torch.ones(2, 4).bool()}, size=2))
    with pytest.raises(ConfigError, match=r"no layer 4[\s\S]*to 3"):
        encoder(collate(ROWS), layers=(0, 4))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocabulary_size": None}, "vocabulary_size is not known"),
        ({"embedding_padding_id": 30}, "embedding_padding_id=30"),
        ({"position_padding_id": 39}, "position_padding_id=39"),
        ({"layers": 0}, "layers=0"),
        ({"attention_heads": 5}, "5 attention heads do not divide"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Selformer(replace(CONFIG, **changes))  # type: ignore[arg-type]


def test_the_example_runs() -> None:
    config, batch = tiny_example()
    assert Selformer(config)(batch).pooled.shape == (2, 8)


@torch.no_grad()
def test_equal_to_transformers_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers")
    from repcore_molecules.checkpoints.selformer import import_state

    config = replace(CONFIG, position_padding_id=1, embedding_padding_id=1)
    settings = transformers.RobertaConfig(
        vocab_size=30, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=40, type_vocab_size=1, layer_norm_eps=1e-12, pad_token_id=1, bos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    reference = transformers.RobertaForMaskedLM(settings).eval()
    state, _ = import_state(reference.state_dict(), config, "transformers")
    encoder = Selformer(config).eval()
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")})
    batch = collate(ROWS)
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    expected = reference.roberta(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    ours = encoder(batch).tokens["tokens"].values
    torch.testing.assert_close(ours[mask], expected[mask], rtol=0, atol=2e-5)  # tolerance of the golden folder
