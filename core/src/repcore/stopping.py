"""Requests to stop: Ctrl-C, and the signals with which clusters, containers and terminals end a process.

Work that can be left in order takes a request at its next border (an optimiser step, a window of rows)::

    with stopping.noted() as stop:
        for window in windows:
            write(window)
            stop.obey(saved="rows so far are kept")

Anywhere else a request ends the command at once. Where Python itself holds an exception back (a finaliser, a callback
of a weak reference or of the garbage collector), it is raised again a moment later, outside of that; while modules are
imported, it waits for the end of that. Either way the command line says how to go on and exits with 128 + signal, so
that whoever sent the signal sees that it was obeyed. A second Ctrl-C never waits. SIGQUIT (Ctrl-\\) is none of them: it
ends a process at once and, where the system is set up so, with a core dump, for those who debug.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

from repcore.errors import errors_behind

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")  # SIGQUIT keeps its meaning, a core dump
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
WORDS = {"SIGINT": "Ctrl-C"}
AGAIN_SECONDS = 0.02
IMPORT_SECONDS = 30.0
AT_ONCE = "left in the middle of a step; what was saved before is kept"


class Stopped(KeyboardInterrupt):
    """Work was left because of a signal. Like Ctrl-C it is no ``Exception``: what holds back failures of one item or
    plugin lets it through.

    Args:
        number: the signal.
        saved: what is kept, as a sentence; empty if nothing has to be.
        command: what to type to go on; None = the same command again.
    """

    def __init__(self, number: int, saved: str = "", command: str | None = None) -> None:
        self.number, self.saved, self.command = number, saved, command
        super().__init__(signal_words(number))

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells have it."""
        return 128 + self.number


def stopped_behind(error: BaseException | None) -> Stopped | None:
    """The request behind an error: click and Lightning end with exceptions of their own after a KeyboardInterrupt."""
    return next((one for one in errors_behind(error) if isinstance(one, Stopped)), None)


def signal_words(number: int) -> str:
    """``Ctrl-C``, ``SIGTERM``, ..."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return WORDS.get(name, name)


class StopNote:
    """Whether a request has come.

    Args:
        say: told once that a request has come and that the work goes on to its next border.
        grace: seconds until that border; then the work is left where it is. None = however long it takes.
    """

    def __init__(self, say: Callable[[str], None] | None = None, grace: float | None = None) -> None:
        self.number = 0
        self._say, self._grace = say, grace

    @property
    def asked(self) -> bool:
        return self.number != 0

    def obey(self, saved: str = "", command: str | None = None) -> None:
        """Leave here if a request has come.

        Raises:
            Stopped: one has.
        """
        if self.asked:
            raise Stopped(self.number, saved, command)

    def handle(self, number: int, frame: types.FrameType | None) -> None:
        """Take note; a second Ctrl-C, or the end of the grace, leaves at once."""
        if self.asked:
            if number in (signal.SIGINT, signal.SIGALRM):
                raise Stopped(self.number if number == signal.SIGALRM else number, AT_ONCE)
            return
        self.number = number
        if self._grace is not None:
            signal.signal(signal.SIGALRM, self.handle)
            signal.setitimer(signal.ITIMER_REAL, self._grace)
        if self._say is not None:
            self._say(f"{signal_words(number)}: finishing what is in hand, then saving (Ctrl-C once more: at once)")

    def claim(self) -> None:
        """Take the signals (again), for example from a library that has put its own handlers in their place."""
        _install(self.handle)


def _at_once(number: int, frame: types.FrameType | None) -> None:
    if _Guard.current is None:
        raise Stopped(number)
    _Guard.current.request(number, frame)


def _imports(frame: types.FrameType | None) -> int:
    """How deep in imports a frame is."""
    depth = 0
    while frame is not None:
        depth += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return depth


class _Guard:
    """Requests that cannot be raised where they came, and those that were raised and perhaps lost.

    Inside of an import, a library may hold back what a handler raises and import its parts a second time, which fails
    in ways of their own; in ``__del__`` and such callbacks it goes to ``sys.unraisablehook``, and the work would go on
    as if nobody had asked. Both are raised a moment later, outside of that. Where a system has no such timer, a request
    is raised where it comes.
    """

    current: _Guard | None = None

    def __init__(self) -> None:
        self.waiting: Stopped | None = None
        self.raised: Stopped | None = None
        self._imports, self._since, self._hook = _imports(sys._getframe()), 0.0, sys.unraisablehook
        self._alarm = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
        self._armed = False

    def request(self, number: int, frame: types.FrameType | None) -> None:
        """Raise the request, or let it wait for the end of an import; a second Ctrl-C does not wait."""
        if self.waiting is not None and number != signal.SIGINT:
            return
        request = Stopped(number)
        if self.waiting is None and hasattr(signal, "setitimer") and _imports(frame) > self._imports:
            self._wait(request)
            return
        self._raise(request)

    def _raise(self, request: Stopped) -> NoReturn:
        self.waiting, self.raised = None, request
        raise request

    def _wait(self, request: Stopped) -> None:
        self.waiting, self._since = request, time.monotonic()
        self._arm()

    def _arm(self) -> None:
        if hasattr(signal, "setitimer"):
            self._armed = True
            signal.signal(signal.SIGALRM, self._again)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)

    def _again(self, number: int, frame: types.FrameType | None) -> None:
        if self.waiting is None:
            return
        if _imports(frame) > self._imports and time.monotonic() - self._since < IMPORT_SECONDS:
            self._arm()
            return
        self._raise(Stopped(self.waiting.number, self.waiting.saved, self.waiting.command))

    def heard(self, ignored: Any) -> None:  # sys.UnraisableHookArgs, which only type checkers know
        """What Python had to ignore."""
        request = stopped_behind(ignored.exc_value)
        if request is None:
            self._hook(ignored)
        else:
            self._wait(request)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within it nothing is lost: at the end, what still waits is raised, and an error that follows a request is
        reported as that, unless it is one of the machine (a full disk)."""
        earlier, _Guard.current = _Guard.current, self
        sys.unraisablehook = self.heard
        try:
            yield
            if self.waiting is not None:  # the work ended within that moment
                self._raise(self.waiting)
        except Exception as error:
            lost = self.waiting or self.raised
            if lost is None or any(isinstance(one, OSError) for one in errors_behind(error)):
                raise
            known = stopped_behind(error) or lost
            raise Stopped(known.number, known.saved, known.command) from error
        finally:
            _Guard.current, sys.unraisablehook = earlier, self._hook
            if self._armed:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, self._alarm)


