"""The page of ``repcore compare``: quality beside cost, probes, groups, how alike, and items that divide the models."""

from __future__ import annotations

from pathlib import Path

from repcore.evaluation.metrics import described
from repcore.explore.compare import SideBySide
from repcore.explore.drawing import Album, Render, write_page
from repcore.explore.pareto import pareto
from repcore.interfaces import ReportGroup, ReportSection

ALIKE = (
    "CKA is 1 where one model's vectors are a rotation and scaling of the other's. Overlap is the share of ten nearest "
    "neighbours that both name."
)
GROUPS = (
    "Better and worse are said only where the 95 % interval over test rows excludes 0; among many groups some will by "
    "chance."
)
COSTS = (
    "Times are of this machine at this moment, reading and preparing included; the drawing joins models that no other "
    "beats."
)


def write_comparison(path: Path, found: SideBySide, data: str, render: Render | None) -> None:
    """One self-contained page."""
    sections = [_costs(found), _probes(found), _matrix(found), _groups(found), _alike(found)]
    album = Album()
    items = []
    for one in found.disagreements:
        said = "; ".join(f"{name}: {answer}" for name, answer in one.answers.items())
        items.append(album.item(found.rows.reader, one.row, f"{one.id}. true {one.truth}; {said}"))
    text = "" if items else "The models give the same answers about every test row."
    sections.append(ReportSection("Where they disagree most", text, groups=[ReportGroup("", items)]))
    facts = [
        ("models", ", ".join(found.names)),
        ("data", data),
        ("label", found.target.name),
        ("split", found.table.split),
    ]
    title = " against ".join(found.names)
    write_page(path, title, facts, [one for one in sections if one is not None], album, render)


def _metric(found: SideBySide) -> tuple[str, bool]:
    """Title of the main metric, and whether more is better."""
    first = next(one for one in found.table.entries if one.features == found.names[0] and one.primary)
    return described(first.metric).title + (f" ({first.unit})" if first.unit else ""), first.higher_is_better


def _costs(found: SideBySide) -> ReportSection:
    title, higher = _metric(found)
    points = {
        name: (float(cost["milliseconds_a_row"]), float(cost["quality"]))
        for name, cost in found.costs.items()
        if cost["milliseconds_a_row"] is not None and cost["quality"] is not None
    }
    rows = [("model", title, "ms a row", "parameters", "width")]
    for name, cost in found.costs.items():
        cells = (cost["quality"], cost["milliseconds_a_row"], cost["parameters"], cost["width"])
        words = ["-" if one is None else f"{one:,.0f}" if one >= 1000 else f"{one:.4g}" for one in cells]
        rows.append((name, *words))  # type: ignore[arg-type]
    figure = pareto(points, ("milliseconds a row", title), higher) if len(points) > 1 else None
    return ReportSection("Quality and cost", COSTS, table=rows, figure=figure)


def _probes(found: SideBySide) -> ReportSection:
    names = ("features", "probe", "metric", "mean", "sd", "seeds", "note")
    rows = [names, *([row[name] for name in names] for row in found.table.rows())]
    return ReportSection("Probes on the same splits", " ".join(f"{one}." for one in found.table.verdicts()), table=rows)


def _matrix(found: SideBySide) -> ReportSection | None:
    """A row and a column a model: how much better the row's model is, where the interval excludes 0."""
    if not found.pairs:
        return None
    cells = {(one.first, one.second): (one.difference, one.verdict) for one in found.pairs}
    opposite = {"better": "worse", "worse": "better"}
    cells |= {(b, a): (-gap, opposite.get(verdict, verdict)) for (a, b), (gap, verdict) in cells.items()}
    rows = [("", *(f"against {name}" for name in found.names))]
    for name in found.names:
        own = [cells.get((other, name)) for other in found.names]
        rows.append((name, *("" if one is None else f"{one[0]:+.3f}, {one[1]}" for one in own)))
    figure = "accuracy" if found.target.kind == "class" else "mean absolute error"
    return ReportSection(
        "Every model against every other",
        f"Differences of {figure} on all test rows of the first seed. {GROUPS}",
        table=rows,
    )


def _groups(found: SideBySide) -> ReportSection | None:
    if not found.differences:
        return None
    figure = "share right" if found.target.kind == "class" else "mean absolute error"
    rows = [("group", "test rows", f"{figure} of {found.names[0]}", "of", "", "difference", "verdict")]
    for one in found.differences:
        low, high = one.interval
        span = "" if low != low else f" ({low:+.3f} to {high:+.3f})"
        cells = (one.group, str(one.rows), f"{one.first:.3f}", one.other, f"{one.value:.3f}")
        rows.append((*cells, f"{one.value - one.first:+.3f}{span}", one.verdict))
    return ReportSection("By group", GROUPS, table=rows)


def _alike(found: SideBySide) -> ReportSection:
    rows = [("model", "model", "linear CKA", f"overlap of neighbours (by chance {found.chance:.3f})")]
    rows += [(a, b, f"{cka:.3f}", f"{share:.3f}") for a, b, cka, share in found.alike]
    return ReportSection("How alike", ALIKE, table=rows)
