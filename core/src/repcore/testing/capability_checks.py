"""Checks of what an encoder's capabilities promise; see :class:`repcore.interfaces.Encoder`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from repcore.interfaces import Features, Tokens
from repcore.specs import EncoderSpec
from repcore.testing.check import Check, fail
from repcore.testing.subjects import EncoderSubject
from repcore.testing.tensors import largest_gap

ROUNDING = 2e-4
SHARPLY = 1e-6  # what a replaced token must at least move


@torch.no_grad()
def layers_have_one_width(subject: EncoderSubject) -> None:
    """``layers``: tokens of ``token_width()`` at every layer from ``first_layer`` on, whichever are asked for."""
    encoder: Any = subject.build()
    batch = subject.batch()
    depth, first, width = int(encoder.depth), int(getattr(encoder, "first_layer", 0)), int(encoder.token_width())
    wanted = list(range(first, depth + 1))
    found = encoder(batch, layers=wanted).layers
    if sorted(found) != wanted:
        fail(f"layers {wanted} were asked for, {sorted(found)} came")
    for number, tokens in found.items():
        if tokens.values.shape[-1] != width:
            fail(f"layer {number} has tokens of width {tokens.values.shape[-1]}; token_width() says {width}")
    if len({tokens.values.data_ptr() for tokens in found.values()}) < len(found):
        fail("layers share their memory: a later one overwrites what an earlier one gave (a sum in place?)")
    for one in sorted({first, depth}):
        alone = encoder(batch, layers=[one]).layers
        if sorted(alone) != [one] or largest_gap(alone[one].values, found[one].values) > ROUNDING:
            fail(f"layer {one} alone is not what it is beside the others")


@torch.no_grad()
def tokens_go_in_and_out(subject: EncoderSubject) -> None:
    """``embed-tokens`` then ``encode-tokens`` equal ``forward``; width as told; a replaced token matters."""
    encoder: Any = subject.build()
    batch = subject.batch()
    whole: Features = encoder(batch)
    tokens: Tokens = encoder.embed_tokens(batch)
    width = int(encoder.token_width("embedding"))
    if tokens.values.shape[-1] != width:
        fail(f"embed_tokens gives width {tokens.values.shape[-1]}; token_width('embedding') says {width}")
    _same(encoder.encode_tokens(tokens, batch), whole, "encode_tokens(embed_tokens(batch), batch)")
    _same(encoder(batch), whole, "forward after encode_tokens")
    other = replace(tokens, values=-2.0 * tokens.values)
    if largest_gap(encoder.encode_tokens(other, batch).pooled, whole.pooled) < SHARPLY:
        fail("encode_tokens gives the same vectors for other tokens: it embeds the batch itself")


@torch.no_grad()
def until_stops(subject: EncoderSubject) -> None:
    """``until=l``: layer l is what it is in a whole pass, its tokens come out, and fewer modules run."""
    encoder: Any = subject.build()
    batch = subject.batch()
    first = int(getattr(encoder, "first_layer", 0))
    ran = _counted(encoder)
    whole = encoder(batch, layers=[first, first + 1])
    all_ran = ran()
    stopped = encoder(batch, layers=[first], until=first)
    few_ran = ran()
    later = encoder(batch, layers=[first + 1], until=first + 1)
    if largest_gap(later.layers[first + 1].values, whole.layers[first + 1].values) > ROUNDING:
        fail(f"layer {first + 1} differs when the pass stops there")
    if largest_gap(stopped.layers[first].values, whole.layers[first].values) > ROUNDING:
        fail(f"layer {first} differs when the pass stops there")
    if few_ran >= all_ran:
        fail(f"until={first} runs {few_ran} modules, a whole pass {all_ran}: later layers are still computed")
    width = next(iter(stopped.tokens.values())).values.shape[-1]
    if width != stopped.layers[first].values.shape[-1]:
        fail(f"until={first}: tokens have width {width}, layer {first} {stopped.layers[first].values.shape[-1]}")


@torch.no_grad()
def goes_on_from_a_layer(subject: EncoderSubject) -> None:
    """``run-from``: from the tokens of any layer the rest of the pass gives what ``forward`` gives."""
    encoder: Any = subject.build()
    batch = subject.batch()
    numbers = list(range(int(getattr(encoder, "first_layer", 0)), int(encoder.depth) + 1))
    whole = encoder(batch, layers=numbers)
    for number in numbers[:-1]:
        hidden = whole.layers[number]
        name, last = next(iter(whole.tokens.items()))
        rest = encoder.run_from(number, hidden, batch, layers=numbers[-1:])
        if largest_gap(rest.tokens[name].values, last.values) > ROUNDING:
            fail(f"run_from({number}, ...) does not end where forward does")
        if rest.pooled.shape == whole.pooled.shape and largest_gap(rest.pooled, whole.pooled) > ROUNDING:
            fail(f"run_from({number}, ...): pooled is not that of forward")
        moved = encoder.run_from(number, replace(hidden, values=-2.0 * hidden.values), batch)
        if largest_gap(moved.tokens[name].values, last.values) < SHARPLY:
            fail(f"run_from({number}, ...) does not read the tokens it is given")


@torch.no_grad()
def blocks_see_tokens(subject: EncoderSubject) -> None:
    """``feed-forward-blocks``: sub-modules by name, called with tokens of known items, each token for itself."""
    encoder: Any = subject.build()
    batch = subject.batch()
    owner = encoder.token_owner(batch) if hasattr(encoder, "token_owner") else None
    blocks = encoder.feed_forward_blocks()
    if not blocks:
        fail("feed_forward_blocks() names none")
    seen: dict[str, torch.Tensor] = {}
    for name, block in blocks.items():
        if encoder.get_submodule(name) is not block:
            fail(f"feed_forward_blocks() gives another module under {name!r} than the encoder has there")
        block.register_forward_hook(lambda _, inputs, __, own=name: seen.update({own: inputs[0]}))
    encoder(batch)
    for name, block in blocks.items():
        if name not in seen:
            fail(f"block {name!r} is not called by forward")
        tokens = seen[name]
        if len(tokens) not in (batch.size, -1 if owner is None else len(owner)):
            fail(f"block {name!r} gets {tuple(tokens.shape)}: neither {batch.size} items nor those of token_owner")
        part, whole = block(tokens[:1]), block(tokens)[:1]
        if part.shape[:-1] != tokens[:1].shape[:-1] or largest_gap(part, whole) > ROUNDING:
            fail(f"block {name!r} does not treat each row of its input for itself")
        if tokens.ndim > 2 and largest_gap(block(tokens[:, :1]), block(tokens)[:, :1]) > ROUNDING:
            fail(f"block {name!r} does not treat each token of an item for itself")


def likelihood_of_items(subject: EncoderSubject) -> None:
    """``decode``: one finite log-likelihood an item, with a gradient for its own latent vector alone."""
    encoder: Any = subject.build()
    batch = subject.batch()
    latent = encoder(batch).pooled.detach().requires_grad_()
    found = encoder.decode(latent, batch)
    if tuple(found.shape) != (batch.size,) or not found.isfinite().all():
        fail(f"decode gives {tuple(found.shape)} or values that are not finite; expected ({batch.size},)")
    slope = torch.autograd.grad(found[0], latent, allow_unused=True)[0] if found.requires_grad else None
    if slope is None or not bool(slope.abs().sum() > 0):
        fail("the log-likelihood does not depend on z")
    if bool(slope[1:].abs().sum() > 0):
        fail("the log-likelihood of an item depends on the latent vectors of others: one an item is due, not a mean")


def _same(found: Features, wanted: Features, what: str) -> None:
    pairs = [("pooled", found.pooled, wanted.pooled)]
    pairs += [(name, found.tokens[name].values, tokens.values) for name, tokens in wanted.tokens.items()]
    for name, one, two in pairs:
        if one.shape != two.shape or largest_gap(one, two) > ROUNDING:
            fail(f"{what}: {name} is not that of forward(batch)")


def _counted(encoder: torch.nn.Module) -> Callable[[], int]:
    """Counts calls of sub-modules; the function gives the number since it was last asked."""
    calls = [0]

    def note(*_: object) -> None:
        calls[0] += 1

    for module in encoder.modules():
        if module is not encoder:
            module.register_forward_hook(note)

    def since() -> int:
        count, calls[0] = calls[0], 0
        return count

    return since


CHECKS: Mapping[str, Check] = {
    "layers": Check("layers-have-one-width", layers_have_one_width),
    "encode-tokens": Check("tokens-go-in-and-out", tokens_go_in_and_out),
    "until": Check("until-stops", until_stops),
    "run-from": Check("goes-on-from-a-layer", goes_on_from_a_layer),
    "feed-forward-blocks": Check("blocks-see-tokens", blocks_see_tokens),
    "decode": Check("likelihood-of-items", likelihood_of_items),
}
"""Capability -> the check of what it promises."""


def checks_of(spec: EncoderSpec) -> tuple[Check, ...]:
    """The checks that an encoder's capabilities demand."""
    return tuple(check for word, check in CHECKS.items() if word in spec.capabilities)
