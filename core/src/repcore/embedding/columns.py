"""Encoders that read labels of the data beside the input (which domain a row is of): attribute ``columns``, names of
labels of items, and ``sees(targets)``, which is told what their numbers mean before batches come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from repcore.specs import TargetSpec

if TYPE_CHECKING:
    from repcore.embedding.inference import InferenceOptions


def tell(encoder: nn.Module, targets: Sequence[TargetSpec]) -> tuple[TargetSpec, ...]:
    """Tell an encoder of the labels that it reads; returns those that are there."""
    names = getattr(encoder, "columns", ())
    if not names:
        return ()
    found = tuple(one for one in targets if one.name in names and one.level == "item")
    sees: Any = getattr(encoder, "sees", None)
    if sees is not None:
        sees(found)
    return found


def carrying(
    options: InferenceOptions, encoders: Sequence[nn.Module], targets: Sequence[TargetSpec]
) -> InferenceOptions:
    """Options under which batches carry the labels that any of the encoders reads."""
    found = {one.name: one for encoder in encoders for one in tell(encoder, targets)}
    return replace(options, columns=tuple(found.values())) if found else options
