"""Several runs on one page: their curves over each other, key figures, and the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repcore.errors import ConfigError
from repcore.explore.runs import key_figures
from repcore.files import write_text
from repcore.plugins import core_version
from repcore.report.build import page_nonce, plotly_script
from repcore.report.collect import RunRecord, Series, collect, finite_series
from repcore.report.figures import Figure, distinct_measures, in_words, line, readable
from repcore.report.findings import diagnostic_names
from repcore.report.guides import guide_of
from repcore.report.settings import flat
from repcore.untrusted import page_text

FURTHER = {"lr": "Learning rate", "grad_norm": "Gradient norm", "items_per_second": "Items per second"}
FIGURES = ("recipe", "state", "steps", "loss", "validation_loss", "representation", "rows", "parameters", "best_probe")
MOST_RUNS = 12  # colours that can be told apart
ABSENT = "-"


def write_overlay(path: Path, runs: Sequence[Path]) -> None:
    """One self-contained page about several run folders.

    Raises:
        ConfigError: fewer than two runs, one of them twice, or more than twelve. RunError: a folder is no run.
    """
    places = [one.resolve() for one in runs]
    if not 2 <= len(places) <= MOST_RUNS or len(set(places)) < len(places):
        raise ConfigError(
            f"{len(places)} runs, {len(set(places))} of them different", expected=f"2 to {MOST_RUNS} different runs"
        )
    records = {name: collect(place) for name, place in zip(_names(places), places, strict=True)}
    figures = overlaid(records)
    data = {"figures": {one.name: {**one.spec, "loss": one.is_loss} for one in figures}}
    page = _templates().get_template("overlay.html.j2").render(
        names=list(records), figures=figures, key=_key_figures(records), differing=differing_settings(records),
        remarks=_remarks(records), data=data, plotly=Markup(plotly_script()), nonce=page_nonce(),
        version=core_version(), written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip
    write_text(path, page_text(page))


def _names(places: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents where two are the same."""
    names = [one.name for one in places]
    return [str(one) if names.count(one.name) > 1 else one.name for one in places]


def overlaid(records: dict[str, RunRecord]) -> list[Figure]:
    """A figure for everything that at least one run has measured, with a line for every run."""
    found = []
    for name in dict.fromkeys(name for one in records.values() for name in distinct_measures(one)):
        curves = [
            (number, run, split, record.series(split, name))
            for number, (run, record) in enumerate(records.items())
            for split in ("train", "validation")
        ]
        title = "Loss" if name == "loss" else readable(name).capitalize()
        found.append(_figure(f"curve-{name}", title, "", curves, is_loss="loss" in name))
    for name, title in FURTHER.items():
        curves = [(n, run, "", one.series("train", name)) for n, (run, one) in enumerate(records.items())]
        found.append(_figure(f"curve-{name}", title, "", curves))
    for name in dict.fromkeys(name for one in records.values() for name in diagnostic_names(one)):
        guide = guide_of(name)
        curves = [(n, run, "", finite_series(one.diagnostics, name)) for n, (run, one) in enumerate(records.items())]
        found.append(_figure(f"diagnostic-{name}", guide.title, guide.meaning, curves))
    return [one for one in found if one.spec["data"]]


def _figure(
    name: str, title: str, caption: str, curves: Sequence[tuple[int, str, str, Series]], *, is_loss: bool = False
) -> Figure:
    traces, words = [], []
    for number, run, split, series in curves:
        if series[0]:
            label = f"{run}, {split}" if split else run
            traces.append(line(series, label, "run") | {"meta": {"role": "run", "run": number, "split": split}})
            words.append(in_words(label, series))
    return Figure(name, title, caption, " ".join(words), {"data": traces, "layout": {}}, is_loss)


def _key_figures(records: dict[str, RunRecord]) -> list[tuple[str, list[str]]]:
    """Title and one cell a run."""
    known = [key_figures(one.path) for one in records.values()]
    return [(name.replace("_", " "), [_cell(one.get(name)) for one in known]) for name in FIGURES]


def _cell(value: object) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def differing_settings(records: dict[str, RunRecord]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: path, and one value a run."""
    values = [dict(flat(one.config)) for one in records.values()]
    paths = dict.fromkeys(path for one in values for path in one)
    rows = [(path, [one.get(path, ABSENT) for one in values]) for path in paths]
    return [(path, cells) for path, cells in rows if len(set(cells)) > 1]


def _remarks(records: dict[str, RunRecord]) -> list[str]:
    """What keeps the runs from being compared."""
    found = []
    if len({one.part("objective") for one in records.values()}) > 1:
        found.append("The objectives differ: their losses are different things. Compare diagnostics and probes.")
    if len({str(one.environment.get("data_fingerprint")) for one in records.values()}) > 1:
        found.append("The data differ: losses and diagnostics are of different rows. Compare probes on the same data.")
    return found


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("repcore.explore"), PackageLoader("repcore.report")]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment
