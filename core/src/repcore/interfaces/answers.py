"""What is written about rows and about their elements.

Symbols: D feature width, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from repcore.errors import RunError
from repcore.interfaces.data import Sample
from repcore.specs import TargetSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """A run of output rows in input order.

    ``vectors`` is float32 (n, D) with NaN rows where ``status`` marks a row that could not be embedded.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    status: Sequence[str]
    reason: Sequence[str]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DenseAnswer:
    """What a model says about the elements of one sample.

    Args:
        sample: as the reader gave it, so that a writer finds the grid, the coordinates or the path.
        level: ``point``, ``voxel``, ``token``, ``node`` or ``edge``.
        outputs: (..., K) at the sample's own elements: probabilities or features (float32), or values in the units of
            the labels (float64); NaN where none.
        target: what is predicted; None for features.
        values: of a class target: the data's own number of each class.
        elements: columns that say which element is which.
        labelled: gives what the data itself says of each element, in words of the model: column ``label:<target>``, in
            the order of ``outputs`` read as a list, None = no label; nothing where the data has no such label. A
            function, as a list of a scan's voxels is large.
    """

    sample: Sample
    level: str
    outputs: np.ndarray
    target: TargetSpec | None = None
    values: Sequence[int] = ()
    elements: Mapping[str, np.ndarray] = field(default_factory=dict)
    labelled: Callable[[], Mapping[str, Sequence[Any] | np.ndarray]] = dict

    def labels(self, missing: int | Iterable[int] = 0) -> np.ndarray:
        """Answered class of each element (...,) in the data's own numbers; ``missing`` where there is no output.

        Args:
            missing: a number, or several in order of preference: the first that no class has, so that an element
                without an answer is never read as one of a class.

        Raises:
            RunError: the answer is no class, or an element has no answer and every ``missing`` number is a class.
        """
        if self.target is None or self.target.kind != "class":
            raise RunError("these answers are no classes, so there is no label to write", hint="--format npz")
        import numpy as np  # reading this module costs nothing

        values = np.asarray(self.values or range(self.outputs.shape[-1]), np.int64)
        numbers = self.numbers()
        absent = missing if isinstance(missing, int) else 0
        if not isinstance(missing, int) and bool((numbers < 0).any()):
            absent = self._free(missing, set(values.tolist()))
        for part in self._parts():
            own = numbers[part]
            own[...] = np.where(own < 0, absent, values[own])
        return numbers

    def _free(self, candidates: Iterable[int], classes: set[int]) -> int:
        for one in candidates:
            if one not in classes:
                return one
        raise RunError(
            f"{self.sample.id!r} has elements without an answer, and every number that the file can hold is a class",
            hint="--format npz",
        )

    def numbers(self) -> np.ndarray:
        """Number of the largest output of each element int64 (...,); -1 where there is none."""
        import numpy as np

        found = np.full(self.outputs.shape[:-1], -1, np.int64)
        for part in self._parts():
            own = np.asarray(self.outputs[part])
            known = np.isfinite(own).all(-1)
            found[part][known] = own[known].argmax(-1)
        return found

    def known(self) -> int:
        """How many elements have an answer."""
        import numpy as np

        return sum(int(np.isfinite(self.outputs[part]).all(-1).sum()) for part in self._parts())

    def _parts(self) -> Iterator[slice]:
        """Along the first axis, some millions of numbers at a time: answers about a whole scan are large."""
        size = self.outputs[0].size if len(self.outputs) else 1
        step = max(1, 4_000_000 // max(1, size))
        for first in range(0, len(self.outputs), step):
            yield slice(first, first + step)


class EmbeddingWriter(Protocol):
    """Row-preserving file writer; called as ``target(path, header: Mapping[str, Any])``.

    ``finish`` makes the file complete; until then the final name does not exist. ``inputs_done`` > 0, the rows
    of the data that are done, lets an interrupted run go on (``rows_done`` is more where rows have several windows).
    ``status`` counts the rows so far by status, ``failed`` those without a vector.
    """

    status: Mapping[str, int]
    failed: int

    @property
    def rows_done(self) -> int: ...

    @property
    def inputs_done(self) -> int: ...

    def write(self, rows: EmbeddingRows) -> None: ...

    def finish(self) -> Path: ...
