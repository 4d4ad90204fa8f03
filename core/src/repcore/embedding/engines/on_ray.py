"""Blocks shared out to actors of a Ray cluster; whoever dies, its blocks go to somebody else.

Each actor loads the model and opens the data once, and has at most two blocks in hand, so that memory does not grow
with the data. It writes parts itself; only numbers travel. Parts that are there are not made again: a driver that is
started anew goes on where the last one was killed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from repcore.credentials import with_credentials
from repcore.embedding.engines.parts import Block, Parts, part_file, write_part
from repcore.embedding.engines.work import Job, Worker
from repcore.errors import PluginError, RepcoreError, RunError
from repcore.stopping import StopNote

IN_HAND = 2
MOST_DEATHS = 3  # of actors over one block
PATIENCE = 600.0  # seconds without any actor
SAID_EVERY = 30.0  # seconds without any actor
ANSWER_LIMIT = 10.0  # seconds in which a machine answers that there is a cluster
LOOK_EVERY = 1.0  # seconds
NAMED = re.compile(r"(ray://)?(?P<host>[^/]+):(?P<port>\d+)")


class BlockActor:
    """What lives in an actor: a worker, and where parts go."""

    def __init__(self, job: Job, path: str, header: dict[str, Any]) -> None:
        self.job, self.path, self.header = job, Path(path), header
        self.worker: Worker | None = None

    def ready(self) -> bool:
        """Load the model and open the data; here and not above, so that errors arrive as what they are."""
        self.worker = Worker(self.job)
        self.worker.decide(0)
        found = json.loads(json.dumps(self.worker.header()))
        differ = [name for name in found if found[name] != self.header.get(name)]
        if differ:
            raise RunError(
                "a machine of the cluster sees another model or other data than the one that gave the command",
                differs_in=", ".join(differ),
                hint="give paths that all machines share, or an address",
            )
        return True

    def run(self, first: int, stop: int) -> int:
        """Write one part; gives its number of rows."""
        block = (first, stop)
        assert self.worker is not None
        if not part_file(self.path, block).is_file():
            write_part(self.path, block, self.worker.table(first, stop))
        return stop - first


class Cluster(Protocol):
    """What the schedule needs of Ray; tests give another."""

    def room(self) -> str:
        """What an actor asks for and what there is, in words."""
        ...

    def start(self) -> Any:
        """A new actor's handle; it may take as long as it likes to come up."""
        ...

    def ready(self, actor: Any) -> Any:
        """A reference to the answer whether an actor is up."""
        ...

    def run(self, actor: Any, block: Block) -> Any:
        """A reference to the answer of a block."""
        ...

    def wait(self, references: list[Any], seconds: float) -> list[Any]:
        """Those of the references that are answered, or broken."""
        ...

    def get(self, reference: Any) -> Any:
        """An answer.

        Raises:
            ActorLost: whoever should have answered is dead. RepcoreError: what the work itself raised.
        """
        ...


class ActorLost(Exception):  # noqa: N818 - an event
    """An actor, or its machine, has gone."""


@dataclass(slots=True)
class Schedule:
    """Which actor has which blocks.

    Args:
        cluster: who does the work.
        actors: how many to keep alive.
        todo: blocks that nobody has.
        done: told the rows of each finished block.
        say: told about deaths.
    """

    cluster: Cluster
    actors: int
    todo: deque[Block]
    done: Callable[[int], None]
    say: Callable[[str], None] = lambda text: None
    _starting: dict[Any, Any] = field(default_factory=dict)  # reference -> actor
    _running: dict[Any, tuple[Any, Block]] = field(default_factory=dict)  # reference -> actor and its block
    _in_hand: dict[Any, list[Block]] = field(default_factory=dict)  # actor -> blocks, oldest first
    _deaths: Counter[Block] = field(default_factory=Counter)

    def run(self, stop: StopNote) -> None:
        """Until every block is done.

        Raises:
            RunError: a block has ended its actor again and again, or no actor comes up. RepcoreError: as the work does.
        """
        for _ in range(min(self.actors, max(1, len(self.todo)))):
            self._start()
        idle_since = said = time.monotonic()  # of the last time that anybody was there
        while self.todo or self._running:
            stop.obey("finished parts are kept")
            self._share_out()
            for reference in self.cluster.wait([*self._starting, *self._running], LOOK_EVERY):
                self._answered(reference)
            idle_since = time.monotonic() if self._in_hand else idle_since
            said = max(said, idle_since)
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                self.say(f"no actor is up after {said - idle_since:.0f} s; {self.cluster.room()}")
            if time.monotonic() - idle_since > PATIENCE:
                raise RunError(
                    f"no actor has come up for {PATIENCE:.0f} s",
                    hint="fewer --gpus-per-actor, or a cluster with free processors: `ray status` shows them",
                )

    def _start(self) -> None:
        actor = self.cluster.start()
        self._starting[self.cluster.ready(actor)] = actor

    def _share_out(self) -> None:
        for _ in range(IN_HAND):  # evenly, not all to the first
            for actor, blocks in self._in_hand.items():
                if self.todo and len(blocks) < IN_HAND:
                    block = self.todo.popleft()
                    blocks.append(block)
                    self._running[self.cluster.run(actor, block)] = (actor, block)

    def _answered(self, reference: Any) -> None:
        if reference in self._starting:
            actor = self._starting.pop(reference)
            try:
                self.cluster.get(reference)
            except ActorLost:
                self.say("an actor has gone before it was up; another is started")
                self._start()
                return
            self._in_hand[actor] = []
            return
        if reference not in self._running:  # of an actor that was given up a moment ago
            return
        actor, block = self._running[reference]
        try:
            rows = self.cluster.get(reference)
        except ActorLost as error:
            self._lost(actor, str(error))
            return
        del self._running[reference]
        self._in_hand[actor].remove(block)
        self.done(rows)

    def _lost(self, actor: Any, why: str) -> None:
        """Its blocks go back to the front; the oldest was in work."""
        blocks = self._in_hand.pop(actor)
        self._running = {one: pair for one, pair in self._running.items() if pair[0] is not actor}
        self._deaths[blocks[0]] += 1
        if self._deaths[blocks[0]] >= MOST_DEATHS:
            first, stop = blocks[0]
            raise RunError(
                f"rows {first:,} to {stop - 1:,} have ended {MOST_DEATHS} actors",
                last=why.splitlines()[0] if why else "",
                hint="a smaller --batch-size or --cost-budget, or fewer actors: mostly it is want of memory",
            )
        self.todo.extendleft(reversed(blocks))
        self.say(f"an actor has gone with {len(blocks)} blocks in hand; they are given to others")
        self._start()


