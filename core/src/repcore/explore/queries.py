"""What somebody searches with: an id of the index, a row of a file, a file, or one input as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model, load
from repcore.errors import CheckpointError, DataError, RepcoreError, closest
from repcore.explore.index import VectorIndex
from repcore.files import is_file
from repcore.interfaces import DatasetReader
from repcore.registry import Registry

OF_ROW = "#"  # FILE#ROW


@dataclass(frozen=True, slots=True)
class Query:
    """A vector to search with.

    Args:
        title: in words. vector: (D,).
        row: of the index, for an id of it; None otherwise.
        reader / place: where the item can be read to be drawn; None where it cannot.
    """

    title: str
    vector: np.ndarray
    row: int | None = None
    reader: DatasetReader | None = None
    place: int = 0


def model_of(index: VectorIndex, model: Path | str | None, registry: Registry, device: str = "cpu") -> Model:
    """The model that the index belongs to.

    Args:
        model: its folder, where it has moved or the index was made from a file.

    Raises:
        DataError: the index does not say where it is. CheckpointError: another model.
    """
    place = model or index.origin.model
    if not place:
        raise DataError(
            f"{index.folder} was made from a file of embeddings: new items need its model", hint="--model MODEL"
        )
    found = load(place, device=device, registry=registry)
    if index.origin.identity and found.identity() != index.origin.identity:
        raise CheckpointError(
            f"{place} is not the model of {index.folder}", index_of=index.origin.identity[:12],
            got=found.identity()[:12], hint="--model with the one that made the vectors, or build the index again",
        )  # fmt: skip
    return found


def find_query(
    index: VectorIndex, text: str, *, registry: Registry, model: Path | str | None = None, device: str = "cpu"
) -> Query:
    """The query behind a text.

    Args:
        text: an id of the index; ``FILE#ROW`` with the number or id of a row; a file of one item; or one input of the
            domain (a SMILES). An id goes first, ``./name`` names a file anyhow.

    Raises:
        DataError: it is none of these, or cannot be embedded.
    """
    if text in index:
        row = index.place(text)
        return Query(text, index.vectors([row])[0], row)
    file, sign, name = text.rpartition(OF_ROW)
    if is_file(Path(text)) or Path(text).is_dir():
        file, name = text, ""
    elif not (sign and is_file(Path(file))):
        return _literal(index, text, model_of_text(index, text, model, registry, device))
    opened = model_of(index, model, registry, device)
    reader = _like_the_indexed(index, opened, Path(file))
    place = _row(reader, file, name)
    return _embedded(index, opened, reader, place, text)


def _like_the_indexed(index: VectorIndex, model: Model, file: Path) -> DatasetReader:
    """The file read as the data of the index were, where it can be: its rows then have ids of the same column."""
    if index.origin.options:
        try:
            return model.reader(file, reader=index.origin.reader, options=index.origin.options)
        except RepcoreError:  # a file without such columns
            pass
    return model.reader(file, reader=index.origin.reader)


def model_of_text(index: VectorIndex, text: str, model: Path | str | None, registry: Registry, device: str) -> Model:
    """As :func:`model_of`; without a model the text can only have been an id."""
    if model or index.origin.model:
        return model_of(index, model, registry, device)
    raise DataError(
        f"{text!r} is neither an id of {index.folder} nor a file",
        did_you_mean=closest(text, index.ids[:5000]), hint="an input of its own needs --model MODEL",
    )  # fmt: skip


def _literal(index: VectorIndex, text: str, model: Model) -> Query:
    try:
        reader = model.reader(text)
    except DataError as error:
        raise DataError(
            f"{text!r} is neither an id of {index.folder}, nor a file, nor one input of {model.domain}",
            did_you_mean=closest(text, index.ids[:5000]), hint="FILE#ROW names a row of a table",
        ) from error  # fmt: skip
    return _embedded(index, model, reader, _row(reader, text, ""), text)


def _row(reader: DatasetReader, file: str, name: str) -> int:
    """A row by number or id; the only one if none is named."""
    if not name:
        if len(reader) != 1:
            raise DataError(f"{file!r} holds {len(reader):,} items", hint=f"{file}{OF_ROW}0 names the first")
        return 0
    named: Any = getattr(reader, "id_of", None)
    if named is not None:
        for row in range(len(reader)):
            if str(named(row)) == name:
                return row
    if name.isdecimal() and int(name) < len(reader):
        return int(name)
    raise DataError(f"{name!r} is no row of {file!r}", rows=f"0 to {len(reader) - 1}")


class _OneRow:
    """A single row of a reader."""

    def __init__(self, reader: DatasetReader, row: int) -> None:
        self._reader, self._row = reader, row

    def __getattr__(self, name: str) -> Any:  # everything else is the reader's own
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._reader, name)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        if index != 0:
            raise IndexError(index)
        return self._reader[self._row]

    def id_of(self, index: int) -> str:
        named = getattr(self._reader, "id_of", None)
        return str(self._row) if named is None else str(named(self._row))


def _embedded(index: VectorIndex, model: Model, reader: DatasetReader, row: int, text: str) -> Query:
    asked = index.origin.vectors
    options = InferenceOptions(
        pooling=asked.get("pooling"), level=asked.get("level"), layer=asked.get("layer"), dim=asked.get("dim"),
        device=model.device,
    )  # fmt: skip
    one: Any = _OneRow(reader, row)
    found = model.embed(one, options=options)
    if not np.isfinite(found.vectors).all():
        raise DataError(
            f"{text!r} is no id of {index.folder}, and cannot be embedded: {found.reason[0] or found.status[0]}",
            did_you_mean=closest(text, index.ids[:5000]),
        )
    return Query(text, found.vectors[0], None, reader, row)
