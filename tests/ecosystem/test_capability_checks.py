"""Checks of encoders' capabilities: green on a network that keeps its promises, red on each planted bug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from repcore.embedding.layers import can_stop, features_at
from repcore.interfaces import Batch, Features, Tokens
from repcore.specs import EncoderSpec
from repcore.testing.capability_checks import CHECKS, checks_of
from repcore.testing.check import CheckFailedError


class Deep(nn.Module):
    """Three layers over (B, T, 4) numbers, with every capability."""

    dim = depth = 3

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(self.depth))
        self.dim = 6
        self.decoder = nn.Linear(6, 4)

    def token_width(self, level: str = "tokens") -> int:
        return 6

    def embed_tokens(self, batch: Batch) -> Tokens:
        return Tokens(self.first(batch.inputs["values"]))

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        return self.run_from(0, tokens, batch, layers, until)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        return self.encode_tokens(self.embed_tokens(batch), batch, layers, until)

    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        states = {layer: hidden.values}
        for number in range(layer + 1, (self.depth if until is None else until) + 1):
            states[number] = states[number - 1] + torch.tanh(self.blocks[number - 1](states[number - 1]))
        last = states[max(states)]
        return Features(last.mean(1), {"tokens": Tokens(last)}, {one: Tokens(states[one]) for one in layers})

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        return {f"blocks.{number}": block for number, block in enumerate(self.blocks)}

    def decode(self, z: Tensor, batch: Batch) -> Tensor:
        return -(self.decoder(z) - batch.inputs["values"].mean(1)).square().sum(-1)


class OtherWidth(Deep):
    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        features = super().forward(batch, layers, until)
        cut = {number: replace(one, values=one.values[..., :5]) for number, one in features.layers.items()}
        return replace(features, layers=cut)


class SumsInPlace(Deep):
    """The list of layers holds one tensor, again and again."""

    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        values = hidden.values.clone()
        states = {layer: values}
        for number in range(layer + 1, (self.depth if until is None else until) + 1):
            values += torch.tanh(self.blocks[number - 1](values))
            states[number] = values
        return Features(values.mean(1), {"tokens": Tokens(values)}, {one: Tokens(states[one]) for one in layers})


class AllLayers(Deep):
    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        return super().forward(batch, range(self.depth + 1), until)


class EmbedsAgain(Deep):
    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        return self.run_from(0, self.embed_tokens(batch), batch, layers, until)


class Shifted(Deep):
    def embed_tokens(self, batch: Batch) -> Tokens:
        return Tokens(self.first(batch.inputs["values"]) + 1.0)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        return self.run_from(0, Tokens(self.first(batch.inputs["values"])), batch, layers, until)


class WrongEmbeddingWidth(Deep):
    def token_width(self, level: str = "tokens") -> int:
        return 4 if level == "embedding" else 6


class Slices(Deep):
    """Computes everything and gives the layer that was asked for."""

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        whole = super().forward(batch, range(self.depth + 1))
        last = whole.layers[self.depth if until is None else until]
        return Features(last.values.mean(1), {"tokens": last}, {one: whole.layers[one] for one in layers})


class OffByOne(Deep):
    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        return super().run_from(layer, hidden, batch, layers, None if until is None else until + 1)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        features = super().forward(batch, (), until)
        later = super().forward(batch, [one + (until is not None) for one in layers])
        return replace(features, layers=dict(zip(layers, later.layers.values(), strict=True)))


class StopsAtTheFirst(Deep):
    """``until`` is a switch: whatever layer is named, the first is the last."""

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        features = super().forward(batch, (), None if until is None else 0)
        kept = super().forward(batch, range(self.depth + 1) if until is None else [0]).layers
        return replace(features, layers={one: kept.get(one, kept[0]) for one in layers})


class PoolsTheStart(Deep):
    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        features = super().run_from(layer, hidden, batch, layers, until)
        return replace(features, pooled=hidden.values.mean(1)) if layer else features


class SkipsALayer(Deep):
    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        return super().run_from(min(layer + bool(layer), self.depth - 1), hidden, batch, layers, until)


class Deaf(Deep):
    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        start = self.embed_tokens(batch) if layer else hidden
        return super().run_from(0, start, batch, layers, until)


class OneNumber(Deep):
    def decode(self, z: Tensor, batch: Batch) -> Tensor:
        return super().decode(z, batch).mean()


class OneMeanForAll(Deep):
    def decode(self, z: Tensor, batch: Batch) -> Tensor:
        return super().decode(z, batch).mean().expand(batch.size)


class IgnoresTheLatent(Deep):
    def decode(self, z: Tensor, batch: Batch) -> Tensor:
        return batch.inputs["values"].sum((1, 2))


class CopiedBlocks(Deep):
    """Names modules that forward does not call."""

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        return {"blocks.0": nn.Linear(6, 6)}


class Mixing(nn.Linear):
    """Each item sees the others."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values - values.mean(0))


