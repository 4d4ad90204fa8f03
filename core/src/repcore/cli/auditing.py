"""``repcore audit``: what may be wrong with a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import say, show_json, table
from repcore.cli.options import json_option
from repcore.cli.vector_rows import gathered, vector_rows
from repcore.errors import ConfigError, DataError
from repcore.files import write_text
from repcore.outputs import holds_vectors, local_output

SHOWN = 10


@click.command("audit")
@click.option("--label", help="Label of items that is doubted, a class or a number.")
@click.option("--near", type=click.FloatRange(0.0, 1.0, min_open=True), default=0.25, show_default=True,
              help="Rows closer than this share of the median distance to the nearest are near copies.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="FILE.csv of all findings.")
@click.option("--page", type=click.Path(path_type=Path), help="Also write this page with items drawn (FILE.html).")
@click.option(
    "--decisions", type=click.Path(path_type=Path), help="An earlier FILE.csv whose decisions are carried over."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@vector_rows
@json_option
def audit_command(source: Path, data: str | None, **given: Any) -> None:
    """Copies and leaks across declared parts, outliers, labels that contradict the features, and thinly covered parts.

    A ranked table; people write into its column decision, which the next audit carries over.

    \b
    Example:
      repcore audit runs/latest mine.csv --label soluble -o findings.csv --page findings.html
    """
    from repcore.evaluation.probing import chosen_targets
    from repcore.explore.audit import COLUMNS, audit
    from repcore.explore.hits import csv_text

    output: Path = local_output(given["output"])
    if output.suffix.lower() != ".csv":
        raise ConfigError(f"-o {output.name}: findings are a .csv", hint=f"-o {output.stem or 'findings'}.csv")
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite; decisions that stand there are carried over")
    label = given["label"]
    if label and data is None and holds_vectors(source):
        raise DataError(
            f"--label {label}: labelled data are needed beside {source}", hint=f"repcore audit {source} DATA"
        )
    rows = _with_copies(gathered(source, data, given, (label,) if label else ()), given)
    target = None
    if label and rows.labelled is not None:
        (target,) = chosen_targets(rows.labelled.reader, [label])
    found = audit(registry.default(), rows, target, near=given["near"])
    earlier = given["decisions"] or (output if output.exists() else None)  # what is replaced may hold decisions, too
    gone: list[tuple[str, ...]] = []
    if earlier is not None:
        gone = _carried(found, earlier, is_asked=given["decisions"] is not None)
    write_text(output, csv_text(COLUMNS, [*(one.cells() for one in found.findings), *gone]))
    if given["page"] is not None:
        _page(given, found, rows, data or str(source))
    _told(found, output, given)


def _carried(found: Any, earlier: Path, *, is_asked: bool) -> list[tuple[str, ...]]:
    """Decisions taken over from an earlier table, and what is said of them; the cells of those that stay unmatched."""
    from repcore.explore.audit import GONE, with_decisions

    try:
        taken, gone = with_decisions(found, earlier)
    except DataError:
        if is_asked:
            raise
        return []  # a file that is no table of findings is replaced as --overwrite says
    if taken or gone:
        words = f"decisions of {earlier}: {taken:,} carried over"
        words += f"; {len(gone):,} of findings that are {GONE} stay at the end of the table" if gone else ""
        found.notes.append(words)
    return gone


def _with_copies(rows: Any, given: dict[str, Any]) -> Any:  # Gathered
    """Copies that are written differently are known where the model's preprocessor is at hand."""
    from dataclasses import replace

    from repcore.embedding.model import load
    from repcore.evaluation.copied_rows import with_copies

    if rows.labelled is None:
        return rows
    preprocessor = load(rows.origin.model).preprocessor if rows.origin.model else None
    found = with_copies(rows.labelled, preprocessor)
    return replace(rows, labelled=replace(found, together=any(one is not None for one in found.copies)))


def _page(given: dict[str, Any], found: Any, rows: Any, data: str) -> None:
    from repcore.explore.audit_page import write_audit
    from repcore.explore.drawing import Sources

    render = Sources(registry.default(), say).render(rows.origin)
    write_audit(local_output(given["page"], "--page"), found, rows, data, render)


def _told(found: Any, output: Path, given: dict[str, Any]) -> None:
    from repcore.explore.audit import COLUMNS, KINDS

    counts = {kind: len(found.of(kind)) for kind in KINDS}
    if given["as_json"]:
        show_json({"rows": found.rows, "findings": counts, "notes": found.notes, "table": str(output)})
        return
    for kind, title in KINDS.items():
        listed = found.of(kind)
        say(f"{title}: {len(listed):,}")
        if listed:
            table(COLUMNS[1:-1], [one.cells()[1:-1] for one in listed[:SHOWN]])
    for note in found.notes:
        say(f"note: {note}")
    say(f"all findings: {output}" + (f"; page: {given['page']}" if given["page"] is not None else ""))
