"""``repcore graphs draw MODEL DATA``: a page of graphs whose edges are coloured by HyperDrop score."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("draw")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--count", default=12, show_default=True, help="Graphs to draw, from the start of the data.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("graphs.html"),
    show_default=True,
    help="HTML file to write.",
)
def draw_command(model: Path, data: str, reader: str | None, count: int, output: Path) -> None:
    """Draw graphs of DATA with the importance that MODEL gives to each edge.

    \b
    Example:
      repcore graphs draw runs/latest graphs/ -o graphs.html
    """
    from html import escape

    from repcore import registry
    from repcore.checkpoints.model_folder import read_model
    from repcore.checkpoints.places import model_path
    from repcore.cli.console import say
    from repcore.data.readers import open_data
    from repcore.errors import ItemError
    from repcore_graphs.importance import with_importance
    from repcore_graphs.rendering.graphs import draw_sample

    encoder, preprocessor = read_model(model_path(model)).build()
    _, samples = open_data(registry.default(), data, domain="graphs", reader=reader)
    figures, left_out = [], []
    for index in range(min(count, len(samples))):
        try:
            drawn = draw_sample(with_importance(encoder, preprocessor, [samples[index]])[0])
        except ItemError as error:
            left_out.append(f"row {index}: {error.reason}")
            continue
        figures.append(f"<figure>{drawn.html}<figcaption>{escape(drawn.alt)}</figcaption></figure>")
    page = "<!doctype html><meta charset='utf-8'><title>Edge importance</title>"
    page += "<style>body{font:14px sans-serif}figure{display:inline-block;width:240px;margin:8px}</style>"
    page += f"<h1>Edge importance ({escape(str(model))})</h1>" + "".join(figures)
    page += "".join(f"<p>{escape(text)}</p>" for text in left_out)
    output.write_text(page, encoding="utf-8")
    say(f"{len(figures)} graphs -> {output}" + (f", {len(left_out)} left out" if left_out else ""))
