"""The report in a sentence: what was trained on what, whether it learned, whether the representation is sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from repcore.errors import RegistryError
from repcore.evaluation.protocol import RANDOM_INIT
from repcore.registry import Registry
from repcore.report.collect import RunRecord, finite_series, number, table_of
from repcore.report.figures import readable
from repcore.report.guides import GUIDES, IN_TABLE_ONLY, guide_of

Tone = Literal["good", "warning", "bad", "plain"]
TONES: dict[str, Tone] = {"healthy": "good", "warning": "warning", "collapsed": "bad"}


STATES = {"healthy": "is healthy", "warning": "gives cause for concern", "collapsed": "has collapsed"}


@dataclass(frozen=True, slots=True)
class Card:
    """One key figure."""

    title: str
    value: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class DiagnosticRow:
    """One line of the table of diagnostics."""

    title: str
    start: str
    now: str
    healthy: str


def verdict_sentence(record: RunRecord) -> str:
    """Two or three sentences that stand alone."""
    rows = record.environment.get("rows") or {}
    count = f"{rows['train']:,} rows of " if "train" in rows else ""
    steps = f"{record.last_step:,} optimiser steps" if record.last_step else "no recorded step"
    encoder, objective, dataset = (record.part(kind) for kind in ("encoder", "objective", "dataset"))
    parts = [f"{encoder} was trained with {objective} on {count}{dataset} for {steps}."]
    parts.append(_loss_words(record))
    level, reasons = diagnosis(record)
    if level:
        words = f"The representation of held-out items {STATES.get(level, f'is {level}')}"
        parts.append(f"{words}: {'; '.join(reasons)}." if reasons else f"{words}.")
    else:
        why = why_no_diagnostics(record)
        parts.append(f"Nothing is known about the health of the representation: {why[0].lower()}{why[1:]}")
    return " ".join(part for part in [*parts, _probe_words(record)] if part)


def _probe_words(record: RunRecord) -> str:
    """In how many probes the verdict calls the trained encoder better than its untrained twin."""
    twins = [
        one
        for content in record.probes.values()
        for one in (table_of(content) or {}).get("comparisons", ())
        if one.get("against") == RANDOM_INIT
    ]
    won = sum(str(one.get("verdict", "")).startswith("better than") for one in twins)
    if not twins:
        return ""
    return f"Frozen features are clearly better than those of the untrained encoder in {won} of {len(twins)} probes."


def _loss_words(record: RunRecord) -> str:
    for split, word in (("validation", "Validation"), ("train", "Training")):
        steps, values = record.series(split, "loss")
        if len(values) > 1:
            place = record.place_of_model(steps)
            now = values[place]
            change = f" ({_signed(100 * (now / values[0] - 1))} %)" if values[0] > 0 else ""
            where = "before training" if steps[0] == 0 else f"at step {steps[0]:.0f}"
            kept = f" at step {steps[place]:.0f}, whose weights are kept" if place >= 0 else ""
            way = "fell" if now < values[0] else "rose" if now > values[0] else "did not move"
            words = f"{word} loss {way} from {values[0]:.4g} {where} to {now:.4g}{change}{kept}"
            return f"{words}{_against_baseline(record, now)}."
    return "There is no curve of the loss."


def _signed(percent: float) -> str:
    return f"{percent:+.0f}".replace("-", "\N{MINUS SIGN}")


def _against_baseline(record: RunRecord, loss: float) -> str:
    reference = record.baseline("loss")
    if not math.isfinite(reference):
        return ""
    return f", {'better' if loss < reference else 'no better'} than the baseline without the encoder, {reference:.4g}"


def diagnosis(record: RunRecord) -> tuple[str, Sequence[str]]:
    """Level of the model and its reasons; empty if nothing was recorded."""
    last = record.judged()
    return str(last.get("level", "")), [str(reason) for reason in last.get("reasons", ())]


def why_no_diagnostics(record: RunRecord) -> str:
    """A sentence on what was missing."""
    held = (record.environment.get("rows") or {}).get("validation")
    if held is None:
        return "No diagnostics were recorded."
    if held == 0:
        return "No diagnostics were recorded: the run held no rows out."
    if held == 1:
        return "No diagnostics were recorded: one row was held out, and how vectors are spread takes two."
    return f"No diagnostics were recorded, though {held:,} rows were held out."


def is_embedded_default(record: RunRecord, registry: Registry) -> bool:
    """Whether the run used data that come with a plugin; False if the plugin is not there to ask."""
    if record.section("dataset").get("path"):
        return False
    try:
        return registry.dataset(record.part("dataset")).spec.embedded
    except RegistryError:
        return False


def warnings(record: RunRecord, registry: Registry) -> list[str]:
    """What must not be overlooked, worst first."""
    found = []
    planned = record.steps_planned
    if not record.has_model:
        of = f" of {planned:,}" if planned else ""
        found.append(
            f"This run is not finished: {record.last_step:,}{of} steps are recorded and no model was exported."
        )
    level, reasons = diagnosis(record)
    if level in ("warning", "collapsed"):
        found.append(f"Diagnostics say {level}: {'; '.join(reasons) or 'no reason recorded'}.")
    if is_embedded_default(record, registry):
        found.append(
            f"{record.part('dataset')} comes with the package. It is good for a first look and proves nothing about "
            "your data: train again with --data PATH."
        )
    if record.damaged:
        found.append(f"Files that could not be read: {', '.join(record.damaged)}.")
    return found


def cards(record: RunRecord, parameters: int | None) -> list[Card]:
    """Key figures in reading order."""
    found = [*_loss_cards(record)]
    level, _ = diagnosis(record)
    if level:
        last = record.judged()
        rank, width = number(last.get("rankme-centred")), number(last.get("dimensions"))
        detail = f"effective rank {rank:.3g} of {width:.0f}" if math.isfinite(rank) and math.isfinite(width) else ""
        found.append(Card("Representation", level, detail, TONES.get(level, "plain")))
    rows = record.environment.get("rows") or {}
    if rows:
        found.append(Card("Training rows", f"{rows.get('train', 0):,}", f"{rows.get('validation', 0):,} held out"))
    epoch = finite_series(record.train, "epoch")[1]
    detail = f"{epoch[-1]:.3g} epochs" if epoch else ""
    found.append(Card("Steps", f"{record.last_step:,}", detail))
    speed = record.series("train", "items_per_second")[1]
    if speed:
        wait = record.series("train", "data_wait_share")[1]
        detail = f"median; {median(wait):.0%} of the time waiting for data" if wait else "median"
        found.append(
            Card(
                "Items per second", f"{median(speed):,.3g}" if median(speed) < 1000 else f"{median(speed):,.0f}", detail
            )
        )
    if parameters is not None:
        found.append(Card("Parameters", _short(parameters), "of the exported encoder"))
    if record.rejected:
        found.append(Card("Rejected rows", f"{len(record.rejected):,}", "see below", "warning"))
    return found


def _loss_cards(record: RunRecord) -> list[Card]:
    found = []
    steps, values = record.series("validation", "loss")
    if values:
        now = values[record.place_of_model(steps)]
        parts = [f"from {values[0]:.4g} at step {steps[0]:.0f}"] if len(values) > 1 else []
        tone: Tone = "good" if now < values[0] else "bad" if len(values) > 1 else "plain"
        found.append(Card("Validation loss", f"{now:.4g}", "; ".join([*parts, *_which_step(record)]), tone))
    else:
        _, training = record.series("train", "loss")
        if training:
            found.append(Card("Training loss", f"{training[-1]:.4g}", f"from {training[0]:.4g}"))
    for name in record.measured():
        steps, values = record.series("validation", name)
        if "accuracy" in name and values:
            now = values[record.place_of_model(steps)]
            found.append(Card(readable(name).capitalize(), f"{now:.3f}", f"from {values[0]:.3f}"))
    return found


def _which_step(record: RunRecord) -> list[str]:
    """Which step the model is of, or where the loss was smallest; the network before the first is never kept."""
    steps, values = record.series("validation", "loss")
    if record.kept_step is not None:
        last = [f"{values[-1]:.4g} at the last, {steps[-1]:.0f}"] if record.kept_step != steps[-1] else []
        return [f"weights of step {record.kept_step:,} are kept", *last]
    trained = [place for place, step in enumerate(steps) if step > 0]
    best = min(trained, key=values.__getitem__, default=None)
    return [] if best is None else [f"best {values[best]:.4g} at {steps[best]:.0f}"]


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def diagnostic_names(record: RunRecord) -> list[str]:
    """Figures worth a curve: the known ones in reading order, then the objective's own."""
    recorded = dict.fromkeys(key for line in record.diagnostics for key in line)
    own = [
        key for key in recorded
        if key not in GUIDES and key not in IN_TABLE_ONLY and key not in ("step", "level", "reasons", "never-moved")
    ]  # fmt: skip
    return [name for name in GUIDES if name in recorded] + own


def diagnostic_rows(record: RunRecord) -> list[DiagnosticRow]:
    """Each figure at the first and at the last record."""
    found = []
    for name in diagnostic_names(record):
        _, values = finite_series(record.diagnostics, name)
        if values:
            guide = guide_of(name)
            found.append(DiagnosticRow(guide.title, f"{values[0]:.3g}", f"{values[-1]:.3g}", guide.healthy))
    return found
