"""Points that a file marks as no part of the cloud: rows stay where they are, so that answers keep the file's order.

LAS (ASPRS, versions 1.1 to 1.4) marks points as *withheld* (deleted: no part of any processing), *synthetic* (made
otherwise than by the scan) and *overlap* (where swaths lie over each other); text exports have columns of these names.
Withheld points are left out unless asked for; the others are real places and stay.

Symbols: n points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Flag = Literal["withheld", "synthetic", "overlap"]
FLAGS: tuple[Flag, ...] = ("withheld", "synthetic", "overlap")
LEFT_OUT: tuple[Flag, ...] = ("withheld",)
SETTING = "dataset.flags_left_out"


def marked(columns: Mapping[str, np.ndarray], left_out: Sequence[str]) -> tuple[np.ndarray | None, list[str]]:
    """Points that are left out, bool (n,), None where there are none; and a sentence for each flag that is set.

    Args:
        columns: plain name -> values (n,). A column counts as a flag where it holds 0 and 1 only.
        left_out: flags whose points are left out.
    """
    found: np.ndarray | None = None
    notes: list[str] = []
    for name in FLAGS:
        values = columns.get(name)
        if values is None or values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
            continue
        is_set = values == 1
        count, total = int(is_set.sum()), len(is_set)
        if not count:
            continue
        told = f"{count:,} of {total:,} points are flagged {name} and are"
        if name in left_out:
            found = is_set if found is None else found | is_set
            kept = ",".join(one for one in left_out if one != name)
            notes.append(f"{told} left out; {SETTING}=[{kept}] keeps them")
        else:
            also = ",".join((*left_out, name))
            notes.append(f"{told} kept; {SETTING}=[{also}] leaves them out")
    return found, notes
