"""Local times of a place to UTC: an hour that comes twice when summer time ends is told apart by the order of lines."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from repcore.errors import DataError, ItemError

NS = 10**9


@lru_cache(maxsize=8)
def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        DataError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(
            f"zone={name!r} is no time zone that this machine knows", expected="a name such as Europe/Berlin or UTC",
            hint="pip install tzdata, where the system has no time zones",
        ) from None  # fmt: skip


def in_utc(local: np.ndarray, channel: np.ndarray | None, name: str) -> np.ndarray:
    """int64 (N,) nanoseconds in UTC of local ones, in the order of their lines.

    Args:
        channel: of each line of a long table, since each channel has its own order.

    Raises:
        ItemError: ``no_such_time``: the zone skips it; ``ambiguous_time``: it has it twice, the lines only once.
    """
    zone = zone_of(name)
    seconds, place = np.unique(local // NS, return_inverse=True)
    first, second, exists = (np.empty(len(seconds), kind) for kind in (np.int64, np.int64, bool))
    for number, one in enumerate(seconds.tolist()):
        naive = datetime(1970, 1, 1) + timedelta(seconds=one)
        offsets = [naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
        first[number], second[number] = (int(offset.total_seconds()) for offset in offsets)
        exists[number] = offsets[0] >= offsets[1]  # skipped times have the smaller offset first
    if not exists[place].all():
        raise ItemError(
            "no_such_time", f"{_words(local[~exists[place]][0])} is skipped in {name}, where summer time begins"
        )
    fold = np.zeros(len(local), bool)
    doubtful = (first != second)[place]
    for own in (
        [np.arange(len(local))] if channel is None else [np.flatnonzero(channel == one) for one in np.unique(channel)]
    ):
        fold[own] = _second_pass(local[own], doubtful[own], name)
    return np.asarray(local - np.where(fold, second[place], first[place]) * NS)


def _second_pass(local: np.ndarray, doubtful: np.ndarray, name: str) -> np.ndarray:
    """Which lines of one channel lie in the second of two equal hours: those from where times fall or repeat."""
    fold = np.zeros(len(local), bool)
    rows = np.flatnonzero(doubtful)
    for run in np.split(rows, np.flatnonzero(np.diff(local[rows]) > 6 * 3600 * NS) + 1):
        if not len(run):
            continue
        turns = np.flatnonzero(np.diff(local[run]) <= 0) + 1
        if len(turns) != 1:
            raise ItemError(
                "ambiguous_time",
                f"{_words(local[run[0]])} comes twice in {name}, and the lines do not tell which is meant",
            )
        fold[run[turns[0] :]] = True
    return fold


def _words(time: int) -> str:
    return str(np.datetime64(int(time), "ns").astype("datetime64[s]"))
