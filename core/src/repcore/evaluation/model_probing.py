"""Protocols that ask the network itself, without labels: the model and its random-init twins about the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from repcore.config.resolve import resolve_part
from repcore.data.guard import named_guard
from repcore.embedding.inference import InferenceOptions, windows_of
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError
from repcore.evaluation.comparison import compare, mean_and_deviation, seed_value
from repcore.evaluation.metrics import Scores
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeEntry, ProbeTable
from repcore.interfaces import DatasetReader, Item, ModelProbe
from repcore.registry import Registry
from repcore.reporting import Reporter
from repcore.specs import TargetSpec


@dataclass(frozen=True, slots=True)
class AskedModel:
    """Result of one protocol.

    Args:
        table: figures of the model and its twins.
        pictures: file name -> content.
    """

    table: ProbeTable
    pictures: Mapping[str, bytes]


def asks_the_model(registry: Registry, protocols: Sequence[str], domain: str | None = None) -> bool:
    """Whether these protocols see the model.

    Raises:
        ConfigError: some do and some see features. RegistryError: no such protocol.
    """
    kinds = {name: registry.probe(name, domain).spec.sees for name in protocols}
    if len(set(kinds.values())) > 1:
        raise ConfigError(
            f"--protocol {', '.join(protocols)}: some ask the model, others probe its features",
            hint="one after the other",
        )
    return "model" in kinds.values()


def ask_model(
    model: Model,
    reader: DatasetReader,
    protocol: str,
    seeds: Sequence[int],
    options: InferenceOptions,
    reporter: Reporter,
    *,
    split: str = "",
) -> AskedModel:
    """One protocol on the rows of the data, or of the test part that it declares.

    Args:
        split: empty for all rows, or ``declared``.

    Raises:
        DataError: no row can be used, or the data declares no test part.
    """
    part = resolve_part(model.registry, "probe", protocol, {}, model.domain)
    probe = cast(ModelProbe, part.entry.load()(part.config))
    rows = _rows(reader, split)[: probe.most_rows]
    items, left_out = _items(model, reader, rows, options)
    with named_guard(probe, "reading the rows"):
        material = probe.material(items)
    found: dict[str, list[Scores]] = {TRAINED: [], RANDOM_INIT: []}
    for number, seed in enumerate(seeds):
        reporter.progress("asking", number, len(seeds), f"{part.entry.full_name}, seed {seed}")
        for name, encoder in ((TRAINED, model.encoder.eval()), (RANDOM_INIT, model.random_twin(seed))):
            with named_guard(probe, "scoring"):
                found[name].append(Scores(probe.score(cast(Any, encoder), material, seed)))
    draw = getattr(probe, "pictures", None)
    pictures: Mapping[str, bytes] = {}
    if draw is not None:
        with named_guard(probe, "drawing"):
            pictures = draw(model.encoder, material)
    return AskedModel(_table(part.entry.full_name, probe, found, seeds, (len(items), left_out), split), pictures)


def _rows(reader: DatasetReader, split: str) -> np.ndarray:
    if not split:
        return np.arange(len(reader))
    if "test" not in reader.splits:
        raise DataError(
            f"--split {split}: the data declares no test part", splits=", ".join(reader.splits) or "none",
            hint="leave out --split",
        )  # fmt: skip
    return np.asarray(reader.splits["test"], np.int64)


def _items(
    model: Model, reader: DatasetReader, rows: np.ndarray, options: InferenceOptions
) -> tuple[list[Sequence[Item]], int]:
    """Items of the rows that can be used, and the number of the others."""
    every = [row for window in windows_of(model.preprocessor, reader, options, rows) for row in window]
    usable: list[Sequence[Item]] = [row.items for row in every if row.items]
    if not usable:
        reason = next((row.reason for row in every), "no row")
        raise DataError(f"none of {len(every)} rows can be used", first_reason=reason)
    return usable, len(every) - len(usable)


def _table(
    name: str,
    probe: ModelProbe,
    found: Mapping[str, list[Scores]],
    seeds: Sequence[int],
    counts: tuple[int, int],
    split: str,
) -> ProbeTable:
    target = TargetSpec(name.rpartition("/")[2], "regression")
    sides = {features: [[one] for one in scores] for features, scores in found.items()}
    comparisons = tuple(
        compare(name, figure, ((TRAINED, sides[TRAINED]), (RANDOM_INIT, sides[RANDOM_INIT])), target,
                generator=np.random.default_rng(0))
        for figure in probe.shown
    )  # fmt: skip
    return ProbeTable(
        target=target,
        seeds=tuple(seeds),
        split="declared test rows" if split else "all rows",
        split_seeded=False,
        rows_used=counts[0],
        rows_left_out=counts[1],
        entries=tuple(entry for features, folds in sides.items() for entry in _entries(name, features, folds, probe)),
        comparisons=comparisons,
        constants={name: dict(probe.constants())},
        labelled=False,
    )


def _entries(name: str, features: str, folds: Sequence[Sequence[Scores]], probe: ModelProbe) -> list[ProbeEntry]:
    entries = []
    figures = list(dict.fromkeys([*probe.shown, *folds[0][0]]))
    for figure in figures:
        values = tuple(seed_value(one, figure) for one in folds)
        mean, deviation = mean_and_deviation(values)
        entries.append(
            ProbeEntry(
                features=features,
                probe=name,
                metric=figure,
                higher_is_better=figure not in probe.lower_is_better,
                unit="",
                values=values,
                mean=mean,
                deviation=deviation,
                primary=figure in probe.shown,
            )
        )
    return entries
