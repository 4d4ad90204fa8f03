"""``trainer.compile=true`` works, or is refused before the run with the reason."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.exc import InternalTorchDynamoError

from repcore.cli.main import run
from repcore.files import read_lines
from repcore.ops import Op, keep_out_of_graphs
from repcore.training import compiling
from tests.toys.toy_pairs import code

TRAIN = ["pairs", "train", "set-net", "--device", "cpu", "trainer.steps=3", "trainer.log_every=1"]
COMPILED = ["trainer.compile=true", "trainer.compile_backend=eager"]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_lines(folder / "metrics.jsonl") if line["split"] == "train"]


def test_a_compiled_run_is_the_same_run(toys: None, tmp_path: Path) -> None:
    automatic = ["auto" if word == "cpu" else word for word in TRAIN]  # what a command begins with
    for name, words in (("plain", TRAIN), ("compiled", [*automatic, *COMPILED])):
        assert run([*words, "--out", str(tmp_path), "--name", name]) == 0
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert len(losses(tmp_path / "compiled")) == 3


def test_what_cannot_be_compiled_is_refused_in_words(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))

    def broken(self: Any, *given: Any, **named: Any) -> None:
        raise TypeError("torch cannot trace this")

    monkeypatch.setattr(kind, "compile", broken)
    assert run([*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "r"]) == 2
    told = capsys.readouterr().err
    assert "trainer.compile=true, but torch cannot compile" in told
    assert "torch cannot trace this" in told
    assert not (tmp_path / "r" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("from_call", "word"), [(2, "trial"), (4, "run")])
def test_what_is_compiled_anew_and_fails_then_is_said(
    from_call: int, word: str, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The first batch has been compiled; sizes of another cannot be."""
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))
    own, compiled, calls = kind.forward, [], []

    def fails(self: Any, *given: Any, **named: Any) -> Any:
        if compiled:
            calls.append(1)
        if len(calls) >= from_call:
            raise InternalTorchDynamoError(
                "TypeError: cannot determine truth value of Relational\n\nSet TORCHDYNAMO_VERBOSE=1 for the trace"
            )
        return own(self, *given, **named)

    monkeypatch.setattr(kind, "forward", fails)
    monkeypatch.setattr(kind, "compile", lambda self, **named: compiled.append(1))
    assert run([*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "r"]) == 2
    told = capsys.readouterr().err
    assert "trainer.compile=true, but torch cannot compile" in told
    assert "cannot determine truth value" in told
    assert "TORCHDYNAMO" not in told
    assert "trainer.compile=false" in told
    assert ("--resume" in told) == (word == "run")


def test_sizes_that_never_settle_are_warned_of(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))
    own = kind.forward

    def traced(self: Any, *given: Any, **named: Any) -> Any:
        compiling._counted()["unique_graphs"] += 1
        return own(self, *given, **named)

    monkeypatch.setattr(kind, "compile", lambda self, **named: None)
    assert run([*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "settled"]) == 0
    assert "compiled anew" not in capsys.readouterr().err
    monkeypatch.setattr(kind, "forward", traced)
    assert run([*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "anew"]) == 0
    assert "compiled anew for batch after batch" in capsys.readouterr().err


def test_a_trial_without_an_end_is_refused_in_words(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))

    def endless(self: Any, *given: Any, **named: Any) -> None:
        time.sleep(60)

    monkeypatch.setattr(kind, "compile", endless)
    before = signal.getsignal(signal.SIGALRM)
    words = [*TRAIN, *COMPILED, "trainer.compile_limit=1", "--out", str(tmp_path), "--name", "r"]
    assert run(words) == 2
    told = capsys.readouterr().err
    assert "is not compiled after 1 s with eager" in told
    assert "so far: 0 parts of 0 operations traced" in told
    assert "trainer.compile=false, or a larger trainer.compile_limit" in told
    assert not (tmp_path / "r" / "metrics.jsonl").exists()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_ring_that_is_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised while an object is removed is lost, and a library may catch everything."""
    monkeypatch.setattr(compiling, "AGAIN", 0.1)
    caught = []
    with pytest.raises(compiling._Late), compiling._at_most(1):
        try:
            time.sleep(30)
        except BaseException as error:
            caught.append(error)
        time.sleep(30)
    assert len(caught) == 1
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_stop_in_the_middle_of_the_trial_is_obeyed(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = next(one for one in vars(code).values() if isinstance(one, type) and hasattr(one, "draw"))
    alarms = []

    def compiles(self: Any, *given: Any, **named: Any) -> None:
        alarms.append(signal.getitimer(signal.ITIMER_REAL)[0])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(kind, "compile", compiles)
    begun = time.monotonic()
    words = [*TRAIN, *COMPILED, "--out", str(tmp_path), "--name", "r"]
    assert run(words) == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 50
    told = "".join(capfd.readouterr())
    assert "stopped by SIGTERM" in told
    assert "go on with: repcore pairs train" in told
    assert alarms[0] > 500
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert not (tmp_path / "r" / "metrics.jsonl").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_missing_compiler_is_named(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # nothing that an earlier run has compiled
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    assert run([*TRAIN, "trainer.compile=true", "--out", str(tmp_path), "--name", "r"]) == 2
    told = capsys.readouterr().err
    assert "install a C++ compiler (g++ or clang++; CXX names another), or trainer.compile=false" in told


def test_ops_are_called_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """The choice of an op is not traced: no part of it in a graph, no warning, the same values."""
    keep_out_of_graphs()
    keep_out_of_graphs()  # once is enough, twice does no harm
    seen: list[bool] = []
    op = Op("pairs/none")
    op._functions[("cpu", torch.float32, ())] = lambda x: seen.append(torch.compiler.is_compiling()) or x + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = torch.compile(lambda x: op(x * 2) * 3, backend="eager")(torch.ones(2))
    assert found.tolist() == [9.0, 9.0]
    assert seen == [False]
