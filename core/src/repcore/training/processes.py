"""Several processes of one run: Lightning is told who they are, and the death of one is named and ends all."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment

from repcore.config import TrainerConfig
from repcore.errors import ConfigError, RunError
from repcore.launching import Place, place
from repcore.reporting import Reporter
from repcore.training.checkpointing import has_checkpoint
from repcore.training.run_folder import RunFolder

LOOK_EVERY = 0.5  # seconds between looks at the other processes; Lightning itself kills all, silently, after five
EXIT_CODE = 2
EXCHANGE = re.compile(r"gloo|nccl|connection (closed|reset)|Dist\w*Error|ProcessGroup", re.IGNORECASE)


class LaunchedProcesses(ClusterEnvironment):
    """What Lightning asks about processes that torchrun, Slurm or MPI have started."""

    def __init__(self, here: Place) -> None:
        super().__init__()
        self._here = here

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        """``MASTER_ADDR``, or the first node that Slurm names, or this machine."""
        if "MASTER_ADDR" in os.environ:
            return os.environ["MASTER_ADDR"]
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "")
        if self._here.launcher == "slurm" and nodes and self._here.local_world < self._here.world:
            from lightning.fabric.plugins.environments import SLURMEnvironment

            return SLURMEnvironment.resolve_root_node_address(nodes)
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return int(os.environ.get("MASTER_PORT") or self._here.port)

    @staticmethod
    def detect() -> bool:
        return place().started_together

    def world_size(self) -> int:
        return self._here.world

    def set_world_size(self, size: int) -> None:
        """The launcher has decided."""

    def global_rank(self) -> int:
        return self._here.rank

    def set_global_rank(self, rank: int) -> None:
        """The launcher has decided."""

    def local_rank(self) -> int:
        return self._here.local_rank

    def node_rank(self) -> int:
        return self._here.rank // max(1, self._here.local_world)


def cluster(here: Place) -> ClusterEnvironment:
    """The environment for Lightning's trainer."""
    return LaunchedProcesses(here) if here.started_together else LightningEnvironment()


