"""``repcore pointcloud draw-masked``: what a trained model sees, hides and redraws, as a page."""

from __future__ import annotations

from pathlib import Path

import click

from repcore.cli.console import ConsoleReporter, say


@click.command("draw-masked")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", "out", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option("--items", default=6, show_default=True, help="Clouds to draw, from the held-out rows.")
@click.option("--seed", default=0, show_default=True, help="Seed of the masks.")
def draw_masked_command(run: Path, out: Path, items: int, seed: int) -> None:
    """Cloud, visible, hidden and redrawn neighbourhoods of held-out rows of the training run RUN, side by side.

    \b
    Example:
      repcore pointcloud train i2p-mae --data shapes/ --name first
      repcore pointcloud draw-masked runs/first -o masked.html
    """
    import torch

    from repcore import registry
    from repcore.config.resolve import resolve_plain
    from repcore.errors import RunError
    from repcore.interfaces import Progress
    from repcore.training.assembly import assemble
    from repcore.training.run_folder import RunFolder
    from repcore_pointcloud.objectives.i2p_mae import MaskedPoints

    reporter = ConsoleReporter()
    folder = RunFolder.open(str(run), run.parent)
    resolved = resolve_plain(registry.default(), folder.read_json("config.json"), f"run {run.name}")
    parts = assemble(resolved, reporter, fitted=folder.preprocessing)
    objective = parts.objective
    if not isinstance(objective, MaskedPoints):
        raise RunError(f"{run} was not trained with pointcloud/masked-points", objective=type(objective).__name__)
    saved = torch.load(folder.last_checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    objective.load_state_dict({name.removeprefix("objective."): value for name, value in saved.items()})
    objective.eval()
    rows = (parts.validation if len(parts.validation) else parts.train)[:items]
    pieces = []
    for row in rows:
        sample = parts.reader[int(row)]
        batch = parts.preprocessor.collate(parts.preprocessor.prepare(sample))
        generator = torch.Generator().manual_seed(seed)
        batch.sample_id = (sample.id,)
        pieces.append(objective.picture(batch, objective.draw(batch, generator, Progress(0, 1))).html)
    reporter.close()
    page = "<!doctype html><meta charset='utf-8'><title>Masked tokens</title>" + "\n".join(pieces)
    out.write_text(page, encoding="utf-8")
    say(f"{len(rows)} clouds drawn: {out}")
