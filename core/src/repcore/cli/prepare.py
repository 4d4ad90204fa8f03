"""``repcore <domain> prepare``: fill the preparation cache ahead of training."""

from __future__ import annotations

from pathlib import Path

import click

from repcore.cli.console import ConsoleReporter, say
from repcore.cli.options import data_options


@click.command("prepare")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--preset", help="Preset of the recipe.")
@data_options
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file merged over the preset.")
@click.option("--workers", type=int, default=0, show_default=True, help="Processes that prepare rows.")
@click.option("--share", metavar="I/N", help="Begin at share I, counted from 0, of N; several machines, one cache.")
@click.option("--overwrite", is_flag=True, help="Prepare these data again although they lie in the cache.")
@click.pass_context
def prepare_command(
    ctx: click.Context,
    recipe: str,
    overrides: tuple[str, ...],
    preset: str | None,
    data: str | None,
    reader: str | None,
    file: Path | None,
    workers: int,
    share: str | None,
    overwrite: bool,
) -> None:
    """Do the slow preparation of RECIPE's data once; training then starts at once.

    Several processes and machines with one REPCORE_CACHE share the work out: each makes what nobody has begun, and in
    the end what others have left. A command that was killed may be given again.

    \b
    Example:
      repcore DOMAIN prepare RECIPE --data PATH --workers 2
      REPCORE_CACHE=/shared/cache repcore DOMAIN prepare RECIPE --data PATH --share 0/16
    """
    from repcore.cli.train import resolve_command_line
    from repcore.data.blocks import Share
    from repcore.data.preparation import cache_root, prepared
    from repcore.data.readers import open_part
    from repcore.data.selection import selected
    from repcore.training.assembly import build

    if share is not None and overwrite:
        raise click.UsageError("--overwrite makes all of it again, which is not shared out; leave out --share")
    own = None if share is None else Share.read(share)
    resolved = resolve_command_line(ctx.obj, recipe, preset, file, overrides, data, reader, workers)
    reporter = ConsoleReporter()
    opened = selected(open_part(resolved.dataset), resolved.data.rows)
    preprocessor = build(resolved.preprocessor)
    result = prepared(
        opened,
        preprocessor,
        workers=workers,
        share=own,
        progress=lambda done, total: reporter.progress("preparing", done, total),
        warn=reporter.warn,
        again=overwrite,
    )
    reporter.close()
    if result is opened:
        say(f"{resolved.preprocessor.name} needs no preparation")
    else:
        say(f"{getattr(result, 'summary', f'{len(result):,} items')}; cache: {cache_root()}")
