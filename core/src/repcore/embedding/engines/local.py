"""Blocks by this process, or shared out to several of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from repcore.data.shared_work import shared_out
from repcore.data.spent import WRITING, spent_on
from repcore.embedding.blocks import shares_all
from repcore.embedding.engines.parts import Block, Parts, write_part
from repcore.embedding.engines.work import Worker
from repcore.stopping import StopNote


def run_here(worker: Worker, parts: Parts, done: Callable[[int], None], stop: StopNote) -> None:
    """Write every missing part.

    Args:
        worker: its options say how many processes work; None = as many as the work is worth.
        done: told the rows of each finished block.
        stop: looked at after each block.

    Raises:
        WorkerLostError: a process was killed.
    """
    todo = parts.todo()
    if not todo:
        return
    options = worker.decide(sum(last - first for first, last in todo))
    processes = (options.workers or 0) if shares_all(options) else 0
    if processes:
        worker.options = replace(options, workers=0)  # whole parts are shared out, not the rows of one
    for number, rows in enumerate(shared_out(partial(_made, worker, parts.path), todo, processes), start=1):
        done(rows)
        if number < len(todo):
            stop.obey(f"{len(parts.blocks) - len(todo) + number:,} of {len(parts.blocks):,} parts are kept")


def _made(worker: Worker, path: Path, block: Block) -> int:
    """Write one part; gives its number of rows."""
    table = worker.table(*block)
    with spent_on(WRITING):
        write_part(path, block, table)
    return block[1] - block[0]
