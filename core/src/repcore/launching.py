"""Which of several processes this one is, whoever started them: Lightning, torchrun, Slurm, or MPI.

Everything that only one process may do (make a run folder, write a file, speak) asks here. Read from the environment,
so that it is known before torch and Lightning are imported.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from zlib import crc32

COMMAND: ContextVar[tuple[str, ...]] = ContextVar("command", default=())
"""Arguments of the ``repcore`` command that is at work; empty when the library is used from Python."""


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of a run.

    Args:
        launcher: who started several processes (``lightning``, ``torchrun``, ``slurm``, ``mpi``); empty for one alone.
        rank: number among all; for processes that Lightning starts only 0 or not 0 is known this early.
        local_rank: number on this machine.
        world: processes in all; 0 = as configured (Lightning).
        local_world: processes on this machine; 0 = not known.
        job: the same text in all processes of one start.
        wrong: what in the environment cannot be, in words; a run on it would hang or write everything twice.
    """

    launcher: str = ""
    rank: int = 0
    local_rank: int = 0
    world: int = 0
    local_world: int = 0
    job: str = ""
    wrong: str = ""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def started_together(self) -> bool:
        """Another program has started all processes; Lightning must not start more."""
        return self.launcher in ("torchrun", "slurm", "mpi")

    @property
    def port(self) -> int:
        """A port that all processes of this start agree on and other jobs on the machine hardly use."""
        return 15000 + crc32(self.job.encode()) % 10000


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Where this process stands.

    Args:
        environment: ``os.environ`` when None.
    """
    known = os.environ if environment is None else environment
    found = _torchrun(known) or _slurm(known) or _mpi(known) or _lightning(known) or Place()
    wrong = _wrong(found, known)
    return dataclasses.replace(found, wrong=wrong) if wrong else found


def is_first_process() -> bool:
    """Only the first process of a run makes folders, writes and speaks."""
    return place().is_first


def _torchrun(known: Mapping[str, str]) -> Place | None:
    """torchrun, and whatever else sets the same variables (Kubernetes operators)."""
    if not all(name in known for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return None
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    return Place(
        "torchrun",
        _number(known, "RANK"),
        _number(known, "LOCAL_RANK"),
        _number(known, "WORLD_SIZE", 1),
        _number(known, "LOCAL_WORLD_SIZE", 1),
        "-".join(known.get(name, "") for name in names),
    )


def _slurm(known: Mapping[str, str]) -> Place | None:
    """A task of ``srun``; a script or shell inside an allocation is a process alone."""
    shell = known.get("SLURM_JOB_NAME") in ("bash", "interactive") and "SLURM_STEP_NUM_TASKS" not in known
    if "SLURM_PROCID" not in known or "SLURM_STEP_ID" not in known or shell:
        return None
    world = _number(known, "SLURM_STEP_NUM_TASKS", _number(known, "SLURM_NTASKS", 1))
    if world == 1 and known["SLURM_PROCID"].strip() == "0":  # also the shell of salloc, which is a step of one task
        return None
    nodes = _number(known, "SLURM_STEP_NUM_NODES", _number(known, "SLURM_NNODES", 1))
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    return Place(
        "slurm",
        _number(known, "SLURM_PROCID"),
        _number(known, "SLURM_LOCALID"),
        world,
        world // max(1, nodes),
        "-".join(known.get(name, "") for name in names),
    )


def _mpi(known: Mapping[str, str]) -> Place | None:
    """Open MPI, then MPICH and Intel MPI."""
    for rank, local, world, local_world, job in (
        ("RANK", "LOCAL_RANK", "SIZE", "LOCAL_SIZE", "PMIX_NAMESPACE"),
        ("PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE", "MPI_LOCALNRANKS", "PMI_JOBID"),
    ):
        start = "OMPI_COMM_WORLD_" if rank == "RANK" else ""
        if start + rank in known:
            count = _number(known, start + world, 1)
            here = _number(known, start + local_world, count)  # one machine where nothing else is said
            return Place(
                "mpi",
                _number(known, start + rank),
                _number(known, start + local, _number(known, start + rank) % max(1, here)),
                count,
                here,
                known.get(job, ""),
            )
    return None


def _lightning(known: Mapping[str, str]) -> Place | None:
    """Lightning's further processes; on the second of several machines also the one that a person started."""
    local, node = _number(known, "LOCAL_RANK"), _number(known, "NODE_RANK")
    return Place("lightning", rank=local + node, local_rank=local) if local or node else None


NUMBERS = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
)  # fmt: skip


def _wrong(found: Place, known: Mapping[str, str]) -> str:
    if not found.launcher and (half := _half_told(known)):
        return half
    if not found.launcher:
        return ""
    for name in NUMBERS:
        if name in known and not known[name].strip().isdecimal():
            return f"{name}={known[name]!r} is no number from 0 on"
    if found.started_together and found.rank >= found.world:
        return f"this is process {found.rank} (counted from 0) of {found.world}"
    if found.started_together and found.local_rank >= found.local_world:
        return f"this is process {found.local_rank} (counted from 0) of {found.local_world} on this machine"
    return ""


def _half_told(known: Mapping[str, str]) -> str:
    """What a launcher has said of several processes, where it has not said enough: each would make a run of its own."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR")
    missing = [name for name in names if name not in known]
    several = known.get("RANK", "0").strip() != "0" or known.get("WORLD_SIZE", "1").strip() != "1"
    if "RANK" not in known or not missing or not several:
        return ""
    said = ", ".join(f"{name}={known[name]}" for name in names[:2] if name in known)
    return f"it says {said} without {', '.join(missing)}"


def _number(known: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    try:
        return int(known.get(name, ""))
    except ValueError:
        return otherwise