def process_grid(config: TrainerConfig, here: Place) -> tuple[int, int]:
    """Processes on this machine, and machines: as the launcher has started them, else as configured.

    Raises:
        ConfigError: the settings say other numbers than the launcher, or the launcher's cannot be.
    """
    if here.wrong:
        raise ConfigError(
            f"the environment of this process says {here.launcher or 'several processes'}, but {here.wrong}",
            hint="start it by torchrun, srun or mpirun itself, or clear these variables for a single process",
        )
    if not here.started_together:
        return config.devices, config.num_nodes
    machines = max(1, here.world // max(1, here.local_world))
    wanted = config.processes
    if wanted not in (1, here.world):
        raise ConfigError(
            f"trainer.devices={config.devices} times trainer.num_nodes={config.num_nodes} is {wanted}, "
            f"but {here.launcher} has started {here.world} processes",
            hint="leave both out: they follow the launcher",
        )
    return here.world // machines, machines


def shared_step(batch_size: int, accumulate: int, before: int, now: int, reporter: Reporter) -> tuple[int, int]:
    """How a step is made when a run goes on with another number of processes: all together see the same items.

    Micro-batches stay as they are where they can be dealt out evenly, with all that is drawn for them.

    Args:
        batch_size: items of a micro-batch until now.
        accumulate: micro-batches of each process and step until now.
        before / now: numbers of processes.

    Returns:
        items of a micro-batch, and micro-batches of each process, from now on.

    Raises:
        RunError: the items of a step cannot be shared out evenly.
    """
    batches = accumulate * before
    if batches % now == 0:
        reporter.info(
            f"this run began with {before} processes and goes on with {now}, each with {batches // now} micro-batches "
            f"of {batch_size} items a step (before: {accumulate}): the same items and draws at the same position in "
            "the data; only sums are made in another order"
        )
        return batch_size, batches // now
    whole = batch_size * batches
    if whole % now:
        numbers = ", ".join(str(one) for one in range(1, min(whole, 64) + 1) if whole % one == 0)
        raise RunError(
            f"this run's {whole} items a step cannot be shared by {now} processes",
            began_with=f"{before} processes, each with {accumulate} micro-batches of {batch_size} items",
            hint=f"one of these numbers of processes: {numbers}",
        )
    size, count = _largest_share(whole // now, batch_size)
    reporter.info(
        f"this run began with {before} processes and goes on with {now}, each with {count} micro-batches of {size} "
        f"items a step (before: {accumulate} of {batch_size}): the same items at the same position in the data; what "
        "is drawn for a micro-batch (masks, dropout) and compared within it is another"
    )
    return size, count


def _largest_share(items: int, most: int) -> tuple[int, int]:
    """Items as equal micro-batches of at most ``most``: size and number."""
    size = next(one for one in range(min(items, most), 0, -1) if items % one == 0)
    return size, items // size


def slurm_job(environment: Mapping[str, str] | None = None) -> str:
    """Name of this Slurm job for ``scontrol``, the same after a requeue; empty outside Slurm."""
    known = os.environ if environment is None else environment
    if "SLURM_ARRAY_JOB_ID" in known:
        return f"{known['SLURM_ARRAY_JOB_ID']}_{known.get('SLURM_ARRAY_TASK_ID', '0')}"
    return known.get("SLURM_JOB_ID", "")


def requeue(reporter: Reporter) -> None:
    """Ask Slurm to start this job again, as Lightning's connector for Slurm does.

    The connector itself is not used: it saves in the middle of a step, and a checkpoint of its own, which it would
    later prefer to ours.
    """
    job = slurm_job()
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        reporter.warn("trainer.on_preempt=requeue, but this is no Slurm job: nobody starts it again")
        return
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        reporter.warn(f"Slurm does not start job {job} again: {problem}")
    else:
        reporter.info(f"Slurm will start job {job} again; it then goes on by itself")


def requeued_run(root: Path) -> RunFolder | None:
    """The run that this Slurm job had begun before it was started again; None if it has not been."""
    job = slurm_job()
    if not job or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
        return None
    for path in sorted(root.glob("*/environment.json"), key=lambda one: one.stat().st_mtime, reverse=True):
        folder = RunFolder(path.parent)
        if path.parent.is_symlink() or (folder.read_json("environment.json") or {}).get("slurm_job") != job:
            continue
        return folder if has_checkpoint(folder) else None
    return None


class Watch:
    """A listener that ends the run, with a reason, when one of its other processes is dead.

    Args:
        complain: where the reason is said.
        resume: command that goes on from the last checkpoint.
    """

    def __init__(self, complain: Callable[[str], None], resume: str) -> None:
        self._complain, self._resume = complain, resume
        self._over = threading.Event()
        self._parent = os.getppid()

    def start(self, state: Any) -> None:
        if state.trainer.world_size == 1:
            return
        children = started(state.trainer)
        watched = self._look_at if children else self._look_for_parent
        if children or place().launcher == "lightning":
            threading.Thread(target=watched, args=(children,), daemon=True, name="repcore-watch").start()

    def step(self, state: Any, record: Any) -> None:
        return None

    def end(self, state: Any) -> None:
        self._over.set()

    def _look_at(self, children: Sequence[subprocess.Popen[Any]]) -> None:
        while not self._over.wait(LOOK_EVERY):
            words = death(children)
            if words and not self._over.is_set():
                self._complain(f"RunError: {words}\n  go on with: {self._resume}")
                for child in children:
                    if child.poll() is None:
                        child.kill()
                os._exit(EXIT_CODE)  # the main thread may wait in a collective for ever

    def _look_for_parent(self, children: Sequence[subprocess.Popen[Any]]) -> None:
        while not self._over.wait(LOOK_EVERY):
            if os.getppid() != self._parent:
                os._exit(EXIT_CODE)


def started(trainer: pl.Trainer) -> Sequence[subprocess.Popen[Any]]:
    """Processes that Lightning has started from this one."""
    return getattr(trainer.strategy.launcher, "procs", None) or ()


def death(children: Sequence[subprocess.Popen[Any]]) -> str:
    """Which process has ended badly, and how; empty if none has."""
    for number, child in enumerate(children, start=1):
        code = child.poll()
        if code:
            how = f"exit code {code}"
            if code < 0:
                name = signal.Signals(-code).name
                how = f"{name}, usually for want of memory" if -code == signal.SIGKILL else name
            return f"process {number} of {len(children) + 1} of this run has ended ({how}); all others are ended, too"
    return ""


def explained(trainer: pl.Trainer, error: Exception, resume: str) -> Exception:
    """A failure of the exchange between processes as what it mostly is: another process has ended before."""
    children = started(trainer)
    for _ in range(4 if children else 0):
        words = death(children)
        if words:
            return RunError(words, here=f"{type(error).__name__}: {error}".splitlines()[0], hint=resume)
        time.sleep(LOOK_EVERY)
    if trainer.world_size > 1 and EXCHANGE.search(f"{type(error).__name__} {error}"):
        return RunError(
            "the exchange with the other processes of this run has failed; one of them has ended, see its own message",
            here=f"{type(error).__name__}: {error}".splitlines()[0],
            hint=resume,
        )
    return error


def leave_group_at_exit() -> None:
    """Take this process out of its group before Python ends: torch's threads, ended by the interpreter, can abort it
    ("terminate called without an active exception") when all its work is done."""
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()
