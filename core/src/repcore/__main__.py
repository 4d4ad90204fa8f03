"""``repcore`` and ``python -m repcore``: a Ctrl-C while the command line is still being imported is obeyed in words."""

from __future__ import annotations

import atexit
import gc
import sys


def main() -> None:
    """Entry point of the console script."""
    atexit.register(gc.freeze)  # runs last: searching a million objects for cycles before they all go takes seconds
    try:
        from repcore.cli.main import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("stopped by Ctrl-C before anything was begun\n")
        raise SystemExit(130) from None
    command_line()


if __name__ == "__main__":
    main()
