"""Figures as plain plotly JSON, without colours: the page's script fills these in for light and dark screens.

A trace names its role (``meta.role``: train, validation, reference, plain, pairs, near), a shape its meaning
(``name``: warning, collapsed).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from repcore.report.collect import RunRecord, Series, finite_series, number
from repcore.report.guides import Guide, guide_of
from repcore.report.neighbours import Neighbourhood
from repcore.untrusted import printable

BINS = 60
LEFT_OUT = 0.01  # of all pairs, the least similar ones: a long tail would squeeze the rest into one bar
MOST_POINTS = 2000  # of one curve; longer ones are averaged, which no screen can tell


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing of the page.

    Args:
        name: identifier inside the page.
        title: heading.
        caption: what to look for.
        alt: what it shows, in words, for those who cannot see it.
        spec: plotly's ``data`` and ``layout``.
        is_loss: may be switched to a logarithmic axis.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: Mapping[str, Any]
    is_loss: bool = False

    def __post_init__(self) -> None:
        """A name from a received record is the same in markup and in data: neither keeps all control characters."""
        object.__setattr__(self, "name", printable(self.name))


def curves(record: RunRecord) -> list[Figure]:
    """Losses, terms and metrics of both splits, then learning rate, gradient norm, throughput and data wait."""
    found = [_measured(record, name) for name in distinct_measures(record)]
    for name, title, unit, caption in (
        ("lr", "Learning rate", "", "As scheduled."),
        ("grad_norm", "Gradient norm", "", "Before clipping. Spikes that grow announce divergence."),
        ("items_per_second", "Throughput", "items/s", "Items of all devices together."),
        ("data_wait_share", "Waiting for data", "share", "Share of the time in which the device waits. Aim: near 0."),
    ):
        series = record.series("train", name)
        if series[0]:
            axis: dict[str, Any] = {"title": unit} if unit else {}
            axis |= {"range": [0, 1]} if unit == "share" else {"rangemode": "tozero"}
            spec = {"data": [line(series, title, "plain")], "layout": {"yaxis": axis, "showlegend": False}}
            found.append(Figure(f"curve-{name}", title, caption, in_words(title, series), spec))
    return [one for one in found if one.spec["data"]]


def distinct_measures(record: RunRecord) -> list[str]:
    """Names of what was measured, without terms that are the total under another name."""
    names = record.measured()
    total = [record.series(split, "loss") for split in ("train", "validation")]
    same = [
        name
        for name in names
        if name != "loss" and [record.series(split, name) for split in ("train", "validation")] == total
    ]
    return [name for name in names if name not in same]


def readable(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ").replace("-", " ").replace("/", ", ")


def _measured(record: RunRecord, name: str) -> Figure:
    is_loss = name == "loss" or "loss" in name
    title = "Loss" if name == "loss" else readable(name).capitalize()
    traces, words = [], []
    for split in ("train", "validation"):
        series = record.series(split, name)
        if series[0]:
            traces.append(line(series, split, split))
            words.append(in_words(f"{split} {readable(name)}", series))
    reference = record.baseline(name)
    caption = "Training: mean over the steps between two points." if name == "loss" else ""
    if math.isfinite(reference) and traces:
        steps = [step for trace in traces for step in trace["x"]]
        level = line(([min(steps), max(steps)], [reference] * 2), f"baseline {reference:.3g}", "reference")
        traces.append(level | {"mode": "lines"})
        words.append(f"The baseline is {reference:.4g}.")
    return Figure(f"curve-{name}", title, caption, " ".join(words), {"data": traces, "layout": {}}, is_loss)


def line(series: Series, name: str, role: str) -> dict[str, Any]:
    """A curve as plotly draws it; ``role`` decides its colour."""
    steps, values = thinned(series)
    mode = "lines+markers" if len(steps) <= 40 else "lines"
    return {
        "type": "scatter",
        "x": steps,
        "y": [float(f"{value:.6g}") for value in values],
        "mode": mode,
        "name": escape(name),
        "meta": {"role": role},
    }


def thinned(series: Series) -> Series:
    """At most ``MOST_POINTS`` points: means over equal runs of points, at the last step of each."""
    steps, values = series
    if len(steps) <= MOST_POINTS:
        return series
    groups = np.array_split(np.arange(len(steps)), MOST_POINTS)
    return [steps[group[-1]] for group in groups], [float(np.mean(np.asarray(values)[group])) for group in groups]


def in_words(what: str, series: Series) -> str:
    """A curve in a sentence: from where to where."""
    steps, values = series
    if len(values) == 1:
        return f"{what}: {values[0]:.4g} at step {steps[0]:.0f}."
    way = "falls" if values[-1] < values[0] else "rises" if values[-1] > values[0] else "stays"
    return f"{what} {way} from {values[0]:.4g} at step {steps[0]:.0f} to {values[-1]:.4g} at step {steps[-1]:.0f}."


# ------------------------------------------------------------------------------------------- diagnostics


def diagnostic_figures(record: RunRecord, names: Sequence[str]) -> list[Figure]:
    """One figure a diagnostic, with the zones in which the verdict speaks of a warning or of collapse."""
    found = []
    for name in names:
        series = finite_series(record.diagnostics, name)
        if not series[0]:
            continue
        guide = guide_of(name)
        start = {key: number(value) for key, value in record.diagnostics[0].items()}
        data = [line(series, guide.title, "plain")]
        # from zero, so that a small change looks small
        axis = {"rangemode": "tozero"} if any(series[1]) else {"range": [0, 1]}
        layout: dict[str, Any] = {"showlegend": False, "shapes": _zones(guide, start, series), "yaxis": axis}
        reference = finite_series(record.diagnostics, guide.reference) if guide.reference else ([], [])
        if reference[0]:
            data.append(line(reference, guide.reference_title, "reference") | {"mode": "lines"})
            layout["showlegend"] = True
        alt = in_words(guide.title, series)
        found.append(Figure(f"diagnostic-{name}", guide.title, guide.meaning, alt, {"data": data, "layout": layout}))
    return found


def _zones(guide: Guide, start: Mapping[str, float], series: Series) -> list[dict[str, Any]]:
    """Rectangles behind the curve, left out where they lie so far above that they would squeeze it flat."""
    low, high = min(0.0, *series[1]), max(series[1])
    sight = high + (high - low or 1.0)
    found = []
    for meaning, (bottom, top) in guide.zones(start).items():
        first = low if bottom is None else bottom
        last = max(1.1 * high, 1.2 * first) if top is None else top
        if math.isfinite(first) and math.isfinite(last) and first < min(last, sight):
            found.append({"name": meaning, "y0": first, "y1": min(last, sight)})
    fixed = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "layer": "below", "line": {"width": 0}}
    return [{**fixed, **one} for one in found]


# ------------------------------------------------------------------------------------------ similarities


def similarity_figure(near: Neighbourhood) -> Figure:
    """Cosine similarity of neighbours beside that of all pairs."""
    low = min(float(np.quantile(near.pair_sample, LEFT_OUT)), float(near.near_sample.min()))
    high = max(float(near.pair_sample[-1]), float(near.near_sample.max()))
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    data = []
    for values, name, role in (
        (near.pair_sample, "all pairs", "pairs"),
        (near.near_sample, "nearest neighbours", "near"),
    ):
        counts = np.histogram(values, edges)[0] / len(values)
        data.append(
            {
                "type": "bar",
                "x": [float(f"{one:.5g}") for one in (edges[:-1] + edges[1:]) / 2],
                "y": [float(f"{one:.4g}") for one in counts],
                "name": name,
                "meta": {"role": role},
            }
        )
    layout = {
        "barmode": "overlay",
        "bargap": 0,
        "xaxis": {"title": "cosine similarity"},
        "yaxis": {"title": "share of each", "rangemode": "tozero"},
    }
    alt = (
        f"All pairs have a mean cosine similarity of {near.pair_mean:.3f} (sd {near.pair_deviation:.3f}); "
        f"nearest neighbours of {near.near_mean:.3f}."
    )
    caption = (
        f"The further apart the two, the more the neighbourhoods mean. The lowest {LEFT_OUT:.0%} of pairs is not shown."
    )
    return Figure(
        "similarity", "Similarity of neighbours and of all pairs", caption, alt, {"data": data, "layout": layout}
    )
