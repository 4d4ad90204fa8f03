"""``repcore report``: build the report of a run again, for example after new probes."""

from __future__ import annotations

from pathlib import Path

import click

from repcore.cli.console import say
from repcore.cli.options import RUNS_FOLDER


@click.command("report")
@click.argument("run", default="latest")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
def report_command(run: str, out: Path) -> None:
    """Write RUN/report.html: curves, diagnostics, a map of the embeddings, neighbours, probes, settings.

    \b
    Example:
      repcore report latest
    """
    from repcore.report.build import build_report
    from repcore.training.run_folder import RunFolder

    say(str(build_report(RunFolder.open(run, out).path)))