@contextmanager
def noted(say: Callable[[str], None] | None = None, grace: float | None = None) -> Iterator[StopNote]:
    """Within it a request is noted and the work goes on to its next border. Outside the main thread nothing changes.

    Args:
        say, grace: as in :class:`StopNote`.
    """
    note = StopNote(say, grace)
    previous = _install(note.handle)
    try:
        yield note
    finally:
        if grace is not None and note.asked:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _restore(previous)


@contextmanager
def going_on_with(command: Callable[[], str | None], saved: Callable[[], str] | None = None) -> Iterator[None]:
    """Within it, a request that leaves the work where it is says how to go on, unless it knows that already.

    Args:
        command: what to type, asked for when a request has come; None = the same command again.
        saved: what is kept, where the request does not know it.
    """
    try:
        yield
    except BaseException as error:
        request = stopped_behind(error)
        if request is not None and request.command is None:
            request.command = command()
            if saved is not None and request.saved in ("", AT_ONCE):
                request.saved = saved()
        raise


@contextmanager
def obeyed() -> Iterator[None]:
    """Within it, and outside :func:`noted`, a request raises :class:`Stopped` (the whole of a command)."""
    previous = _install(_at_once)
    _quiet_children()
    try:
        with _Guard().on() if threading.current_thread() is threading.main_thread() else nullcontext():
            yield
    finally:
        _restore(previous)


def _install(handler: Callable[[int, types.FrameType | None], Any]) -> dict[int, Any]:
    """Handlers that were there before; those that ignore a signal (nohup) keep doing so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    kept = {number for number, old in previous.items() if old is signal.SIG_IGN and number != signal.SIGINT}
    for number in previous.keys() - kept:
        signal.signal(number, handler)
    return {number: old for number, old in previous.items() if number not in kept}


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _quiet_children() -> None:
    """Forked workers leave it to their parent to stop: a signal for the whole group must not kill them in mid-step."""
    if not _quiet_children.done and hasattr(os, "register_at_fork"):  # type: ignore[attr-defined]
        os.register_at_fork(after_in_child=_in_child)
        _quiet_children.done = True  # type: ignore[attr-defined]


_quiet_children.done = False  # type: ignore[attr-defined]


def _in_child() -> None:
    for number in SIGNALS:
        handler = signal.getsignal(number)
        ours = handler is _at_once or isinstance(getattr(handler, "__self__", None), StopNote)
        if ours:
            signal.signal(number, _Patience() if number == signal.SIGTERM else signal.SIG_IGN)


def left_to_parent() -> None:
    """In a worker process whose parent ends it with SIGKILL or by a message: no request to stop is for it.

    A signal for the whole group (Ctrl-C, ``scancel``, systemd) comes to it as well, and its parent needs it until what
    is in hand is finished.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class _Patience:
    """The first SIGTERM may have been meant for the parent, which then ends its workers; the second is for us."""

    def __call__(self, number: int, frame: types.FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
