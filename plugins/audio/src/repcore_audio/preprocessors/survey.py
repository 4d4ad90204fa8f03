"""One pass over a data set for people: statistics of several front ends, lengths, and what cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repcore.data.guard import read_sample
from repcore.errors import ItemError
from repcore.interfaces import DatasetReader
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.statistics import RunningMoments, spread


@dataclass(slots=True)
class Survey:
    """What a pass over a data set found.

    Args:
        used: recordings that could be used.
        seconds: their length.
        statuses: status -> rows that are not plainly fine.
        figures: name of a front end -> mean and standard deviation.
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
            sample = read_sample(reader, int(index))
            status = first.prepare(sample)[0].status
            for name, front_end in front_ends.items():
                moments[name].add(front_end.seen(sample))
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
