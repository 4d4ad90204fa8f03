"""What to do next, reasoned from what the run measured; every sentence holds the figure that it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from repcore.evaluation.protocol import RANDOM_INIT, TRAINED
from repcore.report.collect import RunRecord, Series, finite_series, number, table_of
from repcore.report.findings import diagnosis

FEWEST_POINTS = 4  # of a curve that says where it is going
STILL_FALLING = 0.05  # of the whole fall, in the last quarter of the steps
RISEN = 0.1  # of the whole fall, since the lowest validation
WAITING = 0.3  # share of the time
REJECTED = 0.05  # share of the rows
NO_WARNING = "Nothing that was measured calls for a change"


def advice(record: RunRecord) -> list[str]:
    """Sentences, the gravest first; the last word where nothing is wrong is what speaks for the run."""
    if record.finetune:
        return []
    found = [*_health(record), *_leaks(record), *_baselines(record), *_loss(record), *_data(record)]
    if not _tables(record):
        found.append("0 probes were made: what the features are worth for your labels is not known. Probe them.")
    return found or [f"{NO_WARNING}: {_in_favour(record)}."]


def _tables(record: RunRecord) -> list[Mapping[str, Any]]:
    return [one for one in map(table_of, record.probes.values()) if one is not None]


def _health(record: RunRecord) -> Iterator[str]:
    """Collapse, or on the way there."""
    level, reasons = diagnosis(record)
    if level not in ("collapsed", "warning"):
        return
    _, ranks = finite_series(record.diagnostics, "rankme-centred")
    rank = f" (effective rank {ranks[0]:.3g} at first, {ranks[-1]:.3g} now)" if ranks else ""
    why = "; ".join(reasons) or "no reason recorded"
    if level == "collapsed":
        yield (
            f"The representation has collapsed: {why}{rank}. Do not use it: train anew with a lower learning rate or "
            "stronger spreading (temperature, variance or momentum settings of the objective)."
        )
    else:
        yield f"The representation gives cause for concern: {why}{rank}. Look at the curves of the diagnostics first."


def _leaks(record: RunRecord) -> Iterator[str]:
    for table in _tables(record):
        if table.get("leak"):
            name = (table.get("target") or {}).get("name", "-")
            yield f"Scores of {name} are too good to believe: {table['leak']}."


def _baselines(record: RunRecord) -> Iterator[str]:
    """The objective's own baseline, the untrained network, and raw inputs, where they win."""
    reference, (_, losses) = record.baseline("loss"), _curve(record)
    if math.isfinite(reference) and losses and losses[-1] >= reference:
        yield (
            f"The loss, {losses[-1]:.4g}, is no better than that of the baseline without the encoder, {reference:.4g}: "
            "nothing has been learned yet. Train longer, or look at the learning rate and at the data."
        )
    for table in _tables(record):
        own, twin, raw = (_best(table, one) for one in (_is_trained, _is_twin, _is_raw))
        if own is None:
            continue
        name, metric = (table.get("target") or {}).get("name", "-"), own.get("metric", "-")
        if twin is not None and not _clearly_better(table, own):
            yield (
                f"The untrained network is not clearly worse: {_figure(twin)} against {_figure(own)} ({metric} of "
                f"{name}). Pre-training has added nothing that these seeds can show."
            )
        if raw is not None and _goodness(raw) >= _goodness(own):  # one that ties has the better claim: it costs nothing
            yield (
                f"The baseline {raw.get('features')} is as good or better: {_figure(raw)} against {_figure(own)} "
                f"({metric} of {name}). Use it instead, or give the encoder more steps, data, or another objective."
            )