class MixingBlocks(Deep):
    def __init__(self) -> None:
        super().__init__()
        self.blocks[1] = Mixing(6, 6)


class MixingTokens(nn.Linear):
    """Each token sees the others of its item."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values - values.mean(1, keepdim=True))


class TokenMixingBlocks(Deep):
    def __init__(self) -> None:
        super().__init__()
        self.blocks[1] = MixingTokens(6, 6)


class FlatBlocks(Deep):
    """Blocks get the tokens of all items in one row, and nobody says whose they are."""

    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        values = hidden.values
        for block in self.blocks:
            values = values + torch.tanh(block(values.flatten(0, 1)).view_as(values))
        return Features(values.mean(1), {"tokens": Tokens(values)})


BUGS: list[tuple[str, type[Deep]]] = [
    ("layers", OtherWidth), ("layers", AllLayers), ("layers", SumsInPlace), ("encode-tokens", EmbedsAgain),
    ("encode-tokens", Shifted), ("encode-tokens", WrongEmbeddingWidth), ("until", Slices), ("until", OffByOne),
    ("until", StopsAtTheFirst), ("run-from", SkipsALayer), ("run-from", Deaf), ("run-from", PoolsTheStart),
    ("feed-forward-blocks", CopiedBlocks), ("feed-forward-blocks", MixingBlocks),
    ("feed-forward-blocks", TokenMixingBlocks), ("feed-forward-blocks", FlatBlocks), ("decode", OneNumber),
    ("decode", OneMeanForAll), ("decode", IgnoresTheLatent),
]  # fmt: skip


def subject(kind: type[Deep]) -> Any:
    """What a check gets, with one fixed batch."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        return kind().eval()

    values = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(build=build, batch=lambda: Batch({"values": values}, 5))


@pytest.mark.parametrize("word", CHECKS)
def test_a_network_that_keeps_its_promises_passes(word: str) -> None:
    told = None
    try:
        CHECKS[word].function(subject(Deep))
    except CheckFailedError as error:
        told = str(error)
    assert told is None


@pytest.mark.parametrize(("word", "bug"), BUGS, ids=[f"{word}-{bug.__name__}" for word, bug in BUGS])
def test_a_planted_bug_is_caught(word: str, bug: type[Deep]) -> None:
    with pytest.raises(CheckFailedError):
        CHECKS[word].function(subject(bug))


def test_every_check_has_a_bug_and_is_due_where_it_is_promised() -> None:
    assert {word for word, _ in BUGS} == set(CHECKS)
    spec = EncoderSpec(name="x", target="a:b", config="a:b", capabilities=("until", "something-else", "layers"))
    assert [one.id for one in checks_of(spec)] == ["layers-have-one-width", "until-stops"]


def test_a_layer_is_computed_without_later_ones_where_the_encoder_can_stop() -> None:
    one = subject(Deep)
    encoder, ran = one.build(), []
    for number, block in enumerate(encoder.blocks, 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    assert can_stop(encoder)
    early = features_at(encoder, one.batch(), 1)
    assert ran == [1]
    whole = features_at(encoder, one.batch(), None)
    assert ran == [1, 1, 2, 3]
    torch.testing.assert_close(early.layers[1].values, encoder(one.batch(), [1]).layers[1].values)
    assert not torch.allclose(early.pooled, whole.pooled)
