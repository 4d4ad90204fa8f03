"""Steps of time: the usual one near a measured one, lines put into steps, an hour that summer time skips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from repcore.data.accounting import Accounting
from repcore.errors import ItemError
from repcore_timeseries.formats.times import NS, step_words

USUAL = np.sort(
    np.concatenate([
        np.outer([10**6, 10**7, 10**8], [1, 2, 4, 5]).ravel(),
        np.outer([NS, 60 * NS], [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]).ravel(),
        3600 * NS * np.array([1, 2, 3, 4, 6, 8, 12, 24, 7 * 24]),
    ])
)  # fmt: skip
NEAR_USUAL = 0.02  # of a step: a clock that is a little off
ABOUT_A_STEP = 0.75  # of a step between lines by median, from which on a line is one step
PHASES = 60  # of a step, at which a grid may begin
EVEN = 0.5  # length of the mean direction of phases below which lines have no common one
HOUR = 3600 * NS


class Bins(NamedTuple):
    """Step (N,) of each line, and the times (T,) of all steps."""

    place: np.ndarray
    grid: np.ndarray


def usual_step(step: float) -> float:
    """The step in round numbers where one is near; else as it is."""
    nearest = float(USUAL[np.abs(USUAL - step).argmin()])
    return nearest if abs(nearest - step) <= NEAR_USUAL * nearest else step


def binned(times: np.ndarray, step: int, account: Accounting) -> Bins:
    """Lines of one step each go to the nearest step of a grid that begins where theirs does; more frequent ones into
    bins [k step, (k + 1) step).

    Args:
        times: int64 (N,), rising.

    Raises:
        ItemError: ``irregular``: far more steps than lines.
    """
    apart = np.diff(times)
    begins, half = 0, 0
    if len(apart) and np.median(apart) >= ABOUT_A_STEP * step:
        begins, half = _phase(times, step), step // 2
    place = (times - begins + half) // step
    first, place = int(place[0]), place - place[0]
    if place[-1] + 1 > max(1_000, 1_000 * len(times)):
        raise ItemError(
            "irregular", f"resample={step_words(step)} would make {place[-1] + 1} steps of {len(times)} lines"
        )
    if half:
        shared = len(times) - len(np.unique(place))
        account.note(
            f"each line goes to the nearest step of {step_words(step)}; {shared:,} share one with another line"
        )
    return Bins(place, (first + np.arange(place[-1] + 1)) * step + begins)


def _phase(times: np.ndarray, step: int) -> int:
    """Where in a step lines lie, in sixtieths; 0 where they lie anywhere."""
    mean = np.exp(2j * np.pi * (times % step) / step).mean()
    if abs(mean) < EVEN:
        return 0
    return int(round(np.angle(mean) / (2 * np.pi) * PHASES) * step / PHASES)


def skips_an_hour(times: np.ndarray) -> bool:
    """Whether lines at most an hour apart leave out one hour in the night to a Sunday, at most once a year."""
    ordered = np.unique(times)
    apart = np.diff(ordered)
    if not len(apart) or np.median(apart) > HOUR:
        return False
    gaps = np.flatnonzero(np.abs(apart - np.median(apart) - HOUR) < 0.1 * np.median(apart))
    hours = ordered[gaps] // HOUR
    sunday_nights = ((hours // 24 + 4) % 7 == 0) & (hours % 24 <= 3)  # 1970-01-01 was a Thursday
    years = 1 + (ordered[-1] - ordered[0]) // (300 * 24 * HOUR)
    return bool(0 < sunday_nights.sum() <= years)
