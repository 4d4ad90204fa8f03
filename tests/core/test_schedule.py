"""Blocks on a cluster: each done once whoever dies, few in hand, a block that kills its actors named."""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Any

import pytest

from repcore.embedding.engines import on_ray
from repcore.embedding.engines.on_ray import IN_HAND, MOST_DEATHS, ActorLost, Schedule
from repcore.embedding.engines.parts import Block
from repcore.errors import DataError, RunError
from repcore.stopping import StopNote, Stopped

BLOCKS = [(first, first + 10) for first in range(0, 200, 10)]


class Fake:
    """A cluster whose actors answer in order and die as told.

    Args:
        deaths: (number of the actor, blocks that it finishes before it dies); 0 before it is up.
        fatal: a block over which every actor dies.
    """

    def __init__(self, deaths: dict[int, int] | None = None, fatal: Block | None = None) -> None:
        self.deaths, self.fatal = deaths or {}, fatal
        self.started, self.most_in_hand, self.finished = 0, 0, list[Block]()
        self.queues: dict[int, list[Any]] = {}
        self.counts: dict[int, int] = {}

    def room(self) -> str:
        return "the cluster has 0 GPUs"

    def start(self) -> int:
        self.started += 1
        self.queues[self.started], self.counts[self.started] = [], 0
        return self.started

    def ready(self, actor: int) -> Any:
        return ("ready", actor)

    def run(self, actor: int, block: Block) -> Any:
        self.queues[actor].append(block)
        self.most_in_hand = max(self.most_in_hand, len(self.queues[actor]))
        return ("run", actor, block)

    def wait(self, references: list[Any], seconds: float) -> list[Any]:
        firsts = {queue[0] for queue in self.queues.values() if queue}
        return [one for one in references if one[0] == "ready" or one[2] in firsts]

    def get(self, reference: Any) -> Any:
        actor = reference[1]
        if self.deaths.get(actor) == self.counts[actor] or (len(reference) > 2 and reference[2] == self.fatal):
            raise ActorLost("killed\nby somebody")
        if reference[0] == "ready":
            return True
        self.counts[actor] += 1
        self.queues[actor].remove(reference[2])
        self.finished.append(reference[2])
        return reference[2][1] - reference[2][0]


def run(cluster: Fake, actors: int = 3) -> tuple[int, list[str]]:
    rows: list[int] = []
    said: list[str] = []
    Schedule(cluster, actors, deque(BLOCKS), rows.append, said.append).run(StopNote())
    return sum(rows), said


@pytest.mark.parametrize("deaths", [{}, {1: 2}, {1: 0, 2: 3, 4: 1}, dict.fromkeys(range(1, 4), 4)])
def test_every_block_is_done_whoever_dies(deaths: dict[int, int]) -> None:
    cluster = Fake(deaths)
    rows, said = run(cluster)
    assert sorted(cluster.finished) == BLOCKS
    assert rows == 200
    assert len(said) == len(deaths)
    assert cluster.started == 3 + len(deaths)
    assert cluster.most_in_hand == IN_HAND


def test_a_block_that_ends_its_actors_is_named() -> None:
    cluster = Fake(fatal=(50, 60))
    with pytest.raises(RunError, match=rf"rows 50 to 59 have ended {MOST_DEATHS} actors"):
        run(cluster)
    assert cluster.started == 3 + MOST_DEATHS - 1


def test_what_the_work_raises_ends_all() -> None:
    class Broken(Fake):
        def get(self, reference: Any) -> Any:
            raise DataError("the data are not there")

    with pytest.raises(DataError, match="not there"):
        run(Broken())


def test_a_request_to_stop_leaves_finished_parts() -> None:
    note = StopNote()
    note.number = 15
    with pytest.raises(Stopped) as caught:
        Schedule(Fake(), 1, deque(BLOCKS), lambda rows: None).run(note)
    assert caught.value.saved == "finished parts are kept"


def test_actors_that_do_not_come_up_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Fake):
        def wait(self, references: list[Any], seconds: float) -> list[Any]:
            time.sleep(0.02)
            return []

    monkeypatch.setattr(on_ray, "SAID_EVERY", 0.1)
    monkeypatch.setattr(on_ray, "PATIENCE", 0.35)
    said: list[str] = []
    with pytest.raises(RunError, match="no actor has come up"):
        Schedule(Full(), 1, deque(BLOCKS), lambda rows: None, said.append).run(StopNote())
    assert 2 <= len(said) <= 3
    assert "the cluster has 0 GPUs" in said[0]


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    for word in (address, f"ray://{address}"):
        with pytest.raises(RunError, match=f"no Ray cluster at .*{address}"):
            on_ray._refuse_deaf(word)
    for word in (None, "auto", "local"):  # Ray's own words
        on_ray._refuse_deaf(word)
