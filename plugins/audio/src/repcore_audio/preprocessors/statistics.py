"""Mean and standard deviation of log-mel values: what normalisation needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from repcore.data.guard import read_sample
from repcore.errors import DataError, ItemError
from repcore.interfaces import DatasetReader, Sample


@dataclass(slots=True)
class RunningMoments:
    """Mean and standard deviation of numbers that come in parts."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, parts: Iterable[Tensor]) -> None:
        """More numbers, tensors of any shape."""
        for part in parts:
            wide = part.double()
            self.count += wide.numel()
            self.total += float(wide.sum())
            self.squares += float(wide.square().sum())

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation.

        Raises:
            DataError: nothing came in.
        """
        if self.count == 0:
            raise DataError("no recording could be used for the statistics", hint="repcore inspect PATH tells why")
        mean = self.total / self.count
        return mean, max(self.squares / self.count - mean**2, 1e-12) ** 0.5


def spread(indices: Sequence[int] | np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of the indices, evenly spaced."""
    rows = np.asarray(indices, dtype=np.int64)
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]


def readable(reader: DatasetReader, indices: Iterable[int]) -> Iterator[Sample]:
    """Samples of the rows that can be read; core reports the others wherever they are used."""
    for index in indices:
        try:
            sample = read_sample(reader, int(index))
        except ItemError:
            continue
        yield sample


def mean_and_deviation(
    values_of: Callable[[Sample], Iterable[Tensor]], samples: Iterable[Sample]
) -> tuple[float, float]:
    """Mean and standard deviation over recordings; those that cannot be used are passed over.

    Args:
        values_of: numbers of one recording, or an ItemError.
        samples: recordings.

    Raises:
        DataError: none could be used.
    """
    moments = RunningMoments()
    for sample in samples:
        try:
            moments.add(values_of(sample))
        except ItemError:
            continue
    return moments.result()
