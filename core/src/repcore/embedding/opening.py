"""Opening data for a model: a reader of its domain, with labels that are wanted and those that the encoder reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from torch import nn

from repcore.config.resolve import ResolvedPart
from repcore.data.expected_labels import expecting
from repcore.data.readers import open_data
from repcore.embedding.columns import expected_columns
from repcore.errors import ConfigError, DataError
from repcore.interfaces import DatasetReader
from repcore.registry import Registry

T = TypeVar("T")


def open_for(*given: Any, **further: Any) -> DatasetReader:
    """The reader of :func:`open_part_for`."""
    return open_part_for(*given, **further)[1]


def open_part_for(
    encoder: nn.Module,
    registry: Registry,
    path: str,
    *,
    domain: str | None,
    preprocessor: str,
    reader: str | None,
    options: Mapping[str, Any] | None,
    labels: Sequence[str],
    label_kind: str,
    further: Mapping[str, Any] | None = None,
) -> tuple[ResolvedPart, DatasetReader]:
    """The data at a path or of a name: the reader with its settings, and the open reader.

    Args:
        labels: columns that are wanted as labels; others are then not read, but for those that the encoder reads.
        label_kind: what they are; found from the values if empty.
        further: settings of the reader that give way to ``options``.

    Raises:
        DataError: there is nothing, or no such label.
    """

    def opened(names: Sequence[str]) -> tuple[ResolvedPart, DatasetReader]:
        wanted = {**(further or {}), **({"labels": list(names)} if names else {})}
        return open_data(
            registry,
            path,
            domain=domain,
            reader=reader,
            options=options,
            preferences={**wanted, "label_kind": label_kind} if label_kind else wanted,
            preprocessor=preprocessor,
        )

    return with_columns(encoder, labels, opened)


def with_columns(encoder: nn.Module, labels: Sequence[str], opened: Callable[[Sequence[str]], T]) -> T:
    """What opening data gives, with the labels that the encoder reads beside those that are wanted by name.

    Args:
        labels: wanted by name, all that is read then; none = whatever the data has.
        opened: opens the data with labels by name.
    """
    beside = [one for one in getattr(encoder, "columns", ()) if one not in labels]
    with expecting(*expected_columns(encoder)):
        if labels and beside:
            with suppress(DataError, ConfigError):  # the data have no such column
                return opened([*labels, *beside])
        return opened(labels)
