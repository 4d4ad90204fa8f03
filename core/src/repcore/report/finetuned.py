"""Fine-tuning in a report: what each network reached on the test rows, and answers beside labels, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from repcore.files import read_parquet
from repcore.report.collect import RunRecord, number

SHOWN_ROWS = 20
TEST_PREDICTIONS = Path("predictions") / "test.parquet"
STARTS = {"model": "pre-trained", "random": "random"}


@dataclass(frozen=True, slots=True)
class Finetuned:
    """Texts of the section.

    Args:
        verdict: against random starting weights; empty without a twin.
        metrics / networks: names of the metrics, and (start, seed, rows, values) of each network.
        columns / answers: the first test rows with what was predicted and what is true, as text.
        rows: number of test rows with predictions.
    """

    verdict: str
    metrics: tuple[str, ...]
    networks: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    rows: int


def finetuned(record: RunRecord) -> Finetuned | None:
    """The section of a fine-tuning run, None for other runs."""
    content = record.finetune
    if not content:
        return None
    parts = [one for one in content.get("parts", ()) if isinstance(one, Mapping)] or [content]
    metrics = tuple(dict.fromkeys(name for one in parts for name in _object(one, "test")))
    columns, answers, rows = _answers(record.path / TEST_PREDICTIONS)
    return Finetuned(
        verdict=str(content.get("verdict") or ""),
        metrics=metrics,
        networks=tuple(_network(one, metrics) for one in parts),
        columns=columns,
        answers=answers,
        rows=rows,
    )


def asked_for(record: RunRecord) -> dict[str, Any]:
    """Options of the command that a fine-tuning run came from, those left out left out."""
    return {name: value for name, value in _object(record.finetune, "request").items() if value not in (None, [], "")}


def _object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def _network(part: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...]:
    rows = _object(part, "rows")
    counts = " / ".join(str(rows.get(name, "-")) for name in ("train", "validation", "test"))
    start = str(part.get("start", "-"))
    values = (_text(_object(part, "test").get(name)) for name in metrics)
    return (STARTS.get(start, start), str(part.get("seed", "-")), counts, *values)


def _answers(path: Path) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], int]:
    """Columns, the first rows and the number of rows of the saved test predictions; nothing if they cannot be read."""
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowException):
        return (), (), 0
    shown = [name for name in table.column_names if name not in ("status", "reason", "row")]
    rows = table.select(shown).slice(0, SHOWN_ROWS).to_pylist()
    return tuple(shown), tuple(tuple(_text(row[name]) for name in shown) for row in rows), table.num_rows


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(number(value)) else ""
    return str(value)
