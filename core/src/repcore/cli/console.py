"""All printing of the command line: tables, messages, progress. rich is imported only for a terminal.

The one way to a terminal: text from files and settings loses its control characters here, a stream that cannot show a
letter gets its code, and a terminal that has gone away ends no work.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from repcore.errors import shortened
from repcore.files import as_strict
from repcore.launching import is_first_process
from repcore.untrusted import printable


def is_terminal() -> bool:
    """Whether standard output is looked at by a person."""
    return sys.stdout.isatty()


def open_missing_streams() -> None:
    """Stand-ins for standard streams that whoever started this process has closed (``>&-``, some daemons).

    Python then has None in their place, and the next file that is opened gets their number, so that what a library
    prints would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  until the end


def say(text: str = "") -> None:
    """One line on standard output, without the middle of a very long list.

    Raises:
        BrokenPipeError: nobody reads it any more (``| head``).
    """
    _write(sys.stdout, shortened(text))


def complain(text: str) -> None:
    """One message on standard error; lost if that has been closed, since work must not end for a message."""
    try:
        _write(sys.stderr, shortened(text))
    except (OSError, ValueError):
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the end


def show_trace() -> None:
    """Where the error that is being handled arose, on standard error."""
    _write(sys.stderr, traceback.format_exc().rstrip())


def _write(stream: TextIO, text: str) -> None:
    line = printable(text) + "\n"
    try:
        stream.write(line)
    except UnicodeEncodeError:  # LANG=C
        stream.write(line.encode(stream.encoding or "ascii", "backslashreplace").decode(stream.encoding or "ascii"))
    stream.flush()


def show_json(value: Any) -> None:
    """JSON on standard output; numbers that are not finite are ``null``, as strict readers know no others."""
    _write(sys.stdout, json.dumps(as_strict(value, str), indent=1, allow_nan=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table: drawn for a terminal; tab-separated, untruncated and uncoloured otherwise."""
    cells = [[_cell(value) for value in row] for row in rows]
    headers = [printable(header) for header in headers]
    if not is_terminal():
        _write(sys.stdout, "\t".join(headers))
        for row in cells:
            _write(sys.stdout, "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=printable(title) or None, box=box.SIMPLE_HEAD, title_justify="left", header_style="bold", pad_edge=False
    )
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(shortened(cell)) for cell in row))
    Console().print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value))


class ConsoleReporter:
    """Messages on standard error; a live bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None  # rich.progress.Progress
        self._task: Any = None
        self._label = ""
        self._started = 0.0
        self._last_line = 0.0
        self._first_done = 0

    def info(self, text: str) -> None:
        self._line(text)

    def warn(self, text: str) -> None:
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        if not is_first_process():  # one process speaks for a run on several devices
            return
        if self._bar is not None:
            self._bar.console.print(printable(shortened(text)), markup=False, highlight=False, soft_wrap=True)
        else:
            complain(text)

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        if not is_first_process():
            return
        now, label, detail = time.perf_counter(), printable(label), printable(detail)
        if label != self._label:
            self._end_bar()
            self._label, self._started, self._last_line, self._first_done = label, now, now, done
        if sys.stderr.isatty():
            self._draw(label, done, total, detail)
        elif now - self._last_line >= 10.0 and done < total:
            self._last_line = now
            complain(f"{label}: {done:,} of {total:,}  {detail}  {self._remaining(done, total, now)}".rstrip())
        if total and done >= total:
            self._end_bar()
            self._label = ""

    def _remaining(self, done: int, total: int, now: float) -> str:
        made = done - self._first_done
        return f"ETA {duration((now - self._started) / made * (total - done))}" if made > 0 else ""

    def _draw(self, label: str, done: int, total: int, detail: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(label, total=total, detail=detail)
        self._bar.update(self._task, completed=done, total=total, detail=detail)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        """Leave the terminal in order."""
        self._end_bar()


def duration(seconds: float) -> str:
    """Seconds as people read them: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
