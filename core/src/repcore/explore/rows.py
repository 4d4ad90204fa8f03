"""Vectors with what is known of their rows: from a model and data, or from a file of embeddings (with data or without).

Symbols: N rows, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.joins import join_rows_by_key, refuse_row_numbers
from repcore.data.readers import open_data
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.writers import read_embeddings
from repcore.errors import DataError
from repcore.evaluation.probing import LabelledRows, read_rows
from repcore.interfaces import DatasetReader
from repcore.registry import Registry
from repcore.specs import TargetSpec

SPLIT = "split"  # column that says in which declared part a row stands
VECTOR_FACTS = ("pooling", "level", "layer", "dim")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where vectors come from, as plain values.

    Args:
        model: folder as it was given; empty for vectors of a file.
        identity: hash of the model's content; empty where a file does not say.
        encoder / preprocessor: full names; empty where not known.
        vectors: pooling, level, layer and width that were asked for.
        data / reader / options: path of the data and how it is read; empty for data in memory or none.
        fingerprint: of the data.
    """

    model: str = ""
    identity: str = ""
    encoder: str = ""
    preprocessor: str = ""
    vectors: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    reader: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def domain(self) -> str | None:
        return self.encoder.rpartition("/")[0] or None


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows with vectors.

    Args:
        ids: (N,). vectors: float32 (N, D), NaN where a row has none. reason: why, one a row.
        columns: name -> one value a row: labels (classes by name), declared split, further columns of a file.
        labelled: the data's rows; None without data.
        places: row number in the data, -1 where there is none, (N,).
        seconds: that a model took for them, reading included; 0 for a file.
        status: one a row, as ``embed`` gives it; empty where nobody said.
        other_data: the data are not byte for byte those that the vectors of a file were made of.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    reason: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    origin: Origin
    labelled: LabelledRows | None
    places: np.ndarray
    seconds: float = 0.0
    status: Sequence[str] = ()
    other_data: bool = False

    @property
    def usable(self) -> np.ndarray:
        """Bool (N,): rows with a vector that has a direction."""
        good: np.ndarray = np.isfinite(self.vectors).all(1) & (np.abs(self.vectors).max(1, initial=0.0) > 0)
        return good

    def some(self, chosen: np.ndarray) -> Gathered:
        """Rows by number or mask."""
        rows = np.arange(len(self.ids))[chosen]
        return replace(
            self, ids=[self.ids[row] for row in rows], vectors=self.vectors[rows], places=self.places[rows],
            reason=[self.reason[row] for row in rows], status=[self.status[row] for row in rows if self.status],
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DataRequest:
    """Data as a command names it.

    Args:
        data: path, name of a data set, or whatever ``Model.reader`` takes; None for none.
        reader / options: how it is read. labels: columns that are wanted as labels.
        by_position: join a file's vectors with rows by position.
    """

    data: Any = None
    reader: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()
    by_position: bool = False


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows at length 1, float32; a row of zeros stays."""
    values = np.asarray(vectors, np.float32)
    length = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    scaled: np.ndarray = (values / np.where(length > 0, length, 1.0)).astype(np.float32)
    return scaled


def from_model(
    model: Model, asked: DataRequest, options: InferenceOptions, progress: Callable[[int, int], None] | bool = False
) -> Gathered:
    """Vectors that a model gives for data.

    Raises:
        DataError: no data, or it cannot be read.
    """
    if asked.data is None:
        raise DataError(f"{str(model.folder.folder)!r} is a model: data to embed are needed", hint="MODEL DATA")
    reader = model.reader(asked.data, reader=asked.reader, options=asked.options, labels=asked.labels)
    started = time.perf_counter()
    found = model.embed(reader, options=options, progress=progress)
    seconds = time.perf_counter() - started
    labelled = read_rows(reader)
    chosen = {"pooling": options.pooling, "level": options.level, "layer": options.layer, "dim": options.dim}
    origin = Origin(
        model=model.folder.lasting_name, identity=model.identity(), encoder=model.folder.encoder_name,
        preprocessor=model.folder.preprocessor_name, vectors=chosen, **_data_facts(asked, reader),
    )  # fmt: skip
    places = np.arange(len(found.ids))
    return Gathered(
        found.ids, found.vectors, found.reason, label_columns(labelled), origin, labelled, places, seconds, found.status
    )


def from_file(registry: Registry, path: Path, asked: DataRequest) -> Gathered:
    """Vectors of a file of embeddings, joined with rows of the data by id (or by position, as asked).

    Raises:
        DataError: no such file, or its ids do not match the data's.
    """
    rows, header = read_embeddings(path)
    encoder = str(header.get("encoder", ""))
    origin = Origin(
        identity=str(header.get("model", "")), encoder=encoder,
        vectors={name: header.get(name) for name in VECTOR_FACTS},
    )  # fmt: skip
    missing = np.full(len(rows.ids), -1)
    if asked.data is None:
        columns = dict(rows.columns)
        return Gathered(rows.ids, rows.vectors, rows.reason, columns, origin, None, missing, status=rows.status)
    _, reader = open_data(
        registry, str(asked.data), domain=origin.domain, reader=asked.reader, options=asked.options,
        preferences={"labels": list(asked.labels)} if asked.labels else {},
    )  # fmt: skip
    labelled = read_rows(reader)
    if not asked.by_position:
        refuse_row_numbers(rows.ids, labelled.ids, header, reader, asked.options)
    places = join_rows_by_key(
        labelled.ids, rows.ids, by_position=asked.by_position, have_noun="rows of the data", wanted_noun="vectors",
        hint="--id-column NAME, the same one as with embed; or --by-position if both stand in the same order",
        partial=True,
    )  # fmt: skip
    if len(places) and (places < 0).all():
        raise DataError(
            f"{len(rows.ids)} vectors of {path.name} and {len(labelled.ids)} rows of the data have no id in common",
            first_vector=rows.ids[0], first_row=labelled.ids[0] if labelled.ids else "none",
            hint="--id-column NAME, the same one as with embed; or --by-position if both stand in the same order",
        )  # fmt: skip
    found = label_columns(labelled)
    cells = {name: [values[row] if row >= 0 else None for row in places] for name, values in found.items()}
    origin = replace(origin, **_data_facts(asked, reader))
    columns = {**rows.columns, **cells}
    other = header.get("data") not in (None, reader.fingerprint)
    return Gathered(
        rows.ids, rows.vectors, rows.reason, columns, origin, labelled, places, status=rows.status, other_data=other
    )


def _data_facts(asked: DataRequest, reader: DatasetReader) -> dict[str, Any]:
    if not isinstance(asked.data, str | Path):
        return {"fingerprint": reader.fingerprint}
    there = Path(asked.data).expanduser()
    path = str(there.resolve()) if there.exists() else str(asked.data)
    return {"data": path, "reader": asked.reader, "options": dict(asked.options), "fingerprint": reader.fingerprint}


def label_columns(rows: LabelledRows) -> dict[str, list[Any]]:
    """Labels of items and the declared split as columns: classes by name, None where missing."""
    found: dict[str, list[Any]] = {}
    for spec in rows.reader.targets:
        if spec.level != "item":
            continue
        values = rows.labels(spec)
        if values.ndim == 1 or values.shape[1] == 1:
            found[spec.name] = [_cell(one, spec) for one in values.reshape(-1)]
        elif spec.kind == "multilabel":
            for task, name in enumerate(spec.names or tuple(map(str, range(values.shape[1])))):
                found[f"{spec.name}/{name}"] = [None if np.isnan(one) else float(one) for one in values[:, task]]
    parts = rows.reader.splits
    if parts:
        where: list[str | None] = [None] * len(rows.ids)
        for name, members in parts.items():
            for row in members:
                where[int(row)] = name
        found.setdefault(SPLIT, where)
    return found


def _cell(value: float, spec: TargetSpec) -> Any:
    if np.isnan(value):
        return None
    if spec.kind == "class":
        return spec.names[int(value)] if int(value) < len(spec.names) else str(int(value))
    return float(value)
