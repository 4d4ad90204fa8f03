"""Rows whose sizes lie so far from the others that they are most likely written in another unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

APART = 30.0  # times, between the two groups: a metre has 39 inches, 100 centimetres, 1,000 millimetres
WITHIN = 10.0  # times, inside of each group


def other_unit(name: str, ids: Sequence[str], values: Sequence[float]) -> str:
    """What to say where sizes fall into two groups that lie far apart; empty where they do not.

    Args:
        name: of the size, in words.
        ids: of the rows. values: one size a row, in the same order; those that are not above 0 are left out.
    """
    sizes = np.asarray(values, np.float64)
    kept = np.flatnonzero(np.isfinite(sizes) & (sizes > 0))
    if len(kept) < 2:
        return ""
    order = kept[np.argsort(sizes[kept], kind="stable")]
    logs = np.log10(sizes[order])
    cut = int(np.argmax(np.diff(logs))) + 1
    low, high = logs[:cut], logs[cut:]
    if high[0] - low[-1] < np.log10(APART) or max(np.ptp(low), np.ptp(high)) > np.log10(WITHIN):
        return ""
    fewer, more = (order[:cut], order[cut:]) if cut <= len(order) - cut else (order[cut:], order[:cut])
    shown = ", ".join(f"{ids[row]} {sizes[row]:.4g}" for row in fewer[:3]) + (", ..." if len(fewer) > 3 else "")
    times = 10 ** abs(np.median(np.log10(sizes[fewer])) - np.median(np.log10(sizes[more])))
    return (
        f"{len(fewer)} of {len(kept)} rows have another {name} ({shown}) than the others "
        f"({sizes[more].min():.4g} to {sizes[more].max():.4g}), about {times:,.0f} times: another unit?"
    )
