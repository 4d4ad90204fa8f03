"""``repcore report``: build the report of a run again, or one page about several runs."""

from __future__ import annotations

from pathlib import Path

import click

from repcore.cli.console import say
from repcore.cli.options import RUNS_FOLDER
from repcore.errors import ConfigError
from repcore.outputs import local_output


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--out", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True, help="Folder of runs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page of several runs; A+B.html in the folder of "
              "runs if left out.")  # fmt: skip
def report_command(runs: tuple[str, ...], out: Path, output: Path | None) -> None:
    """Write RUN/report.html: curves, diagnostics, a map of the embeddings, neighbours, probes, settings.

    With several runs, one page with their curves over each other, key figures, and the settings that differ. Without
    any, the latest.

    \b
    Example:
      repcore report latest
      repcore report first second -o both.html
    """
    from repcore.training.run_folder import RunFolder

    places = [RunFolder.open(one, out).path for one in runs or ("latest",)]
    if len(places) > 1:
        from repcore.explore.overlay import write_overlay

        page = output or out / f"{'+'.join(one.name for one in places)}.html"
        if page.suffix.lower() != ".html":
            raise ConfigError(f"-o {page.name}: a page ends in .html")
        write_overlay(local_output(page), places)
        say(str(page))
        return
    if output is not None:
        raise ConfigError(
            f"-o {output}: the report of one run lies in its folder", hint="name several runs, or leave -o out"
        )
    from repcore.report.build import build_report

    say(str(build_report(places[0])))
