"""One line that says whether a run learns or collapses: figures now against figures at step 0 on the same data.

An untrained encoder is the right baseline because absolute values depend on the architecture: a random transformer
may well have a standard deviation of 0.1 or an effective rank of a third of its width. Absolute bounds exist only where
no healthy encoder can be. The thresholds are the constants below; each has its reason beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["healthy", "warning", "collapsed"]
Finding = tuple[Level, str]
LEVELS: tuple[Level, ...] = ("healthy", "warning", "collapsed")

STD_FLOOR = 0.02  # unit vectors within about 1 degree of each other
STD_ROUNDING = 1e-3  # differences ten times as large as those that count as none: below, a rank may be that of rounding
STD_COLLAPSED = 0.25  # of step 0; training normally raises it
STD_WARNING = 0.5
RANK_FLOOR = 1.5  # one direction carries everything
RANK_COLLAPSED = 0.1  # of step 0; learned features are less white than random ones, a tenth is not that
RANK_WARNING = 0.3
RANK_KEPT = 0.99  # of step 0: below, a narrow cone has lost rank, above, the difference is rounding
DEAD_COLLAPSED = 0.5  # share of the dimensions that died since step 0
DEAD_WARNING = 0.1
DUPLICATES_COLLAPSED = 0.5  # share of rows that found a twin since step 0
DUPLICATES_WARNING = 0.1
ALPHA_WARNING = 3.0  # far above 1, and above step 0 by half
ALPHA_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the figures say.

    Args:
        level: healthy, warning or collapsed (the worst of the reasons).
        reasons: one sentence each, worst first; empty when healthy.
        figures: those that were judged.
    """

    level: Level
    reasons: tuple[str, ...]
    figures: Mapping[str, float]

    @property
    def line(self) -> str:
        """One line for the console and ``metrics.jsonl``."""
        shown = ", ".join(
            f"{title} {self.figures[name]:.3g}"
            for name, title in (("rankme-centred", "rank"), ("std", "std"), ("uniformity", "uniformity"))
            if not math.isnan(self.figures.get(name, math.nan))
        )
        reason = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.level}{reason}" + (f" ({shown})" if shown else "")


def judge(
    now: Mapping[str, float], start: Mapping[str, float] | None = None, further: Sequence[Finding] = ()
) -> Verdict:
    """Compare figures of :func:`repcore.diagnostics.metrics.diagnose` with those of the untrained encoder.

    Args:
        now: figures to judge.
        start: figures at step 0, or of a random-init encoder, on the same data; None judges by the absolute bounds
            only.
        further: what else is known to be wrong, for example parameters that have not changed.
    """
    found = [*further, *_broken(now), *_spread(now, start), *_rank(now, start)]
    found += [*_losses(now, start), *_decay(now, start)]
    found.sort(key=lambda one: -LEVELS.index(one[0]))
    level: Level = found[0][0] if found else "healthy"
    return Verdict(level, tuple(reason for _, reason in found), dict(now))


def _broken(now: Mapping[str, float]) -> list[Finding]:
    count = int(now.get("nonfinite", 0.0))
    if count:
        return [("collapsed", f"{count} embedding values are NaN or Inf")]
    if now.get("rows", 3.0) < 3:
        return [("warning", f"only {int(now['rows'])} rows: too few to judge")]
    return []


def _ratio(now: Mapping[str, float], start: Mapping[str, float] | None, name: str) -> float:
    """Now over step 0; NaN when either is unknown or step 0 was 0."""
    before = start.get(name, math.nan) if start is not None else math.nan
    return now.get(name, math.nan) / before if before else math.nan


def _spread(now: Mapping[str, float], start: Mapping[str, float] | None) -> list[Finding]:
    deviation, ratio = now.get("std", math.nan), _ratio(now, start, "std")
    versus = f", {ratio:.2g} of step 0" if not math.isnan(ratio) else ""
    is_low = deviation < STD_FLOOR and not ratio >= 1.0  # one that starts below the floor is narrow by construction
    if not is_low and (ratio >= STD_WARNING or math.isnan(ratio)):
        return []
    if not is_low and ratio >= STD_COLLAPSED:
        return [("warning", f"items move together (std {deviation:.2g}{versus})")]
    kept = _ratio(now, start, "rankme-centred")
    # a narrow cone, richer inside than before, as reconstruction makes it; collapse loses rank or leaves only rounding
    if kept >= RANK_KEPT and deviation >= STD_ROUNDING:
        text = f"items share one large direction (std {deviation:.2g}{versus}) but differ in as much as before or more"
        return [("warning", f"{text} (rank {kept:.2g} of step 0): take the mean away before comparing angles")]
    return [("collapsed", f"items lie almost on one point (std {deviation:.2g}{versus})")]


def _rank(now: Mapping[str, float], start: Mapping[str, float] | None) -> list[Finding]:
    rank, ratio = now.get("rankme-centred", math.nan), _ratio(now, start, "rankme-centred")
    versus = f", {ratio:.2g} of step 0" if not math.isnan(ratio) else ""
    text = f"features span few directions (effective rank {rank:.3g}{versus})"
    if (rank < RANK_FLOOR and now.get("dimensions", 2.0) > 1) or ratio < RANK_COLLAPSED:
        return [("collapsed", text)]
    return [("warning", text)] if ratio < RANK_WARNING else []


def _losses(now: Mapping[str, float], start: Mapping[str, float] | None) -> list[Finding]:
    """Dimensions and items lost since step 0."""
    before = start or {}
    width = now.get("dimensions", math.nan)
    findings: list[Finding] = []
    for name, share, limits, text in (
        (
            "dead-dimensions",
            (now.get("dead-dimensions", 0.0) - before.get("dead-dimensions", 0.0)) / width,
            (DEAD_WARNING, DEAD_COLLAPSED),
            "{value:.0f} of {width:.0f} dimensions are constant",
        ),
        (
            "duplicates",
            now.get("duplicates", 0.0) - before.get("duplicates", 0.0),
            (DUPLICATES_WARNING, DUPLICATES_COLLAPSED),
            "{percent:.0f} % of the items share their embedding with another",
        ),
    ):
        value = now.get(name, 0.0)
        if share >= limits[0]:
            level: Level = "collapsed" if share >= limits[1] else "warning"
            findings.append((level, text.format(value=value, width=width, percent=100 * value)))
    return findings


def _decay(now: Mapping[str, float], start: Mapping[str, float] | None) -> list[Finding]:
    alpha, ratio = now.get("alpha-req", math.nan), _ratio(now, start, "alpha-req")
    if alpha > ALPHA_WARNING and not ratio < ALPHA_GROWTH:
        return [("warning", f"the spectrum decays fast (alpha {alpha:.2g}; near 1 is healthy)")]
    return []
