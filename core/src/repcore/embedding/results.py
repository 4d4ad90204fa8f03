"""What ``embed`` and ``predict`` give back: rows in input order that convert to what people work with."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from repcore.embedding.drawn import Drawn
from repcore.errors import PluginError
from repcore.interfaces import EmbeddingRows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHOWN_ROWS, SHOWN_COLUMNS = 10, 8


def pandas_module() -> ModuleType:
    """pandas, which ``to_pandas`` needs.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise PluginError("to_pandas needs pandas, which is not installed", hint="pip install pandas") from error
    return pandas


class _Rows:
    """Length, conversion and display of rows with ids, status and reason."""

    __slots__ = ()

    ids: Sequence[str]
    status: Sequence[str]
    reason: Sequence[str]
    drawn: Drawn | None

    def _matrix(self) -> np.ndarray:
        raise NotImplementedError

    def _columns(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        """Whether the other has the same rows: ids, status and every figure, NaN like NaN."""
        if not isinstance(other, type(self)):
            return NotImplemented
        words = (list(self.ids), list(self.status)) == (list(other.ids), list(other.status))
        return words and np.array_equal(self._matrix(), other._matrix(), equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._matrix(), dtype=dtype, copy=copy)

    @property
    def ok(self) -> np.ndarray:
        """Bool (n,): rows with a result."""
        good: np.ndarray = np.isfinite(self._matrix()).all(1)
        return good

    def to_arrow(self) -> pa.Table:
        """A table with ``id``, ``status``, ``reason`` and a column for each figure."""
        import pyarrow as pa

        head = {"id": list(self.ids), "status": list(self.status), "reason": list(self.reason)}
        texts = {name: pa.array(cells, pa.string()) for name, cells in head.items()}
        return pa.table({**texts, **{name: pa.array(cells) for name, cells in self._columns().items()}})

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with the ids as index, and status, reason and a column for each figure.

        Raises:
            PluginError: pandas is not installed.
        """
        found = pandas_module()
        cells = {"status": list(self.status), "reason": list(self.reason), **self._columns()}
        frame: pd.DataFrame = found.DataFrame(cells, index=found.Index(list(self.ids), name="id"))
        return frame

    def _repr_html_(self) -> str:
        columns = dict(list(self._columns().items())[:SHOWN_COLUMNS])
        names = ["id", "status", *columns]
        rows = range(min(len(self), SHOWN_ROWS))
        texts = [[self.ids[row], self.status[row], *(_cell(of[row]) for of in columns.values())] for row in rows]
        cells = [[html.escape(one) for one in row] for row in texts]
        pictures = [self.drawn.picture(row) for row in rows] if self.drawn else []
        if any(pictures):
            names = ["", *names]
            cells = [[picture, *row] for picture, row in zip(pictures, cells, strict=True)]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{one}</td>" for one in row) + "</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(repr(self))}</p>"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _failed(rows: _Rows) -> str:
    count = int((~rows.ok).sum())
    return f", {count:,} without a result" if count else ""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Embeddings(_Rows, EmbeddingRows):
    """Vectors float32 (n, D) of rows in input order, NaN where ``status`` says that a row could not be embedded.

    ``np.asarray(rows)`` gives the matrix, ``rows[3]`` a vector (D,), ``rows[2:5]`` or a mask some of the rows,
    iteration the vectors.

    Args:
        drawn: pictures of the rows, for notebooks.
    """

    drawn: Drawn | None = None

    @classmethod
    def of(cls, rows: EmbeddingRows, drawn: Drawn | None = None) -> Embeddings:
        """The same rows."""
        return cls(rows.ids, rows.vectors, rows.status, rows.reason, rows.columns, drawn)

    def _matrix(self) -> np.ndarray:
        return self.vectors

    def _columns(self) -> Mapping[str, Any]:
        values = {f"e{place}": self.vectors[:, place] for place in range(self.vectors.shape[1])}
        return {**{name: list(cells) for name, cells in self.columns.items()}, **values}

    def __getitem__(self, rows: Any) -> Any:
        if _is_number(rows):
            return self.vectors[int(rows)]
        chosen = np.arange(len(self))[rows]
        columns = {name: [cells[row] for row in chosen] for name, cells in self.columns.items()}
        return Embeddings(*_some(self, chosen), columns, self.drawn and self.drawn.some(chosen))

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.vectors)

    def __repr__(self) -> str:
        return f"Embeddings: {len(self):,} vectors of {self.vectors.shape[1]} numbers{_failed(self)}"


def _is_number(row: Any) -> bool:
    """Whether this numbers one row: also an array or tensor of one whole number."""
    if isinstance(row, int | np.integer):
        return not isinstance(row, bool)
    return getattr(row, "shape", None) == () and np.asarray(row).dtype.kind in "iu"


def _some(rows: Embeddings, chosen: np.ndarray) -> tuple[list[str], np.ndarray, list[str], list[str]]:
    ids, status, reason = ([one[row] for row in chosen] for one in (rows.ids, rows.status, rows.reason))
    return ids, rows.vectors[chosen], status, reason


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Predictions(_Rows):
    """What a fine-tuned model says, one entry a row in input order.

    ``np.asarray(rows)`` gives ``outputs``; ``rows[3]`` and iteration give a row's answers by name; ``rows[2:5]`` or a
    mask some of the rows.

    Args:
        outputs: (n, K) probabilities (float32), or values in the units of the labels (float64); NaN rows failed.
        columns: answers by name, see :mod:`repcore.embedding.answers`; None where a row failed.
        drawn: pictures of the rows, for notebooks.
    """

    ids: Sequence[str]
    status: Sequence[str]
    reason: Sequence[str]
    outputs: np.ndarray
    columns: Mapping[str, Sequence[Any]]
    drawn: Drawn | None = None

    def _matrix(self) -> np.ndarray:
        return self.outputs

    def _columns(self) -> Mapping[str, Any]:
        return self.columns

    def __getitem__(self, rows: Any) -> Any:
        if _is_number(rows):
            return {name: cells[int(rows)] for name, cells in self.columns.items()}
        chosen = np.arange(len(self))[rows]
        columns = {name: [cells[row] for row in chosen] for name, cells in self.columns.items()}
        ids, status, reason = ([one[row] for row in chosen] for one in (self.ids, self.status, self.reason))
        drawn = self.drawn and self.drawn.some(chosen)
        return Predictions(ids, status, reason, self.outputs[chosen], columns, drawn)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"Predictions: {len(self):,} rows of {', '.join(self.columns) or 'nothing'}{_failed(self)}"
