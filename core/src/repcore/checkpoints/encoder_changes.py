"""What methods of fine-tuning made of an encoder (a side block, experts, vectors of another width), so that a model
folder builds it likewise.

``config.json`` holds them under ``changes``, in their order: the method's name and its settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from repcore.config.plain import to_plain
from repcore.config.resolve import ResolvedPart
from repcore.data.bags import Bags
from repcore.interfaces import Preprocessor
from repcore.registry import Entry

Record = Mapping[str, Any]


def changes_encoder(method: Entry[Any]) -> bool:
    """Whether a method rebuilds the encoder."""
    return bool(method.spec.encoder_change)


def changed(method: ResolvedPart, encoder: nn.Module) -> nn.Module:
    """The encoder as the method rebuilds it; one that the same method has changed comes back with the new settings."""
    found: nn.Module = method.entry.load("encoder_change")(method.config, encoder)
    return found


def preprocessor_of(preprocessor: Preprocessor, methods: Sequence[ResolvedPart]) -> Preprocessor:
    """What prepares items for an encoder that these methods changed: bags, where one of them reads bags."""
    if isinstance(preprocessor, Bags) or not any(one.entry.spec.bags for one in methods):
        return preprocessor
    return Bags(preprocessor)


def with_change(earlier: Sequence[Record], method: ResolvedPart) -> list[Record]:
    """The records of a changed encoder; a method that comes again takes the place of its own record."""
    own = {"name": method.entry.full_name, **to_plain(method.config)}
    kept = list(earlier)
    if kept and kept[-1]["name"] == own["name"]:
        kept.pop()
    return [*kept, own]
