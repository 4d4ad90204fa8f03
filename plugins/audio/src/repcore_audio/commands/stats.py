"""``repcore audio stats``: log-mel mean and standard deviation, for ``preprocessor.mean`` and ``.deviation``."""

from __future__ import annotations

from dataclasses import replace

import click

from repcore.cli.console import ConsoleReporter, say, show_json, table


@click.command("stats")
@click.argument("data")
@click.option("--reader", help="Registered reader to use instead of the one that fits best.")
@click.option("--frames", default=1024, show_default=True, help="Length that clips are padded or cut to (10 ms each).")
@click.option("--mel-bins", default=128, show_default=True, help="Filters of the bank.")
@click.option("--sample-rate", default=16_000, show_default=True, help="Sample rate for resampling, in Hz.")
@click.option("--clips", default=2000, show_default=True, help="Most recordings to look at, evenly spaced.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def stats_command(
    data: str, reader: str | None, frames: int, mel_bins: int, sample_rate: int, clips: int, as_json: bool
) -> None:
    """Log-mel statistics of the recordings in DATA (a path, or the name of a data set).

    \b
    Example:
      repcore audio stats recordings/
      repcore audio train ssamba --data recordings/ preprocessor.mean=-8.84 preprocessor.deviation=4.61
    """
    from repcore import registry
    from repcore.data.readers import open_data
    from repcore_audio.configs.spectrogram import LogMelConfig
    from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
    from repcore_audio.preprocessors.survey import survey

    part, opened = open_data(registry.default(), data, domain="audio", reader=reader)
    config = LogMelConfig(frames=frames, frame_multiple=1, mel_bins=mel_bins, sample_rate_hz=sample_rate)
    variants = {
        "as long as they are": config,
        f"padded with silence or cut to {frames} frames": replace(config, length="fixed", long_recordings="cut"),
        f"padded with 0 or cut to {frames} frames (published)": replace(
            config, length="fixed", long_recordings="cut", padding="zero"
        ),
    }
    reporter = ConsoleReporter()
    found = survey(
        opened,
        {name: LogMelPreprocessor(one) for name, one in variants.items()},
        clips,
        progress=lambda done, total: reporter.progress("reading recordings", done, total),
    )
    reporter.close()
    if as_json:
        show_json({"reader": part.name, "rows": len(opened), **found.to_json()})
        return
    say(f"{found.used} of {len(opened)} recordings read by {part.name}, {found.seconds:.1f} s in all")
    for status, count in found.statuses.items():
        say(f"  {status}: {count}")
    table(("clips", "mean", "standard deviation"), [(name, *figures) for name, figures in found.figures.items()])
