"""Odd surroundings: closed pipes, no colours, no or read-only HOME, full or forbidden places."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repcore import registry
from repcore.cli.ending import machine_problem, plugin_behind, unexpected
from tests.conftest import ROOT, MakeDistribution

LIST = [sys.executable, "-m", "repcore", "list"]


def environment(**changes: str | None) -> dict[str, str]:
    known = {**os.environ, "PYTHONPATH": str(ROOT / "core" / "src"), **changes}
    return {name: value for name, value in known.items() if value is not None}


def test_a_reader_that_leaves_is_no_failure() -> None:
    """``repcore list | head -1``: the pipe is closed before anything is written."""
    process = subprocess.Popen(LIST, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(60) == 0, said
    assert "BrokenPipe" not in said


@pytest.mark.parametrize("home", [None, "/proc/nothing/here"])
def test_no_home_and_no_colours(home: str | None) -> None:
    changes = {"HOME": home, "NO_COLOR": "1", "REPCORE_CACHE": None, "XDG_CACHE_HOME": None}
    done = subprocess.run(LIST, env=environment(**changes), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "you may not write"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. It is possible that dataloader's "
                      "workers are out of shared memory."), "--workers 0"),
        (MemoryError(), "a smaller data.batch_size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "a smaller data.batch_size"),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_is_said_in_words(error: Exception, words: str) -> None:
    assert words in machine_problem(error)
    wrapped = ValueError("something else")
    wrapped.__cause__ = error
    assert words in unexpected(wrapped)
    assert "report it" not in unexpected(wrapped)


def test_other_errors_say_where_they_arose() -> None:
    with pytest.raises(KeyError) as told:
        {}["nothing"]
    assert f"{Path(__file__).name}:" in unexpected(told.value)


def test_the_plugin_in_whose_code_an_error_arose_is_named(make_distribution: MakeDistribution) -> None:
    """Also when the exception itself comes from a library that the plugin called."""
    source = "import json\nHOOKS = 1\ndef break_down():\n    json.loads('{')\n"
    make_distribution("acme-beads", source, module="acme_beads", entry="beads", version="2.5")
    registry.default.cache_clear()
    module = importlib.import_module("acme_beads._plugin")
    with pytest.raises(ValueError, match="Expecting") as told:
        module.break_down()
    assert plugin_behind(told.value) == "acme-beads 2.5"
    assert "plugin: acme-beads 2.5" in unexpected(told.value)
    assert unexpected(told.value).endswith("report it to the authors of acme-beads")
    with pytest.raises(KeyError) as ours:
        {}["nothing"]
    assert plugin_behind(ours.value) == ""
    registry.default.cache_clear()
