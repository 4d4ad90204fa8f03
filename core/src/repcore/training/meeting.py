"""The processes of a run meet before their first exchange: who does not come is named, within a stated time.

Left to itself torch waits half an hour for a process that never comes, and for ever where another program has the port
and says nothing. Here they look for each other first, as torch will: the first process listens, the others connect,
and each counts until all have come.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch.distributed import TCPStore

from repcore.errors import RunError
from repcore.launching import place
from repcore.reporting import Wait

LOOK_EVERY = 0.2  # seconds; with very many processes less often, since the first answers all of them
AFTER_TORCH = 3.0  # seconds beyond the limit, in which torch says itself what it has met
SHOWN = 8


class MeetingStrategy(DDPStrategy):
    """Lightning's strategy for several processes, which have met before they exchange anything.

    Parameters that a step does not use are looked for in its graph: those of a stage to come, of a norm whose output
    nobody reads, of a head that had nothing to do in one of the processes. They get no gradient, as in one process.

    Args:
        limit: seconds that they wait for each other.
        obey: called while they wait; raises when a stop was asked for.
    """

    def __init__(self, limit: float, obey: Callable[[], None]) -> None:
        super().__init__(find_unused_parameters=True)
        self._limit, self._obey = limit, obey
        self._store: TCPStore | None = None  # the first process answers by it as long as it lives

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        self._store = all_have_come(self, self._limit, self._obey)
        super().setup_distributed()


def all_have_come(strategy: ParallelStrategy, limit: float, obey: Callable[[], None]) -> TCPStore | None:
    """:func:`meet` as a strategy of Lightning's says who is who; None where the processes are in touch already.

    Raises:
        RunError: as :func:`meet`; processes that Lightning has started are ended.
    """
    environment = strategy.cluster_environment
    if environment is None or torch.distributed.is_initialized():
        return None
    try:
        return meet(
            environment.main_address, environment.main_port, strategy.global_rank, strategy.world_size,
            limit=limit, obey=obey,
        )  # fmt: skip
    except RunError:
        for other in getattr(strategy.launcher, "procs", ()):  # that Lightning has started, and that wait for this
            other.kill()
        raise


def meet(
    address: str, port: int, rank: int, world: int, *, limit: float, obey: Callable[[], None] = lambda: None
) -> TCPStore:
    """Wait until all processes of this run have come to one address.

    Args:
        address, port: where the first process listens.
        rank: of this process, from 0 on.
        world: number of processes.
        limit: seconds.
        obey: called while it waits.

    Returns:
        The store by which they have met; in the first process it answers the others as long as it lives.

    Raises:
        RunError: another program has the port; the first process cannot be reached; some have not come in time.
    """
    end = time.monotonic() + limit
    where = f"{address}:{port}"
    wait = Wait(f"waiting at {where} for the {world} processes of this run, {limit:,.0f} s at most")
    listens = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # torchrun listens itself

    def look() -> None:
        obey()
        wait.at("process 0 does not answer yet")

    store = _connected(address, port, listens, limit, look)
    key = f"repcore/{place().job}"
    try:
        store.set(f"{key}/{rank}", "here")
        store.add(key, 1)
        while (come := int(store.add(key, 0))) < world:
            if time.monotonic() > end:
                missing = [number for number in range(world) if not store.check([f"{key}/{number}"])]
                raise RunError(_late(missing, world, where, limit), hint=HINT)
            obey()
            wait.at(f"{come:,} have come")
            time.sleep(LOOK_EVERY + world / 1000)
    except torch.distributed.DistError as error:
        raise RunError(
            f"process 0 of this run, at {where}, has ended while the others came; see its own message",
            here=str(error).splitlines()[0],
        ) from error
    return store


HINT = "do all run, and is the port open between the machines? trainer.meeting_limit=SECONDS waits longer"


def _connected(address: str, port: int, listens: bool, limit: float, look: Callable[[], object]) -> TCPStore:
    """The store of the first process."""
    end = time.monotonic() + limit
    reason = "" if listens else _reached(address, port, end, look)
    if not reason:
        made, reason = _asked(address, port, listens, end, look)
        if made is not None:
            return made
    if listens and "EADDRINUSE" in reason:
        raise RunError(
            f"port {port} of this machine (MASTER_PORT) is used by another program",
            meaning="the processes of a run meet there",
            hint="MASTER_PORT=ANOTHER, the same for all processes; without it one is chosen",
        )
    raise RunError(
        f"process 0 of this run does not answer at {address}:{port} (MASTER_ADDR, MASTER_PORT) within {limit:,.0f} s",
        here=reason,
        hint=HINT,
    )


def _reached(address: str, port: int, end: float, look: Callable[[], object]) -> str:
    """Wait until somebody listens there; why nobody was reached until the end, empty if somebody was. torch would show
    a trace of its own for every try."""
    while True:
        try:
            socket.create_connection((address, port), timeout=max(LOOK_EVERY, min(5.0, end - time.monotonic()))).close()
            return ""
        except OSError as error:
            if time.monotonic() > end:
                return error.strerror or str(error)
        look()
        time.sleep(LOOK_EVERY)


def _asked(
    address: str, port: int, listens: bool, end: float, look: Callable[[], object]
) -> tuple[TCPStore | None, str]:
    """The store, or why there is none; asked for in a thread, since torch's call has no end where nobody answers."""
    made: list[TCPStore] = []
    failed: list[Exception] = []
    left = timedelta(seconds=max(1.0, end - time.monotonic()))

    def connect() -> None:
        try:
            made.append(TCPStore(address, port, None, listens, left, wait_for_workers=False, multi_tenant=True))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=connect, daemon=True, name="repcore-meeting")
    thread.start()
    while thread.is_alive() and time.monotonic() < end + AFTER_TORCH:
        thread.join(LOOK_EVERY)
        look()
    if made:
        return made[0], ""
    return None, str(failed[0]).splitlines()[0] if failed else "the connection was taken, and nothing was said"


def _late(missing: list[int], world: int, where: str, limit: float) -> str:
    names = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
    word = "has" if len(missing) == 1 else "have"
    return f"{len(missing)} of {world} processes of this run {word} not come to {where} within {limit:,.0f} s: {names}"
