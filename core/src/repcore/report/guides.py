"""How to read each diagnostic: what it measures, when it is healthy, and where the verdict draws its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from repcore.diagnostics import verdict

Zones = Mapping[str, tuple[float | None, float | None]]
"""``warning`` / ``collapsed`` -> (lower end, upper end); None = open."""


def _no_zones(start: Mapping[str, float]) -> Zones:
    return {}


@dataclass(frozen=True, slots=True)
class Guide:
    """What a reader needs beside a figure.

    Args:
        title: for people.
        meaning: one or two sentences.
        healthy: the healthy range in words.
        zones: bounds from the figures at step 0.
        reference / reference_title: another figure drawn as a line to compare with.
    """

    title: str
    meaning: str
    healthy: str
    zones: Callable[[Mapping[str, float]], Zones] = _no_zones
    reference: str = ""
    reference_title: str = ""


def _below(name: str, warning: float, collapsed: float, floor: float) -> Callable[[Mapping[str, float]], Zones]:
    """Zones under shares of the value at step 0."""

    def zones(start: Mapping[str, float]) -> Zones:
        first = start.get(name, 0.0)
        worst = max(collapsed * first, floor)
        return {"warning": (worst, warning * first), "collapsed": (None, worst)}

    return zones


def _above(name: str, warning: float, collapsed: float, per: str = "") -> Callable[[Mapping[str, float]], Zones]:
    """Zones above the value at step 0 by amounts, or by shares of the figure ``per``."""

    def zones(start: Mapping[str, float]) -> Zones:
        first, scale = start.get(name, 0.0), start.get(per, 1.0) if per else 1.0
        worst = first + collapsed * scale
        return {"warning": (first + warning * scale, worst), "collapsed": (worst, None)}

    return zones


def _steep(start: Mapping[str, float]) -> Zones:
    return {"warning": (max(verdict.ALPHA_WARNING, verdict.ALPHA_GROWTH * start.get("alpha-req", 0.0)), None)}


GUIDES: Mapping[str, Guide] = {
    "rankme-centred": Guide(
        "Effective rank",
        "How many directions the embeddings spread over once their mean is taken away.",
        f"above {verdict.RANK_WARNING:g} of step 0; learned features are less white than random ones, so some fall "
        f"is normal. Below {verdict.RANK_COLLAPSED:g} of step 0 is collapse",
        _below("rankme-centred", verdict.RANK_WARNING, verdict.RANK_COLLAPSED, verdict.RANK_FLOOR),
    ),
    "std": Guide(
        "Spread on the sphere",
        "Standard deviation of unit vectors over the items: 1 = evenly spread, 0 = all items on one point.",
        f"above {verdict.STD_WARNING:g} of step 0. Below {verdict.STD_COLLAPSED:g} of step 0 is collapse",
        _below("std", verdict.STD_WARNING, verdict.STD_COLLAPSED, verdict.STD_FLOOR),
    ),
    "uniformity": Guide(
        "Uniformity",
        "Log mean Gaussian potential of all pairs: 0 = one point, lower = more spread (Wang and Isola 2020).",
        "falling or steady; no trained encoder reaches the value of an even sphere",
        reference="uniformity-of-sphere",
        reference_title="even sphere",
    ),
    "alpha-req": Guide(
        "Spectrum decay (alpha-ReQ)",
        "How fast the variance falls from one direction to the next: near 1 is rich, far above 1 is thin.",
        f"near 1; above {verdict.ALPHA_WARNING:g} and {verdict.ALPHA_GROWTH:g} times step 0 is a warning",
        _steep,
    ),
    "rankme": Guide(
        "RankMe",
        "Effective rank without centring, as published (Garrido et al. 2023). A large common offset lowers it.",
        "compare between runs on the same data, not with the width",
    ),
    "dead-dimensions": Guide(
        "Dead dimensions",
        "Features that are the same for every item.",
        f"0; {verdict.DEAD_WARNING:.0%} of the width more than at step 0 is a warning",
        _above("dead-dimensions", verdict.DEAD_WARNING, verdict.DEAD_COLLAPSED, "dimensions"),
    ),
    "duplicates": Guide(
        "Duplicates",
        "Share of different items that landed on the same point as another.",
        f"near 0; {verdict.DUPLICATES_WARNING:g} more than at step 0 is a warning",
        _above("duplicates", verdict.DUPLICATES_WARNING, verdict.DUPLICATES_COLLAPSED),
    ),
    "hubness": Guide(
        "Hubness",
        "Skew of how often an item is among the 10 nearest of others.",
        "below about 2; above about 5 a few items are everybody's neighbour",
    ),
    "lidar": Guide(
        "LiDAR",
        "Effective rank of the differences between items, measured against the differences between views of one item.",
        "rising or steady (Thilak et al. 2024)",
    ),
    "moved-share": Guide(
        "Changed parameters",
        "Share of the trainable parameters that training has changed by more than weight decay; the rest is named.",
        "1; 0 is a run that learns nothing",
    ),
}
IN_TABLE_ONLY = ("rankme-share", "uniformity-of-sphere", "rows", "dimensions", "nonfinite")


def guide_of(name: str) -> Guide:
    """The guide of a figure; figures of an objective's own get a plain one."""
    plain = name.replace("_", " ").replace("-", " ").capitalize()
    return GUIDES.get(name) or Guide(plain, "Reported by the objective.", "see the objective's documentation")
