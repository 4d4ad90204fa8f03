"""Processes of a run meet before they exchange anything; what keeps them from it is said in time and in words."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch.distributed import TCPStore

from repcore.cli.main import run
from repcore.config import TrainerConfig
from repcore.errors import RunError
from repcore.stopping import Stopped
from repcore.training.meeting import MeetingStrategy, meet
from repcore.training.sharding import SharingStrategy
from repcore.training.trainers import strategy

HERE = "127.0.0.1"


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Another program's port: connections are taken, and nothing is ever said."""
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        yield taken


@pytest.fixture
def free() -> int:
    with socket.socket() as tried:
        tried.bind((HERE, 0))
        return int(tried.getsockname()[1])


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What each of several calls returns or raises, made at the same time."""
    found: list[object] = [None] * len(calls)

    def one(number: int) -> None:
        try:
            found[number] = calls[number]()
        except RunError as error:
            found[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_all_that_come_go_on(free: int) -> None:
    found = at_once(*(lambda rank=rank: meet(HERE, free, rank, 3, limit=60) for rank in range(3)))  # type: ignore[misc]
    assert all(isinstance(one, TCPStore) for one in found), found


def test_a_process_that_does_not_come_is_named(free: int) -> None:
    found = at_once(*(lambda rank=rank: meet(HERE, free, rank, 4, limit=2) for rank in (0, 2)))  # type: ignore[misc]
    for one in found:
        assert f"2 of 4 processes of this run have not come to {HERE}:{free} within 2 s: 1, 3" in str(one)
        assert "trainer.meeting_limit" in str(one)


def test_a_port_that_is_taken_is_said_at_once() -> None:
    with listening() as taken:
        port, started = taken.getsockname()[1], time.monotonic()
        with pytest.raises(RunError, match=f"^port {port} of this machine .MASTER_PORT. is used by another program"):
            meet(HERE, port, 0, 2, limit=600)
        assert time.monotonic() - started < 60


def test_whoever_answers_nothing_is_not_waited_for_without_end() -> None:
    """torch's own call never returns here."""
    with listening() as taken:
        where = f"{HERE}:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match=f"^process 0 of this run does not answer at {where} .* within 1 s"):
            meet(HERE, taken.getsockname()[1], 1, 2, limit=1)


def test_nobody_there_and_no_such_machine(free: int) -> None:
    for address, reason in ((HERE, "Connection refused"), ("no-such-machine.invalid", "[Nn]ame")):
        with pytest.raises(RunError, match=f"^process 0 of this run does not answer at {address}:{free} ") as told:
            meet(address, free, 1, 2, limit=1)
        assert re.search(reason, str(told.value))


def test_a_stop_is_obeyed_while_they_wait(free: int) -> None:
    def obey() -> None:
        raise Stopped(15)

    with listening() as taken, pytest.raises(Stopped):
        meet(HERE, taken.getsockname()[1], 1, 2, limit=600, obey=obey)
    with pytest.raises(Stopped):
        meet(HERE, free, 0, 2, limit=600, obey=obey)


def test_settings_choose_the_strategy() -> None:
    alone = strategy(TrainerConfig(), lambda: None)
    assert strategy(TrainerConfig(strategy="fsdp"), lambda: None) == "auto"
    assert isinstance(strategy(TrainerConfig(strategy="fsdp", devices=2), lambda: None), SharingStrategy)
    several = strategy(TrainerConfig(devices=2), lambda: None)
    unused = strategy(TrainerConfig(devices=2, strategy="ddp_find_unused_parameters_true"), lambda: None)
    assert alone == "auto"
    for one in (several, unused):  # which parameters a step uses is never known beforehand
        assert isinstance(one, MeetingStrategy)
        assert one._ddp_kwargs["find_unused_parameters"] is True


@pytest.mark.usefixtures("toys")
def test_a_run_on_a_taken_port_ends_in_words(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening() as taken:
        for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"),
                            ("MASTER_ADDR", HERE), ("MASTER_PORT", str(taken.getsockname()[1]))):  # fmt: skip
            monkeypatch.setenv(name, value)
        assert run(["pairs", "train", "set-net", "--device", "cpu", "--out", str(tmp_path), "dataset.items=40"]) == 2
    said = capsys.readouterr().err
    assert "RunError: port" in said
    assert "is used by another program" in said
    assert "Traceback" not in said
