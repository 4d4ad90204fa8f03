"""Many SMILES: in order, in bounded memory, each distinct text converted once.

One result per input row, always; a row that cannot be converted says why in its result. Differs from the reference,
which drops such rows and so puts every later prediction beside the wrong molecule (method card, section 8, item 5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from repcore.errors import ConfigError, ItemError
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult, refuse_cell

ProgressCallback = Callable[[int, int], None]
"""Called with (rows done, rows in all); the second is -1 if the number of rows is not known."""

_REMEMBERED_TEXTS = 200_000


@dataclass(slots=True)
class ConversionSummary:
    """Counts over all rows converted so far.

    Attributes:
        rows: results given out.
        repeated: rows answered from an earlier row with the same text.
        status: rows by status.
        reasons: the most frequent reasons can be read off here; at most 1,000 different ones are counted.
    """

    rows: int = 0
    repeated: int = 0
    status: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, results: Sequence[SmilesResult]) -> None:
        """Count one chunk."""
        self.rows += len(results)
        self.status.update(result.status for result in results)
        for result in results:
            self._count(result.reason)

    def refuse(self, error: ItemError) -> None:
        """Count anew a row that was ``ok`` and cannot be used for all that."""
        self.status["ok"] -= 1
        self.status[error.status] += 1
        self._count(error.reason)

    def _count(self, reason: str) -> None:
        if reason and (reason in self.reasons or len(self.reasons) < 1000):
            self.reasons[reason] += 1


def convert_smiles(
    cells: Iterable[object],
    config: SmilesConfig,
    *,
    selfies: bool = True,
    chunk_rows: int = 2048,
    progress: ProgressCallback | None = None,
    summary: ConversionSummary | None = None,
) -> Iterator[SmilesResult]:
    """Results of all cells, in order, as they become ready.

    Args:
        cells: SMILES or whatever a table holds in their place (None, NaN, numbers are reported, not raised).
        config: cleaning steps.
        selfies: as of :class:`SmilesPipeline`.
        chunk_rows: rows converted at a time; also the granularity of `progress`.
        progress: called after each chunk.
        summary: filled while the results are taken.

    Raises:
        ConfigError: chunk_rows out of range.

    Memory: the rows of a chunk and up to 200,000 remembered results (about 150 MB).
    """
    if chunk_rows < 1:
        raise ConfigError(f"chunk_rows={chunk_rows}", expected="chunk_rows >= 1")
    pipeline = SmilesPipeline(config, selfies=selfies)
    return _convert(cells, pipeline, chunk_rows, progress, ConversionSummary() if summary is None else summary)


def _convert(
    cells: Iterable[object],
    pipeline: SmilesPipeline,
    chunk_rows: int,
    progress: ProgressCallback | None,
    summary: ConversionSummary,
) -> Iterator[SmilesResult]:
    total = len(cells) if isinstance(cells, Sequence) else -1
    rows = iter(cells)
    memory = _Memory()
    for chunk in map(memory.plan, iter(lambda: list(islice(rows, chunk_rows)), [])):
        results = memory.fan_out(chunk, [pipeline.run(text) for text in chunk.texts])
        summary.add(results)
        summary.repeated += chunk.repeated
        yield from results
        if progress is not None:
            progress(summary.rows, total)


class _Memory:
    """Results by the text of the cell, for repeated rows. Bounded: forgets everything when full."""

    def __init__(self) -> None:
        self._results: dict[str, SmilesResult] = {}

    def plan(self, cells: Sequence[object]) -> _Chunk:
        """Decide for each row of a chunk whether it must be converted."""
        chunk = _Chunk()
        place_of: dict[str, int] = {}
        for row, cell in enumerate(cells):
            if not isinstance(cell, str):
                chunk.known[row] = refuse_cell(cell)
            elif cell in self._results:
                chunk.known[row] = self._results[cell]
                chunk.repeated += 1
            elif cell in place_of:
                chunk.repeated += 1
            else:
                place_of[cell] = len(chunk.texts)
                chunk.texts.append(cell)
            chunk.places.append(-1 if row in chunk.known else place_of[str(cell)])
        return chunk

    def fan_out(self, chunk: _Chunk, results: Sequence[SmilesResult]) -> list[SmilesResult]:
        """Results of all rows of the chunk."""
        if len(self._results) > _REMEMBERED_TEXTS:
            self._results.clear()
        self._results.update(zip(chunk.texts, results, strict=True))
        return [chunk.known[row] if place < 0 else results[place] for row, place in enumerate(chunk.places)]


@dataclass(slots=True)
class _Chunk:
    """Rows in hand: distinct texts to convert, per row its place among them (-1: known), the known results by row."""

    texts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    known: dict[int, SmilesResult] = field(default_factory=dict)
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Distinct:
    """Which rows hold the same molecule.

    Attributes:
        rows: first row of each distinct molecule that is ok, in order.
        place: for every row its place in `rows`, or -1 where the row is not ok.
    """

    rows: list[int]
    place: list[int]


def distinct_molecules(results: Sequence[SmilesResult]) -> Distinct:
    """Group rows by canonical SMILES, so that costly work is done once and fanned out: ``work[place[row]]``."""
    rows: list[int] = []
    place: list[int] = []
    seen: dict[str, int] = {}
    for row, result in enumerate(results):
        if result.status != "ok":
            place.append(-1)
            continue
        if result.canonical not in seen:
            seen[result.canonical] = len(rows)
            rows.append(row)
        place.append(seen[result.canonical])
    return Distinct(rows, place)
