"""Odd surroundings: closed pipes, no colours, no or read-only HOME, full or forbidden places."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader

from repcore import registry
from repcore.cli.ending import machine_problem, plugin_behind, unexpected
from repcore.data.handing_over import failures_are_handed_over
from repcore.errors import DataError, errors_behind
from repcore.files import write_text
from repcore.outputs import local_output
from repcore.stopping import stopped_behind
from tests.conftest import ROOT, MakeDistribution, write_distribution

NOBODY = 65534

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
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), "free some space"),
        (OSError("216576 requested and 75744 written"), "free some space"),
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


def test_no_room_for_a_semaphore_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an error names no file; what is full is seen in the file system."""
    error = OSError(errno.ENOSPC, "No space left on device")
    for free, words in ((0, "--workers 0"), (2**20, "free some space")):
        monkeypatch.setattr(os, "statvfs", lambda path, free=free: SimpleNamespace(f_bavail=free, f_frsize=1))
        assert words in machine_problem(error)


def test_a_circle_of_errors_has_an_end() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__context__ = other, one
    assert list(errors_behind(one)) == [one, other]
    assert machine_problem(one) == ""
    assert stopped_behind(one) is None


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


TINY_SHARED_MEMORY = """
mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 99
exec "$@"
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a tiny /dev/shm")
def test_a_tiny_shared_memory_is_named(tmp_path: Path) -> None:
    """A real one of 64 KiB, in a mount namespace of its own: worker processes cannot hand over their batches."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")
    write_distribution(tmp_path / "site", "toy-pairs", "tests.toys.toy_pairs._plugin", entry="pairs")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "core" / "src")])
    words = ["pairs", "train", "set-net", "--device", "cpu", "--workers", "1", "--out", str(tmp_path / "runs")]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", TINY_SHARED_MEMORY, "sh", sys.executable, "-m", "repcore", *words],
        env=environment(PYTHONPATH=path, OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no private mount namespace here: {done.stderr.strip()[:200]}")
    assert done.returncode == 2, done.stderr
    assert "out of shared memory (/dev/shm)" in done.stderr
    assert "--workers 0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_with_a_strict_umask() -> None:
    """What may not be written is said before work; what is written is the user's own and nobody else's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        (root / "own").mkdir()
        os.chown(root / "own", NOBODY, NOBODY)
        (root / "theirs").mkdir(mode=0o755)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                os.umask(0o077)
                write_text(local_output(root / "own" / "a.txt"), "x")
                with contextlib.suppress(DataError):
                    local_output(root / "theirs" / "v.parquet")
                    code = 2
                code = 0 if code == 1 else code
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        made = root / "own" / "a.txt"
        assert (made.read_text(), made.stat().st_uid, made.stat().st_mode & 0o077) == ("x", NOBODY, 0)
        assert list((root / "theirs").iterdir()) == []


class Closed:
    """What no process can hand to another."""

    def __reduce__(self) -> Any:
        raise TypeError("it cannot be pickled")


def unpicklable(rows: list[int]) -> Any:
    return Closed()


def test_what_a_worker_cannot_hand_over_ends_the_loading() -> None:
    """The standard library prints a traceback, forgets the batch, and the main process waits for ever."""
    loader = DataLoader([1, 2], num_workers=1, collate_fn=unpicklable, worker_init_fn=failures_are_handed_over)
    with pytest.raises(RuntimeError, match="a batch cannot be handed over: TypeError: it cannot be pickled"):
        next(iter(loader))
