"""Log-mel statistics: what normalisation needs, for one front end or several at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F

from repcore.errors import DataError, ItemError
from repcore.interfaces import DatasetReader, Sample
from repcore_audio.preprocessors.log_mel import SILENCE

if TYPE_CHECKING:
    from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor


@dataclass(slots=True)
class RunningMoments:
    """Mean and deviation of numbers that come in parts."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, preprocessor: LogMelPreprocessor, sample: Sample) -> None:
        """The log-mel values of one recording that the encoder would see, before normalisation.

        Padding counts only where it is seen (``length="fixed"``).
        """
        config = preprocessor.config
        for values in preprocessor.log_mel([item.values for item in preprocessor.prepare(sample)]):
            if config.length == "fixed":
                level = SILENCE if config.padding == "silence" else 0.0
                values = F.pad(values, (0, 0, 0, config.frames - len(values)), value=level)
            wide = values.double()
            self.count += wide.numel()
            self.total += float(wide.sum())
            self.squares += float(wide.square().sum())

    def result(self) -> tuple[float, float]:
        """Mean and deviation.

        Raises:
            DataError: nothing came in.
        """
        if self.count == 0:
            raise DataError("no recording could be used for mean and deviation", hint="repcore inspect PATH tells why")
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
            sample = reader[int(index)]
        except ItemError:
            continue
        yield sample


def log_mel_statistics(preprocessor: LogMelPreprocessor, samples: Iterable[Sample]) -> tuple[float, float]:
    """Mean and deviation over recordings; those that cannot be used are passed over.

    Raises:
        DataError: none could be used.
    """
    moments = RunningMoments()
    for sample in samples:
        try:
            moments.add(preprocessor, sample)
        except ItemError:
            continue
    return moments.result()


@dataclass(slots=True)
class Survey:
    """What a pass over a data set found.

    Args:
        used: recordings that could be used.
        seconds: their length.
        statuses: status -> rows that are not plainly fine.
        figures: name of a front end -> mean and deviation.
    """

    used: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    figures: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        figures = {name: {"mean": mean, "deviation": deviation} for name, (mean, deviation) in self.figures.items()}
        return {"used": self.used, "seconds": self.seconds, "statuses": dict(self.statuses), "figures": figures}


def survey(
    reader: DatasetReader,
    front_ends: Mapping[str, LogMelPreprocessor],
    limit: int,
    *,
    progress: Callable[[int, int], None],
) -> Survey:
    """Statistics of several front ends in one pass over at most ``limit`` recordings.

    Raises:
        DataError: no recording could be used.
    """
    rows = spread(range(len(reader)), limit)
    moments = {name: RunningMoments() for name in front_ends}
    found = Survey()
    first = next(iter(front_ends.values()))
    for done, index in enumerate(rows, start=1):
        try:
            sample = reader[int(index)]
            status = first.prepare(sample)[0].status
            for name, front_end in front_ends.items():
                moments[name].add(front_end, sample)
        except ItemError as error:
            found.statuses[error.status] += 1
            continue
        finally:
            progress(done, len(rows))
        found.used += 1
        found.seconds += float(sample.meta.get("seconds", 0.0))
        if status != "ok":
            found.statuses[status] += 1
    found.figures = {name: one.result() for name, one in moments.items()}
    return found
