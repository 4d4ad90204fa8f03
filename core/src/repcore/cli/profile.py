"""What the work on rows took: seconds on the clock, and processor seconds by stage."""

from __future__ import annotations

import time
from typing import Any

from repcore.data.spent import Meter


class Profile:
    """From now on; said by ``embed`` and ``predict`` when they end."""

    def __init__(self) -> None:
        self._began, self._meter = time.monotonic(), Meter()

    def line(self, rows: int, *, by_stage: bool = True) -> str:
        """A sentence on so many rows.

        Args:
            by_stage: False where others did the work, who hand over no seconds.
        """
        clock, seconds = time.monotonic() - self._began, self._meter.seconds()
        whole, helpers = sum(seconds.values()), self._meter.helpers()
        whom = f" with {helpers} more processes" if helpers > 1 else " with one more process" if helpers else ""
        shares = ", ".join(f"{stage} {one / max(whole, 1e-9):.0%}" for stage, one in seconds.items())
        rate = f"{rows:,} rows by this command in {clock:.1f} s{whom}, {rows / max(clock, 1e-9):,.0f} rows a second"
        return f"{rate}; of {whole:.1f} processor seconds {shares}" if by_stage else rate

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        seconds = {stage: round(one, 3) for stage, one in self._meter.seconds().items()}
        clock = round(time.monotonic() - self._began, 2)
        return {"seconds": clock, "processes": 1 + self._meter.helpers(), "processor_seconds": seconds}