class RayCluster:
    """Ray as the schedule sees it.

    Args:
        address: of a cluster; None starts one on this machine.
        gpus: of an actor.
    """

    def __init__(self, job: Job, parts: Parts, address: str | None, gpus: float) -> None:
        self._ray = imported_ray()
        self._mine = not self._ray.is_initialized()
        if self._mine:
            _refuse_deaf(address)
            try:
                self._ray.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=None)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise RunError(
                    f"no Ray cluster at {address or 'this machine'!r}: {error}",
                    hint="ray start --head, or no --address",
                ) from error
        self._kind = self._ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(BlockActor)
        job = replace(job, data=with_credentials(job.data))  # other machines know nothing of what is held here
        self._given = (job, str(parts.path.absolute()), parts.header)
        self._gpus = gpus
        there = self._there("GPU")
        if self._mine and not (address or os.environ.get("RAY_ADDRESS")) and there < gpus:  # nothing will be added
            self.close()
            raise RunError(
                f"an actor asks for {gpus:g} GPUs, this machine has {there:g}",
                hint="no --gpus-per-actor, or --address of a cluster with GPUs",
            )

    def capacity(self) -> int:
        """Actors that the cluster has room for."""
        return max(1, int(self._there("GPU") // self._gpus) if self._gpus else int(self._there("CPU")))

    def room(self) -> str:
        cpus, gpus = self._there("CPU"), self._there("GPU")
        return f"each asks for 1 processor and {self._gpus:g} GPUs, the cluster has {cpus:g} and {gpus:g}"

    def _there(self, what: str) -> float:
        return float(self._ray.cluster_resources().get(what, 0))

    def start(self) -> Any:
        return self._kind.remote(*self._given)

    def ready(self, actor: Any) -> Any:
        return actor.ready.remote()

    def run(self, actor: Any, block: Block) -> Any:
        return actor.run.remote(*block)

    def wait(self, references: list[Any], seconds: float) -> list[Any]:
        found: list[Any] = self._ray.wait(references, num_returns=len(references), timeout=0)[0]
        return found or self._ray.wait(references, num_returns=1, timeout=seconds)[0]

    def get(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else None
            if isinstance(cause, RepcoreError):
                raise type(cause)(cause.summary, **cause.facts) from None
            raise RunError(f"an actor has failed: {type(cause or error).__name__}: {cause or error}") from error
        except (
            errors.RayActorError, errors.RaySystemError, errors.ObjectLostError, errors.WorkerCrashedError,
            errors.NodeDiedError, errors.OutOfMemoryError,
        ) as error:  # fmt: skip
            raise ActorLost(str(error)) from error

    def close(self) -> None:
        """Let go of the cluster."""
        if self._mine:
            self._ray.shutdown()


def _refuse_deaf(address: str | None) -> None:
    """Ray itself asks an address that nobody listens to for minutes.

    Raises:
        RunError: nothing answers there.
    """
    named = NAMED.fullmatch(address or "")
    if named is None:  # none, auto, local
        return
    try:
        socket.create_connection((named["host"].strip("[]"), int(named["port"])), timeout=ANSWER_LIMIT).close()
    except OSError as error:
        raise RunError(f"no Ray cluster at {address!r}: {error}", hint="ray start --head, or no --address") from error


def imported_ray() -> Any:
    """The package ``ray``.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise PluginError("--engine ray needs the package ray", hint='pip install "repcore[ray]"') from error
    return ray


def run_on_ray(
    job: Job,
    parts: Parts,
    done: Callable[[int], None],
    stop: StopNote,
    *,
    address: str | None = None,
    actors: int | None = None,
    gpus: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Write every missing part by actors of a cluster.

    Args:
        address: of the cluster; None starts one on this machine (or takes ``RAY_ADDRESS``).
        actors: as many as the cluster has room for if None.
        gpus: of each actor.

    Raises:
        PluginError: Ray is not installed. RunError: no cluster, or no actor lives.
    """
    todo = deque(parts.todo())
    if not todo:
        return
    cluster = RayCluster(job, parts, address, gpus)
    try:
        stop.claim()  # Ray puts handlers of its own in their place
        count = min(actors or cluster.capacity(), len(todo))
        say(f"{len(todo):,} parts by {count:,} actor{'s' * (count != 1)}")
        Schedule(cluster, count, todo, done, say).run(stop)
    finally:
        cluster.close()
