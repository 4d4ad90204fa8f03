"""Many SMILES: in order, in bounded memory, each distinct text converted once, over several processes if asked.

One result per input row, always; a row that cannot be converted says why in its result. Differs from the reference,
which drops such rows and so puts every later prediction beside the wrong molecule (method card, section 8, item 5).

Processes are spawned, not forked (forking a process with threads can hang), so a script that asks for workers must keep
its own code under ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice

from repcore.errors import ConfigError, RunError
from repcore.stopping import left_to_parent
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult, SmilesStatus, refuse_cell

ProgressCallback = Callable[[int, int], None]
"""Called with (rows done, rows in all); the second is -1 if the number of rows is not known."""

# Starting workers takes 1 to 2 s each; below this many rows they cannot pay for it.
SMALLEST_POOL_INPUT = 10_000
_CHUNKS_PER_WORKER = 3  # in flight: enough to keep workers busy while results are taken in order
_REMEMBERED_TEXTS = 200_000

_Packed = tuple[SmilesStatus, str, str, str]


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
            if result.reason and (result.reason in self.reasons or len(self.reasons) < 1000):
                self.reasons[result.reason] += 1


def convert_smiles(
    cells: Iterable[object],
    config: SmilesConfig,
    *,
    workers: int = 0,
    chunk_rows: int = 2048,
    progress: ProgressCallback | None = None,
    summary: ConversionSummary | None = None,
) -> Iterator[SmilesResult]:
    """Results of all cells, in order, as they become ready.

    Args:
        cells: SMILES or whatever a table holds in their place (None, NaN, numbers are reported, not raised).
        config: cleaning steps.
        workers: processes besides this one; 0 converts here. Small inputs are converted here in any case.
        chunk_rows: rows handed over at a time; also the granularity of `progress`.
        progress: called after each chunk.
        summary: filled while the results are taken.

    Raises:
        ConfigError: workers or chunk_rows out of range.
        RunError: a worker process died.

    Memory: the rows of at most 3 chunks per worker and up to 200,000 remembered results (about 150 MB).
    """
    if workers < 0 or chunk_rows < 1:
        raise ConfigError(f"workers={workers}, chunk_rows={chunk_rows}", expected="workers >= 0 and chunk_rows >= 1")
    summary = ConversionSummary() if summary is None else summary
    return _convert(cells, config, workers, chunk_rows, progress, summary)


def _convert(
    cells: Iterable[object],
    config: SmilesConfig,
    workers: int,
    chunk_rows: int,
    progress: ProgressCallback | None,
    summary: ConversionSummary,
) -> Iterator[SmilesResult]:
    total = len(cells) if isinstance(cells, Sequence) else -1
    rows = iter(cells)
    if workers:
        head = list(islice(rows, SMALLEST_POOL_INPUT))
        workers = workers if len(head) == SMALLEST_POOL_INPUT else 0
        rows = chain(head, rows)
    chunks = iter(lambda: list(islice(rows, chunk_rows)), [])
    convert = _convert_in_pool(chunks, config, workers) if workers else _convert_here(chunks, config)
    for results, repeated in convert:
        summary.add(results)
        summary.repeated += repeated
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

    def fan_out(self, chunk: _Chunk, results: Sequence[SmilesResult]) -> tuple[list[SmilesResult], int]:
        """Results of all rows of the chunk, and how many rows were answered from another one."""
        if len(self._results) > _REMEMBERED_TEXTS:
            self._results.clear()
        self._results.update(zip(chunk.texts, results, strict=True))
        full = [chunk.known[row] if place < 0 else results[place] for row, place in enumerate(chunk.places)]
        return full, chunk.repeated


@dataclass(slots=True)
class _Chunk:
    """Rows in hand: distinct texts to convert, per row its place among them (-1: known), the known results by row."""

    texts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    known: dict[int, SmilesResult] = field(default_factory=dict)
    repeated: int = 0


def _convert_here(chunks: Iterable[list[object]], config: SmilesConfig) -> Iterator[tuple[list[SmilesResult], int]]:
    pipeline = SmilesPipeline(config)
    memory = _Memory()
    for cells in chunks:
        chunk = memory.plan(cells)
        yield memory.fan_out(chunk, [pipeline.run(text) for text in chunk.texts])


def _convert_in_pool(
    chunks: Iterable[list[object]], config: SmilesConfig, workers: int
) -> Iterator[tuple[list[SmilesResult], int]]:
    memory = _Memory()
    waiting: deque[tuple[Future[list[_Packed]], _Chunk]] = deque()
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(config,)
    )
    try:
        for cells in chunks:
            chunk = memory.plan(cells)
            waiting.append((pool.submit(_convert_chunk, chunk.texts), chunk))
            if len(waiting) >= workers * _CHUNKS_PER_WORKER:
                yield _take(waiting, memory)
        while waiting:
            yield _take(waiting, memory)
    except BrokenProcessPool as error:
        raise RunError(
            f"one of {workers} worker processes died while it converted SMILES",
            meaning="out of memory, a crash inside RDKit, or a script without a main guard",
            hint='workers=0, a lower max_characters, or code under if __name__ == "__main__":',
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _take(waiting: deque[tuple[Future[list[_Packed]], _Chunk]], memory: _Memory) -> tuple[list[SmilesResult], int]:
    future, chunk = waiting.popleft()
    return memory.fan_out(chunk, [SmilesResult(*packed) for packed in future.result()])


# One pipeline per worker process: it holds tables that fill up over many chunks.
_worker_pipeline: list[SmilesPipeline] = []


def _start_worker(config: SmilesConfig) -> None:
    left_to_parent()
    _worker_pipeline[:] = [SmilesPipeline(config)]


def _convert_chunk(texts: list[str]) -> list[_Packed]:
    pipeline = _worker_pipeline[0]
    results = map(pipeline.run, texts)
    # Plain tuples are several times quicker to send than dataclass objects.
    return [(result.status, result.reason, result.canonical, result.selfies) for result in results]


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
