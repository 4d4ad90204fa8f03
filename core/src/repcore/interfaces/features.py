"""What an encoder is and returns.

Symbols: B items of a batch, T tokens of an item, D feature width, S all tokens of a ragged batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from repcore.interfaces.data import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Tokens:
    """Token features, dense or ragged.

    Args:
        values: dense (B, T, D), or ragged (S, D).
        valid: dense only: bool (B, T), True = real token; None = all are.
        owner: ragged only: int64 (S,), item of each token, ascending.
        position: coordinates or grid indices, (B, T, P) or (S, P).
        source: input element -> token, int64: the inverse map from points or voxels to tokens.
    """

    values: Tensor
    valid: Tensor | None = None
    owner: Tensor | None = None
    position: Tensor | None = None
    source: Tensor | None = None


@dataclass(slots=True)
class Features:
    """What an encoder returns.

    Args:
        pooled: float (B, D), one vector an item.
        tokens: level name -> tokens; the first level is the default.
        layers: layer number -> tokens, for the layers asked for; 0 is the embedding output.
        extras: anything else that the objective of the same plugin needs.
    """

    pooled: Tensor
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    layers: Mapping[int, Tokens] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """``nn.Module``, called as ``target(config)``. In eval mode deterministic and independent of batch mates.

    ``dim`` is the width of ``Features.pooled``. Poolings beyond ``mean``, ``max`` and ``first`` (which core computes
    from the tokens) are computed by an optional method ``pool(features, name) -> Tensor (B, D)``. Where a setting
    chooses what ``pooled`` holds, an optional attribute ``pooling`` names it; else it is the first of the spec.

    Capabilities of the spec, each with one meaning that the conformance kit checks:

    * ``layers``: tokens of one width at each layer: ``depth`` is the number of the last, ``token_width(level)`` the
      width; layers from the optional ``first_layer`` (0, the embedding output, where it is not said) to ``depth``.
    * ``embed-tokens`` and ``encode-tokens``: ``embed_tokens(batch) -> Tokens``, of width ``token_width("embedding")``,
      and ``encode_tokens(tokens, batch, layers=()) -> Features``; one after the other they equal ``forward``.
    * ``until``: ``forward(batch, layers, until=l)`` computes no layer after ``l``, whose tokens take the last one's
      place.
    * ``run-from``: ``run_from(layer, hidden: Tokens, batch, layers=()) -> Features`` goes on from that layer's tokens.
    * ``feed-forward-blocks``: ``feed_forward_blocks() -> {name: module}``, sub-modules that ``forward`` calls with
      tokens (B, T, X), each for itself; or with (S, X), whose items ``token_owner(batch)`` (S,) gives.
    * ``decode``: ``decode(z, batch) -> log p(x | z)``, (B,), differentiable in ``z`` (B, dim).

    Tokens beyond those of ``forward`` (several stages side by side) are read by name: an optional attribute
    ``readouts`` names them, ``read(name, batch) -> Tokens`` gives them (``probe`` and ``embed --tokens NAME``).

    An encoder that reads labels of the data beside the input names them in an optional attribute ``columns`` (words; no
    sizes may be kept under this name) and is told what their numbers mean by an optional method ``sees(targets)``. An
    optional attribute ``expected_columns`` says what they are (``TargetSpec``, with the names of classes), so that they
    are read as that; an optional method ``doubts(targets, empty)`` gives sentences about what of it the data lack
    (``empty``: rows without a value, by name), which every command says.
    """

    dim: int

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features: ...
