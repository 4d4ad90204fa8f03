"""Checks of an encoder: shapes, determinism, independence of batch mates, state."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import Counter
from collections.abc import Mapping

import torch
from torch import nn

from repcore.embedding.pooling import pool
from repcore.errors import ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore.specs import TensorSpec
from repcore.testing.bfloat16 import bfloat16_autocast
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.subjects import ROWS, EncoderSubject, RecipeSubject, as_encoder
from repcore.testing.tensors import difference, largest_gap, tensor_named

# Batch mates and padding change the order of float32 sums; a leak of statistics or of padding is far larger.
ROUNDING = 2e-4
BLIND = 1e-6  # vectors of different rows that are as near as this are one vector
HALF_ROUNDING = 0.2  # of the largest value: 8 bits through some layers; what is wrong is off by more, or not finite


@torch.no_grad()
def forward(encoder: nn.Module, batch: Batch) -> Features:
    """Features of a batch without a graph."""
    return as_encoder(encoder).forward(batch)


def shapes_match_spec(subject: EncoderSubject) -> None:
    """Inputs, pooled vectors, token levels, poolings and layers are what the spec and the interface promise."""
    spec, batch, encoder = subject.entry.spec, subject.batch(), subject.build()
    sizes = {"B": batch.size}
    for one in spec.inputs:
        _check_tensor(tensor_named(batch, one.name), one, sizes, f"input {one.name}")
    features = forward(encoder, batch)
    width = as_encoder(encoder).dim
    _check_tensor(features.pooled, TensorSpec("pooled", f"{batch.size} {width}"), {}, "pooled")
    if tuple(features.tokens)[: len(spec.levels)] != spec.levels:
        fail(f"token levels are {list(features.tokens)}; the spec says {list(spec.levels)}")
    for level, tokens in features.tokens.items():
        _check_tokens(tokens, batch.size, level)
    sizes = {"B": batch.size}
    named = {"pooled": features.pooled, **{level: tokens.values for level, tokens in features.tokens.items()}}
    for one in spec.outputs:
        _check_tensor(named.get(one.name, features.extras.get(one.name)), one, sizes, f"output {one.name}")
    for name in spec.poolings:
        vectors = pool(encoder, features, name, None, spec.poolings)
        if vectors.ndim != 2 or len(vectors) != batch.size or not vectors.isfinite().all():
            fail(f"pooling {name!r} gives {tuple(vectors.shape)} or values that are not finite")


def _check_tensor(tensor: object, spec: TensorSpec, sizes: dict[str, int], what: str) -> None:
    if tensor is None and spec.optional:
        return
    if not isinstance(tensor, torch.Tensor):
        fail(f"{what} is {type(tensor).__name__}, not a tensor; the spec says ({spec.shape})")
    try:
        check_shape(tensor, spec.shape, name=what, owner="the spec", bound=sizes)
    except ShapeError as error:
        fail(str(error))
    if str(tensor.dtype).removeprefix("torch.") not in spec.dtype.split(" or "):
        fail(f"{what} is {tensor.dtype}; the spec says {spec.dtype}")
    if tensor.is_floating_point() and not tensor.isfinite().all():
        fail(f"{what} has values that are not finite")


def _check_tokens(tokens: Tokens, items: int, level: str) -> None:
    values = tokens.values
    if tokens.owner is not None:
        owner = tokens.owner
        if owner.shape != values.shape[:1] or owner.dtype != torch.int64:
            fail(f"level {level!r}: owner is {tuple(owner.shape)} {owner.dtype}, values are {tuple(values.shape)}")
        if len(owner) and (owner.diff() < 0).any():
            fail(f"level {level!r}: owner is not ascending")
        if len(owner) and not 0 <= int(owner.min()) <= int(owner.max()) < items:
            fail(f"level {level!r}: owner names items outside the batch of {items}")
    elif values.ndim != 3 or len(values) != items:
        fail(f"level {level!r}: dense values are {tuple(values.shape)}, expected ({items}, T, D)")
    elif tokens.valid is not None and (tokens.valid.shape != values.shape[:2] or tokens.valid.dtype != torch.bool):
        fail(f"level {level!r}: valid is {tuple(tokens.valid.shape)} {tokens.valid.dtype}, expected bool (B, T)")


def eval_deterministic(subject: EncoderSubject) -> None:
    """In eval mode the global random state does not matter, and a second pass gives the same bits."""
    encoder, batch = subject.build(), subject.batch()
    torch.manual_seed(1)
    first = forward(encoder, batch)
    torch.manual_seed(2)
    where = difference({"pooled": first.pooled, "tokens": first.tokens}, _shown(forward(encoder, batch)))
    if where:
        fail(f"two passes in eval mode: {where} (dropout or a random draw that ignores eval?)")


def _shown(features: Features) -> dict[str, object]:
    return {"pooled": features.pooled, "tokens": features.tokens}


def batch_independent(subject: EncoderSubject) -> None:
    """A row's vector and tokens do not depend on which rows are beside it, nor on its place."""
    rows, encoder = subject.rows, subject.build()
    count = len(rows.pieces)
    for row in sorted({0, count // 2, count - 1}):
        others = [number for number in range(count) if number != row]
        together = forward(encoder, rows.plain_batch([row, *others[:5]]))
        batch = rows.plain_batch([*others[:-6:-1], row])
        elsewhere, alone = forward(encoder, batch), forward(encoder, rows.plain_batch([row]))
        for found, place in ((elsewhere, batch.size - 1), (alone, 0)):
            gap = largest_gap(together.pooled[0], found.pooled[place])
            if gap > ROUNDING:
                fail(f"row {row}: its vector moves by {gap:.1e} (relative) with its batch mates; rounding is allowed")
            _same_tokens(_own_tokens(together, 0), _own_tokens(found, place), f"row {row}")


def _own_tokens(features: Features, item: int) -> dict[str, torch.Tensor]:
    """Tokens (T, D) of one item by level, without padding."""
    found = {}
    for level, tokens in features.tokens.items():
        if tokens.owner is not None:
            found[level] = tokens.values[tokens.owner == item]
        else:
            found[level] = tokens.values[item] if tokens.valid is None else tokens.values[item][tokens.valid[item]]
    return found


def _same_tokens(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], what: str) -> None:
    for level, values in one.items():
        if values.shape != other[level].shape:
            continue  # dense ones that say nothing of their padding
        gap = largest_gap(values, other[level]) if values.numel() else 0.0
        if gap > ROUNDING:
            fail(f"{what}: its tokens {level!r} move by {gap:.1e} (relative) with its batch mates")


def padding_invariant(subject: EncoderSubject) -> None:
    """Rows of any size go together: the smallest is the same alone and beside the largest."""
    rows, encoder = subject.rows, subject.build()
    order = rows.cheapest_first()
    smallest, largest = order[0], order[-1]
    if rows.cost(smallest) == rows.cost(largest):
        raise NotJudgedError(
            "all rows of the recipe cost the same; rows of different sizes would show what padding does"
        )
    both = forward(encoder, rows.plain_batch([smallest, largest]))
    for place, number in enumerate((smallest, largest)):
        what, alone = "smallest" if place == 0 else "largest", forward(encoder, rows.plain_batch([number]))
        gap = largest_gap(both.pooled[place], alone.pooled[0])
        if gap > ROUNDING:
            fail(f"the {what} row moves by {gap:.1e} (relative) beside the other")
        _same_tokens(_own_tokens(both, place), _own_tokens(alone, 0), f"the {what} row")


def reads_content(subject: EncoderSubject) -> None:
    """Other content gives other vectors, also under ids seen before: nothing is remembered by id."""
    rows, encoder = subject.rows, subject.build()
    first, other = rows.plain_batch([0, 1]), rows.plain_batch([len(rows.pieces) - 1, len(rows.pieces) // 2])
    forward(encoder, first)
    impostor = dataclasses.replace(other, sample_id=first.sample_id)
    where = difference(_shown(forward(encoder, impostor)), _shown(forward(subject.build(), other)))
    if where:
        fail(f"after other content under the same ids, {where}: something is kept by id")
    alike = _of_one_cost(rows)
    vectors = forward(encoder, rows.plain_batch(alike)).pooled
    if len(alike) > 1 and max(largest_gap(vectors[0], one) for one in vectors[1:]) < BLIND:
        fail(f"{len(alike)} rows of one size and different content get one vector: the encoder does not read values")


def _of_one_cost(rows: RecipeSubject) -> list[int]:
    """A few pieces of the most frequent cost whose content differs from that of the first."""
    count = min(len(rows.pieces), ROWS)
    costs = Counter(rows.cost(number) for number in range(count))
    (most, _), *_ = costs.most_common(1)
    first, *others = [number for number in range(count) if rows.cost(number) == most]
    own = rows.plain_batch([first]).inputs
    return [first, *[one for one in others[:3] if difference(own, rows.plain_batch([one]).inputs)]]


def state_dict_roundtrip(subject: EncoderSubject) -> None:
    """Weights of one encoder make another, built from another seed, give the same bits."""
    batch, first, second = subject.batch(), subject.build(seed=0), subject.build(seed=1)
    missing = second.load_state_dict(first.state_dict(), strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        fail(f"keys depend on more than the config: {[*missing.missing_keys, *missing.unexpected_keys][:4]}")
    where = difference(_shown(forward(first, batch)), _shown(forward(second, batch)))
    if where:
        fail(f"after loading all weights {where}: something that matters is not in state_dict")


def mode_restored(subject: EncoderSubject) -> None:
    """A pass changes neither a module's mode nor a parameter's ``requires_grad``."""
    encoder, batch = subject.build(), subject.batch()
    for training in (False, True):
        encoder.train(training)
        before = _switches(encoder)
        forward(encoder, batch)
        changed = sorted(name for name, value in _switches(encoder).items() if before[name] != value)
        if changed:
            fail(f"forward with training={training} switched {', '.join(changed[:4])}")


def _switches(encoder: nn.Module) -> dict[str, bool]:
    modes = {f"module {name or '(encoder)'}": module.training for name, module in encoder.named_modules()}
    return modes | {f"parameter {name}": one.requires_grad for name, one in encoder.named_parameters()}


def permutation_as_declared(subject: EncoderSubject) -> None:
    """An encoder with the capability ``permutation-invariant:N`` does not see the order along ``N``.

    ``N`` is the letter of a dimension in the spec's inputs; one-dimensional ``owner`` tensors keep ragged items apart.
    ``permutation-equivariant:N`` also promises that the first token level follows the order, one token an element.
    """
    promises = [one.partition(":") for one in subject.entry.spec.capabilities if one.startswith("permutation-")]
    encoder, batch = subject.build(), subject.batch()
    for word, _, letter in promises:
        order = _new_order(subject, batch, letter)
        before, after = forward(encoder, batch), forward(encoder, _reordered(subject, batch, letter, order))
        gap = largest_gap(before.pooled, after.pooled)
        if gap > ROUNDING:
            fail(f"pooled moves by {gap:.1e} (relative) when {letter} is put into another order; the spec says {word}")
        if word == "permutation-equivariant":
            old, new = (next(iter(one.tokens.values())).values for one in (before, after))
            axis = old.ndim - 2
            if old.shape[axis] != len(order) or largest_gap(old.index_select(axis, order), new) > ROUNDING:
                fail(f"tokens do not follow the order of {letter}; the spec says {word}")


def _new_order(subject: EncoderSubject, batch: Batch, letter: str) -> torch.Tensor:
    """A random order along a dimension; elements of one owner stay together."""
    shaped = [(one, tensor_named(batch, one.name)) for one in subject.entry.spec.inputs]
    sizes = {tensor.shape[one.shape.split().index(letter)] for one, tensor in shaped if letter in one.shape.split()}
    if len(sizes) != 1:
        fail(f"the spec promises an order of {letter!r}, which {len(sizes)} sizes among its inputs have")
    order = torch.randperm(sizes.pop())
    owner = tensor_named(batch, "owner")
    return order[torch.sort(owner[order], stable=True).indices] if isinstance(owner, torch.Tensor) else order


def _reordered(subject: EncoderSubject, batch: Batch, letter: str, order: torch.Tensor) -> Batch:
    if not isinstance(batch.inputs, Mapping):
        raise NotJudgedError(f"inputs are a {type(batch.inputs).__name__}; only mappings of tensors can be reordered")
    inputs = dict(batch.inputs)
    for one in subject.entry.spec.inputs:
        if letter in one.shape.split() and one.name in inputs:
            inputs[one.name] = inputs[one.name].index_select(one.shape.split().index(letter), order)
    return dataclasses.replace(batch, inputs=inputs)


def deepcopy_and_pickle(subject: EncoderSubject) -> None:
    """Copies and unpickled encoders are whole and apart: other processes and averaged teachers are made this way."""
    encoder, batch = subject.build(), subject.batch()
    expected = _shown(forward(encoder, batch))
    for how, make in (("deepcopy", copy.deepcopy), ("pickle", lambda one: pickle.loads(pickle.dumps(one)))):
        try:
            twin = make(encoder)
        except (TypeError, AttributeError, RuntimeError, pickle.PicklingError) as error:
            fail(f"{how}: {type(error).__name__}: {error}")
        where = difference(expected, _shown(forward(twin, batch)))
        if where:
            fail(f"after {how} {where}")
        own = {one.data_ptr() for one in encoder.parameters()}
        if any(one.data_ptr() in own for one in twin.parameters()):
            fail(f"after {how} the copy shares weights with the original")


def autocast_finite(subject: EncoderSubject) -> None:
    """Under bfloat16 autocast vectors are finite and those of float32 but for rounding."""
    encoder, batch = subject.build(), subject.batch()
    exact = forward(encoder, batch).pooled
    with bfloat16_autocast():
        rounded = forward(encoder, batch).pooled
    if not rounded.isfinite().all():
        fail("vectors under bfloat16 autocast are not finite (a mask value or an exponent beyond its range?)")
    gap = largest_gap(rounded.float(), exact)
    if gap > HALF_ROUNDING:
        fail(f"vectors under bfloat16 autocast are off by {gap:.2g} (relative); compute what is delicate in float32")


def compiles(subject: EncoderSubject) -> None:
    """``torch.compile`` traces the encoder, and the traced one gives the same vectors."""
    encoder, batch = subject.build(), subject.batch()
    expected = forward(encoder, batch).pooled
    torch._dynamo.reset()
    with torch.no_grad():
        got = torch.compile(encoder, backend="aot_eager")(batch).pooled
    torch._dynamo.reset()
    gap = largest_gap(got, expected)
    if gap > ROUNDING:
        fail(f"the compiled encoder's vectors are off by {gap:.1e} (relative)")


CHECKS = (
    Check("shapes-match-spec", shapes_match_spec),
    Check("eval-deterministic", eval_deterministic),
    Check("batch-independent", batch_independent, needs_rows=True),
    Check("padding-invariant", padding_invariant, needs_rows=True),
    Check("encoder-reads-content", reads_content, needs_rows=True),
    Check("permutation-as-declared", permutation_as_declared),
    Check("state-dict-roundtrip", state_dict_roundtrip),
    Check("train-eval-mode-restored", mode_restored),
    Check("deepcopy-and-pickle", deepcopy_and_pickle),
    Check("autocast-bf16-finite", autocast_finite),
    Check("torch-compile", compiles, level="full"),
)
