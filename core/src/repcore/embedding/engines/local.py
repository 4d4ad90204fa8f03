"""Blocks one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable

from repcore.embedding.engines.parts import Parts, write_part
from repcore.embedding.engines.work import Worker
from repcore.stopping import StopNote


def run_here(worker: Worker, parts: Parts, done: Callable[[int], None], stop: StopNote) -> None:
    """Write every missing part.

    Args:
        done: told the rows of each finished block.
        stop: looked at after each block.
    """
    todo = parts.todo()
    for number, block in enumerate(todo, start=1):
        write_part(parts.path, block, worker.table(*block))
        done(block[1] - block[0])
        if number < len(todo):
            stop.obey(f"{len(parts.blocks) - len(todo) + number:,} of {len(parts.blocks):,} parts are kept")
