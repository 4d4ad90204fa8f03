"""Slow preparation in blocks of rows, by any number of processes and machines into one folder, without locks.

Which rows a block holds follows from their number alone. A block is a folder that appears whole; whoever is at work
makes those that are missing, beginning at its own share of them and going on through the rest, first those that nobody
has begun. So a process or machine that dies costs time and never rows, and nobody waits for anybody. Whoever sees all
of them first checks and joins them; a second one who does the same finds the result there. A block of other data or
settings, or a damaged one, is made again.

    <cache>/prepared/<key>.blocks/rows-000000008192/    one block, with ``block.json`` and ``checksums.json``
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from repcore.data.whole_folders import CHECKSUMS, PARTIAL, appearing_whole, damaged, sealed
from repcore.errors import ConfigError, DataError, RepcoreError
from repcore.files import read_json_file, write_text
from repcore.interfaces import BlockPreparation, DatasetReader
from repcore.launching import place

Report = Callable[[int, int], None]
FEWEST = 64  # blocks, where there are so many rows
MOST_ROWS = 8192  # of a block
SUFFIX = ".blocks"
FACTS = "block.json"


@dataclass(frozen=True, slots=True)
class Share:
    """Where one of several processes begins: share ``number``, counted from 0, of ``count``."""

    number: int = 0
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Share:
        """Of ``I/N``.

        Raises:
            ConfigError: it is no such text, or I is not below N.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            raise ConfigError(
                f"--share {text} is no share",
                expected="I/N, counted from 0: the first of four is 0/4, the last 3/4",
            )
        return cls(int(number), int(count))

    @classmethod
    def of_this_process(cls) -> Share:
        """As its launcher (torchrun, Slurm, MPI) numbers it; the whole of a process alone."""
        here = place()
        return cls(here.rank, here.world) if here.started_together and not here.wrong else cls()


def block_rows(rows: int, least: int) -> int:
    """Rows of a block, by the number of all."""
    return max(least, min(MOST_ROWS, -(-rows // FEWEST)))


@dataclass(frozen=True)
class Blocks:
    """The blocks of one preparation of one data set.

    Args:
        work: folder in which they appear.
        result: folder of what is joined from them, after which none is needed.
        key: of data and settings.
        again: make a result although there is one.
    """

    preparation: BlockPreparation
    reader: DatasetReader
    work: Path
    result: Path
    key: str
    again: bool = False

    def is_over(self) -> bool:
        """Whether this process or another has made the result."""
        return not self.again and self.result.is_dir()

    @property
    def all(self) -> list[range]:
        """Rows of each block."""
        total = len(self.reader)
        return [range(first, min(first + self.size, total)) for first in range(0, total, self.size)]

    @property
    def size(self) -> int:
        """Rows of a block, but for the last one."""
        return block_rows(len(self.reader), self.preparation.least_rows)

    def done(self) -> int:
        """Rows of the blocks that are there; the last one counts as whole."""
        if self.is_over():
            return len(self.reader)
        try:
            return self.size * sum(PARTIAL not in one.name for one in self.work.iterdir())
        except OSError:  # joined meanwhile
            return len(self.reader)

    def folder(self, rows: range) -> Path:
        return self.work / f"rows-{rows.start:012}"

    def is_there(self, rows: range) -> bool:
        return self.folder(rows).is_dir() or self.is_over()

    def is_begun(self, rows: range) -> bool:
        """Whether somebody, dead or alive, makes it or has wanted to."""
        return any(self.work.glob(f"{self.folder(rows).name}{PARTIAL}*"))

    def facts(self, rows: range) -> dict[str, object]:
        """What a block is of."""
        return {"key": self.key, "rows": [rows.start, rows.stop]}

    def make(self, rows: range, *, only_free: bool, progress: Report) -> None:
        """One block, unless it is there; ``only_free``: or has been begun.

        Raises:
            DataError: the cache cannot be written.
        """
        if self.is_there(rows) or (only_free and self.is_begun(rows)):
            return
        folder = self.folder(rows)
        with appearing_whole(folder, lambda: self.is_there(rows), f"{self.work} cannot be written") as fresh:
            self.preparation.block(self.reader, rows, fresh, progress)
            write_text(fresh / FACTS, json.dumps(self.facts(rows)))
            sealed(fresh)

    def wrong(self, rows: range) -> str:
        """What is wrong with a block that is there, in words; empty where nothing is."""
        folder = self.folder(rows)
        words = damaged(folder) if (folder / CHECKSUMS).is_file() else f"{CHECKSUMS} is missing"
        try:
            return words or ("" if read_json_file(folder / FACTS) == self.facts(rows) else "of other data or settings")
        except (OSError, ValueError) as error:
            return str(error)


def fill_by_blocks(
    blocks: Blocks,
    workers: int,
    share: Share,
    progress: Report,
    warn: Callable[[str], None],
    finish: Callable[[Path], None],
) -> None:
    """Make what is missing, and the result of all.

    Args:
        workers: processes of this machine that make blocks; 0 = this one.
        finish: called with the joined result before it appears.

    Raises:
        DataError: the cache cannot be written or keeps nothing whole, or no row can be used.
    """
    units = blocks.all
    first = share.number * len(units) // share.count
    order = [*units[first:], *units[:first]]
    only_free = True
    refused: set[range] = set()
    while not blocks.is_over():
        _make(blocks, [rows for rows in order if not blocks.is_there(rows)], workers, only_free, progress)
        only_free = False
        wrong = {rows: words for rows in units if not blocks.is_over() and (words := blocks.wrong(rows))}
        if blocks.is_over():
            break
        for rows, words in wrong.items():
            if rows in refused:
                raise DataError(f"what was just written to {blocks.folder(rows)} is damaged: {words}")
            if blocks.folder(rows).is_dir():  # else another process has found the same
                warn(f"the block of rows {rows.start:,} to {rows.stop - 1:,} in {blocks.work} is made again: {words}")
                shutil.rmtree(blocks.folder(rows), ignore_errors=True)
                refused.add(rows)
        if not wrong and _joined(blocks, units, finish):
            break
    shutil.rmtree(blocks.work, ignore_errors=True)


def _make(blocks: Blocks, missing: Sequence[range], workers: int, only_free: bool, progress: Report) -> None:
    total = len(blocks.reader)

    def report(done: int = 0, _: int = 0) -> None:
        progress(min(total, blocks.done() + done), total)

    if workers and len(missing) > 1:
        from repcore.data.shared_work import shared_out  # torch, which listing and reading tables do without

        work = partial(blocks.make, only_free=only_free, progress=_silent)
        for _ in shared_out(work, missing, workers):
            report()
        return
    for rows in missing:
        blocks.make(rows, only_free=only_free, progress=report)
        report()


def _silent(done: int, total: int) -> None:
    """A worker process speaks to nobody."""


def _joined(blocks: Blocks, units: Sequence[range], finish: Callable[[Path], None]) -> bool:
    """Join the blocks; False where they went meanwhile, because another process found one damaged.

    Raises:
        DataError: as :func:`fill_by_blocks`.
    """
    try:
        with appearing_whole(blocks.result, blocks.is_over, f"{blocks.result} cannot be written") as fresh:
            blocks.preparation.join(blocks.reader, [blocks.folder(rows) for rows in units], fresh)
            finish(fresh)
    except RepcoreError:
        if all(map(blocks.is_there, units)):
            raise
        return blocks.is_over()
    return True
