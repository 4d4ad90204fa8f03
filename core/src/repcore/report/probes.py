"""Probe and fine-tuning results as the run folder holds them, ready for tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repcore.evaluation.metrics import described
from repcore.evaluation.protocol import TRAINED
from repcore.report.collect import number, table_of
from repcore.report.settings import flat


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One feature set under one probe.

    ``is_trained``: the run's own encoder; ``is_best``: best mean under this probe.
    """

    features: str
    probe: str
    metric: str
    figure: str
    values: str
    note: str
    is_trained: bool
    is_best: bool


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One result file.

    Args:
        title: label, its kind and unit.
        facts: what fixes the result (seeds, split, rows, and the file's own header).
        verdicts: one sentence a comparison.
        rows: primary metrics.
        constants: (name, value) of every protocol.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    verdicts: Sequence[str]
    rows: Sequence[ProbeRow]
    constants: Sequence[tuple[str, str]]


def probe_results(files: Mapping[str, Mapping[str, Any]]) -> list[ProbeResult]:
    """Every file that holds a probe table; others are left out."""
    found = []
    for name, content in files.items():
        table = table_of(content)
        if table is not None:
            header = (
                {key: value for key, value in content.items() if value is not table} if table is not content else {}
            )
            found.append(_result(name, table, header))
    return found


def _result(name: str, table: Mapping[str, Any], header: Mapping[str, Any]) -> ProbeResult:
    target = table.get("target") or {}
    unit = f", {target['unit']}" if target.get("unit") else ""
    kind = f" ({target['kind']}{unit})" if target.get("kind") and table.get("labelled", True) else ""
    facts = [
        ("split", str(table.get("split", "-"))),
        ("seeds", ", ".join(str(seed) for seed in table.get("seeds", ()))),
        (
            "rows used",
            f"{table.get('rows_used', '-')}; left out {table.get('rows_left_out', '-')}"
            + (f"; without a label {table['rows_unlabelled']}" if table.get("rows_unlabelled") else ""),
        ),
        *flat(header),
    ]
    comparisons = [one for one in table.get("comparisons", ()) if isinstance(one, Mapping)]
    verdicts = [f"{one.get('probe')}: {one.get('features')} is {one.get('verdict')}" for one in comparisons]
    rows = list(_rows(table["entries"]))
    return ProbeResult(f"{target.get('name', name)}{kind}", facts, verdicts, rows, flat(table.get("constants") or {}))


def _rows(entries: Sequence[Mapping[str, Any]]) -> Iterator[ProbeRow]:
    shown = [one for one in entries if one.get("primary")] or list(entries)
    for one in shown:
        peers = [number(other.get("mean")) for other in shown if other.get("probe") == one.get("probe")]
        mean, deviation = number(one.get("mean")), number(one.get("deviation"))
        rises = bool(one.get("higher_is_better"))
        best = max(peers) if rises else min(peers)
        unit = f" {one['unit']}" if one.get("unit") else ""
        yield ProbeRow(
            features=str(one.get("features")),
            probe=str(one.get("probe")),
            metric=f"{described(str(one.get('metric'))).title} ({'higher' if rises else 'lower'} is better)",
            figure=_figure(mean) + (f" ± {_figure(deviation)}" if deviation == deviation else "") + unit,
            values=", ".join(_figure(number(value)) for value in one.get("values", ())),
            note="; ".join(str(note) for note in one.get("notes", ())),
            is_trained=one.get("features") == TRAINED,
            is_best=len(peers) > 1 and mean == best,
        )


def _figure(value: float) -> str:
    return "-" if value != value else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