def _primary(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Entries of one metric, that of the first: numbers of different metrics are not held against each other."""
    found = [one for one in table["entries"] if one.get("primary") and math.isfinite(number(one.get("mean")))]
    return [one for one in found if one.get("metric") == found[0].get("metric")]


def _best(table: Mapping[str, Any], wanted: Callable[[object], bool]) -> Mapping[str, Any] | None:
    return max((one for one in _primary(table) if wanted(one.get("features"))), key=_goodness, default=None)


def _is_trained(features: object) -> bool:
    return features == TRAINED


def _is_twin(features: object) -> bool:
    return features == RANDOM_INIT


def _is_raw(features: object) -> bool:
    """Not the model's: neither its vector, nor its layers (``--grid``, ``--layers``), nor its twin."""
    return not str(features).startswith((TRAINED, RANDOM_INIT, "layer "))


def _clearly_better(table: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the table's own verdict says so of the best probe of the trained encoder."""
    told = [
        str(one.get("verdict", ""))
        for one in table.get("comparisons", ())
        if one.get("against") == RANDOM_INIT and one.get("probe") == own.get("probe")
    ]
    return not told or any(one.startswith("better than") for one in told)


def _figure(entry: Mapping[str, Any]) -> str:
    return f"{number(entry.get('mean')):.3f}"


def _goodness(entry: Mapping[str, Any]) -> float:
    return number(entry.get("mean")) * (1.0 if entry.get("higher_is_better") else -1.0)


def _curve(record: RunRecord) -> Series:
    """Validation loss, or training loss where there is too little of it."""
    found = record.series("validation", "loss")
    return found if len(found[0]) >= FEWEST_POINTS else record.series("train", "loss")


def _loss(record: RunRecord) -> Iterator[str]:
    steps, values = _curve(record)
    if len(values) < FEWEST_POINTS:
        return
    word = "validation" if record.series("validation", "loss")[0] == steps else "training"
    lowest = min(range(len(values)), key=values.__getitem__)
    fall = values[0] - values[lowest]
    if fall <= 0:
        yield f"The {word} loss never fell below its first value, {values[0]:.4g}: try a lower learning rate."
        return
    risen = (values[-1] - values[lowest]) / fall
    if risen > RISEN and word == "validation":
        way = "stop there" if record.kept_step is None else "the weights of that step are kept"
        yield (
            f"The validation loss was lowest, {values[lowest]:.4g}, at step {steps[lowest]:.0f} and has risen to "
            f"{values[-1]:.4g} since ({risen:.0%} of its fall): {way}, or use more data."
        )
        return
    late = _late_fall(steps, values) / fall
    if late > STILL_FALLING:
        yield (
            f"The {word} loss is still falling: {late:.0%} of its whole fall (from {values[0]:.4g} to "
            f"{values[lowest]:.4g}) came in the last quarter of {steps[-1]:.0f} steps. Train longer."
        )


def _late_fall(steps: Sequence[float], values: Sequence[float]) -> float:
    """How much lower the last quarter's end is than its beginning; means over an eighth of the points at both."""
    edge = steps[0] + 0.75 * (steps[-1] - steps[0])
    before = [place for place, step in enumerate(steps) if step <= edge]
    few = max(1, len(values) // 8)
    return fmean(values[place] for place in before[-few:]) - fmean(values[-few:])


def _data(record: RunRecord) -> Iterator[str]:
    waits = record.series("train", "data_wait_share")[1]
    if waits and median(waits) > WAITING:
        yield f"The device waits for data {median(waits):.0%} of the time: --workers, or repcore prepare."
    rows = (record.environment.get("rows") or {}).get("all") or 0
    if rows and len(record.rejected) > REJECTED * rows:
        yield (
            f"{len(record.rejected):,} of {rows:,} rows ({len(record.rejected) / rows:.0%}) could not be used: see the "
            "reasons below before training again."
        )


def _in_favour(record: RunRecord) -> str:
    parts = []
    steps, values = _curve(record)
    if len(values) > 1:
        level = " and has levelled off" if len(values) >= FEWEST_POINTS else ""
        parts.append(f"the loss went from {values[0]:.4g} to {values[record.place_of_model(steps)]:.4g}{level}")
    _, ranks = finite_series(record.diagnostics, "rankme-centred")
    if ranks:
        parts.append(f"the effective rank is {ranks[-1]:.3g}")
    tables = _tables(record)
    parts.append(f"no baseline wins in {len(tables)} {'probe' if len(tables) == 1 else 'probes'}")
    return ", ".join(parts)
