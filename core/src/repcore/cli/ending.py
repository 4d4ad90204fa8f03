"""How a command ends that did not simply finish: stopped by a signal, its reader gone, the machine out of something."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from repcore import stopping
from repcore.cli.console import complain, say
from repcore.errors import RunError, errors_behind
from repcore.files import is_disk_full
from repcore.launching import is_first_process, place
from repcore.memory import is_out_of_memory
from repcore.plugins import BUILT_IN
from repcore.registry import default
from repcore.untrusted import printable

SYSTEM_HINTS = {
    errno.ENOSPC: "free some space, or write to another disk; then the same command again",
    errno.EDQUOT: "free some of your quota, or write to another disk; then the same command again",
    errno.EFBIG: "the file system (or `ulimit -f`) allows no file of that size; write to another disk",
    errno.EROFS: "this file system is read-only; write somewhere else (-o, --out, REPCORE_CACHE)",
    errno.EACCES: "you may not write (or read) there; choose another place (-o, --out, REPCORE_CACHE) or change rights",
    errno.EPERM: "you may not write (or read) there; choose another place (-o, --out, REPCORE_CACHE) or change rights",
    errno.EMFILE: "too many open files: fewer --workers, or a higher `ulimit -n`",
    errno.ENAMETOOLONG: "a shorter name",
    errno.EISDIR: "a folder has the name of a file that is written: move it, or choose another name (-o, --out)",
}


def ended(error: BaseException, arguments: list[str]) -> int:
    """Exit code of a command that a signal or the loss of its reader has ended, after saying how to go on."""
    stopped = stopping.stopped_behind(error)
    if stopped is not None:
        if is_first_process():
            saved = f": {stopped.saved}" if stopped.saved else ""
            say(f"stopped by {stopping.signal_words(stopped.number)}{saved}")
            if stopped.number == signal.SIGTERM and place().started_together:  # the launcher ends all where one fails
                say("if another process of this run has ended with an error, that comes first: see its message")
            say(f"go on with: {stopped.command or shlex.join(['repcore', *arguments])}")
        return stopped.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        complain("interrupted")
        return 130
    muted = type(sys.stdout).__name__.endswith("PacifyFlushWrapper")  # click has met the closed pipe and exits with 1
    closed = isinstance(error, BrokenPipeError) or (isinstance(error, SystemExit) and muted)
    if closed:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  flushed at the end
        return 0
    raise error


@contextmanager
def report_of(folder: Path) -> Iterator[None]:
    """Within it the report of a finished run is written: whatever ends that, the model is there and is said to be.

    Raises:
        RunError: the machine does not let the report be written; names the file, the model, and the command to type.
    """
    command, kept = (
        shlex.join(["repcore", "report", str(folder)]),
        f"the run is finished, its model is {folder / 'model'}",
    )
    try:
        with stopping.going_on_with(lambda: command, lambda: kept):
            yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno not in SYSTEM_HINTS:
            raise
        name = error.filename or folder / "report.html"
        raise RunError(
            f"the report is not written: {os.strerror(error.errno)}: {name}",
            kept=kept,
            hint=f"{SYSTEM_HINTS[error.errno]}; then {command}",
        ) from error


def unexpected(error: Exception) -> str:
    """What is said of an error that nobody foresaw: what the machine lacks, or where in the code it arose."""
    known = machine_problem(error)
    if known:
        return known
    frame = traceback.extract_tb(error.__traceback__)[-1]
    owner = plugin_behind(error)
    whose = f"  plugin: {owner}\n" if owner else ""
    whom = f" to the authors of {owner.split()[0]}" if owner else ""
    return (
        f"unexpected {type(error).__name__}: {error}\n{whose}  where: {frame.filename}:{frame.lineno}\n"
        f"  try:   the same command with --debug shows the traceback; please report it{whom}"
    )


def plugin_behind(error: BaseException) -> str:
    """Distribution and version of the plugin in whose code an error arose; empty if no plugin took part.

    The innermost frame that belongs to a plugin decides: below it are only the libraries that the plugin called.
    """
    owners = {one.target.partition(":")[0].partition(".")[0]: one for one in default().records if one.name != BUILT_IN}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        record = owners.get(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        if record is not None:
            found = f"{record.distribution or record.name} {record.version}".strip()
    return found


def machine_problem(raised: BaseException | None) -> str:
    """What the machine lacks (space, permission, memory, shared memory); empty if it is something else."""
    for error in errors_behind(raised):
        text = str(error)
        if isinstance(error, FileNotFoundError) and (gone := _gone_folder(error)):
            return gone
        no_semaphore = isinstance(error, OSError) and error.filename is None and shared_memory_is_full(error)
        if no_semaphore or "shared memory" in text or "Bus error" in text or "/dev/shm" in text:
            return (
                "worker processes ran out of shared memory (/dev/shm)\n  try:   --workers 0, or more shared memory "
                "for the container (docker run --shm-size=8g)"
            )
        if isinstance(error, OSError) and error.errno in SYSTEM_HINTS:
            what = os.strerror(error.errno)  # libraries put texts of their own into strerror
            return f"{what}: {error.filename or text}\n  try:   {SYSTEM_HINTS[error.errno]}"
        if is_disk_full(error):  # of a library that gives no number
            return f"{os.strerror(errno.ENOSPC)}: {text}\n  try:   {SYSTEM_HINTS[errno.ENOSPC]}"
        if is_out_of_memory(error):
            return f"out of memory: {text or 'no figure given'}\n  try:   a smaller data.batch_size or --batch-size"
    return ""


def _gone_folder(error: FileNotFoundError) -> str:
    """Which folder somebody has taken away; empty if it is something else, or a file only."""
    if error.filename is None:
        try:
            Path.cwd()
        except OSError:
            return "the working folder has been deleted\n  try:   cd into a folder that exists"
    elif isinstance(error.filename, str | bytes) and not Path(os.fsdecode(error.filename)).parent.is_dir():
        return (
            f"there is no folder for {os.fsdecode(error.filename)}: was it removed or renamed while the command ran?\n"
            "  try:   the same command again (--debug shows where it stopped)"
        )
    return ""


def shared_memory_is_full(error: OSError) -> bool:
    """Whether a lack of space that names no file is one of shared memory, where semaphores lie, too."""
    if error.errno != errno.ENOSPC:
        return False
    try:
        facts = os.statvfs("/dev/shm")
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < 2**20


def warning_in_words(message: str, category: type[Warning], filename: str) -> str:
    """A warning as a sentence: our own as they are, those of libraries with what they mean for the user."""
    if issubclass(category, RuntimeWarning) and re.search(
        r"encountered in|[Mm]ean of empty|[Dd]egrees of freedom", message
    ):
        return (
            "note: an item holds numbers that calculations cannot hold (overflow, or none at all); rows that this "
            "spoils have a status of their own"
        )
    if category is UserWarning and any(part.startswith("repcore") for part in Path(filename).parts):
        return f"warning: {message}"
    return f"note: a library that is used here says: {' '.join(message.split())} ({category.__name__})"


def make_warnings_printable(*, tracebacks: bool = False) -> None:
    """Warnings of this and of other libraries as sentences: names of files made harmless, and of an error its words
    only. What numpy says of numbers that overflow is said once, whatever the operation.

    Args:
        tracebacks: show where the errors arose, too.
    """
    told: set[str] = set()

    def shown(message: Warning | str, category: type[Warning], filename: str, *place: Any, **more: Any) -> str:
        text = warning_in_words(str(message), category, filename)
        if text in told:
            return ""
        told.add(text)
        return printable(text) + "\n"

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            error = record.exc_info[1] if record.exc_info else None
            if error is None or tracebacks:
                return printable(super().format(record))
            from repcore.data.guard import error_in_words  # whoever logs an error has paid for this import

            return printable(f"{record.getMessage()}: {error_in_words(error)}")

    warnings.formatwarning = shown
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Formatter())
