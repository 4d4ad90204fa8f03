"""What is kept of a run that was left, and what to type to go on with it."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repcore.data.workers import WorkerLostError
from repcore.errors import RepcoreError, RunError, errors_behind
from repcore.files import is_disk_full
from repcore.launching import is_first_process
from repcore.training.assembly import RunParts
from repcore.training.checkpointing import has_checkpoint
from repcore.training.run_folder import REQUEST, RunFolder


def way_on(parts: RunParts, folder: RunFolder) -> str | None:
    """After a run was left where it stood: the same command again would begin anew beside what is kept.

    Returns:
        the command for the report if the model is written, the one to resume if there is a checkpoint, or None.
    """
    if (folder.model / "config.json").is_file():
        return report_command(folder.path)
    return resume_command(parts, folder) if has_checkpoint(folder) else None


def kept_of(folder: RunFolder) -> str:
    """What a run that was left in the middle of a step has saved, as a sentence."""
    if (folder.model / "config.json").is_file():
        return f"the run is finished, its model is {folder.model}"
    if has_checkpoint(folder):
        return f"left in the middle of a step; kept is {folder.last_checkpoint}, the steps after it are made again"
    return f"left in the middle of a step, before the first checkpoint of {folder.path}: its steps are made again"


@contextmanager
def making_room(folder: RunFolder, is_kept: Callable[[], bool], command: Callable[[], str]) -> Iterator[None]:
    """Within it a new run begins: if the disk fills, or a worker dies, before there is anything to go on from, its
    folder goes again, so that the same command with the same ``--name`` begins it; later the words name the command
    that goes on.

    Args:
        is_kept: whether there is something to go on from.
        command: what to type then.

    Raises:
        RunError: the disk is full, or a worker has died, and the run can be gone on with.
    """
    try:
        yield
    except Exception as error:
        is_lost = isinstance(error, WorkerLostError)
        if not is_lost and not any(is_disk_full(one) for one in errors_behind(error)):
            raise
        if not is_kept():
            if is_first_process():
                folder.remove()
            raise
        if is_lost and "--resume" in str(error):
            raise
        facts = dict(error.facts) if isinstance(error, RepcoreError) else {}
        words = error.summary if isinstance(error, RepcoreError) else f"{os.strerror(errno.ENOSPC)}: {error}"
        raise RunError(
            words, **{**facts, "hint": f"free some {'memory' if is_lost else 'space'}, then {command()}"}
        ) from error


def report_command(folder: Path) -> str:
    """What to type to write the report of a finished run."""
    return shlex.join(["repcore", "report", str(folder)])


def resume_command(parts: RunParts, folder: RunFolder) -> str:
    """What to type to go on with a run; of a run inside a fine-tuning (seeds, members), to go on with all of it."""
    if parts.resolved.recipe.rpartition("/")[2] != "finetune":
        return shlex.join(["repcore", parts.resolved.domain, "train", "--resume", str(folder.path)])
    whole = folder.around(REQUEST)
    if whole is None:
        return "repcore.finetune with the same arguments again"  # from Python, which keeps no request
    return shlex.join(["repcore", parts.resolved.domain, "finetune", "--resume", str(whole)])


def without_worker(error: WorkerLostError, folder: RunFolder, resume: str, workers: int) -> WorkerLostError:
    """A worker's death with what is saved, and what to type to go on.

    Args:
        workers: how many there were; 0 = going on takes no other number.
    """
    facts = dict(error.facts)
    if has_checkpoint(folder):
        facts = {"kept": f"{folder.last_checkpoint}, the last finished step", **facts}
        if workers:
            facts["hint"] = f"{resume} data.workers={workers // 2}"
    return WorkerLostError(error.summary, **facts)
