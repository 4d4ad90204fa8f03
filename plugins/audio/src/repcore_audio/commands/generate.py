"""``repcore audio generate``: sounds out of a SpecMaskGIT model, from nothing or around parts of a given recording."""

from __future__ import annotations

import click

from repcore.cli.console import complain, say


@click.command("generate")
@click.argument("model")
@click.option("-o", "--output", required=True, help="Folder for NUMBER.wav, .png and tokens.json.")
@click.option("--like", help="A recording whose parts are kept; without it everything is new.")
@click.option("--keep-bands", type=click.IntRange(0), help="With --like: keep so many of the lowest bands of tokens.")
@click.option("--keep-seconds", type=click.FloatRange(0), help="With --like: keep the beginning.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), help="Length of new sounds; the whole grid if left out."
)
@click.option("--count", type=click.IntRange(1, 1000), default=4, show_default=True, help="Number of sounds.")
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=12, show_default=True, help="Passes through the network."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Below 1: more frequent codes.",
)
@click.option(
    "--choice-noise",
    type=click.FloatRange(0),
    default=4.5,
    show_default=True,
    help="Larger: tokens are filled in in a more random order.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Sound N depends on seed and N alone."
)
def generate_command(
    model: str,
    output: str,
    like: str | None,
    keep_bands: int | None,
    keep_seconds: float | None,
    seconds: float | None,
    count: int,
    steps: int,
    temperature: float,
    choice_noise: float,
    seed: int,
) -> None:
    """Sounds, pictures and tokens from MODEL, a run or model folder of spec-mask-git.

    \b
    Example:
      repcore audio generate runs/tiny -o sounds/
      repcore audio generate runs/tiny --like word.wav --keep-bands 2 -o wider/
    """
    from pathlib import Path

    from repcore_audio.commands.generating import Asked, generate

    asked = Asked(like, keep_bands, keep_seconds, seconds, count, steps, temperature, choice_noise, seed)
    written = generate(model, Path(output), asked)
    say(f"{written.sounds} sounds in {output}: {written.known} of {written.tokens} tokens kept, {steps} steps")
    if written.windows_left_out:
        complain(f"the model's grid holds one window: {written.windows_left_out} later ones of {like} are not used")
