"""Probing a model on labelled data: features of the model, its random-init twins and raw-input baselines, then
:func:`repcore.evaluation.protocol.run_probe` on splits that leak nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.config.resolve import resolve_part
from repcore.data.batching import label_array
from repcore.data.guard import read_sample
from repcore.data.split_plans import SplitInputs, SplitPlan, in_rows, order_by_id, plan_splits
from repcore.embedding.inference import InferenceOptions, PreparedRow, embed_prepared, prepare_rows, row_id
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError, ItemError, closest
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeTable, run_probe
from repcore.files import write_text
from repcore.interfaces import Baseline, DatasetReader, Preprocessor, Probe, Sample
from repcore.registry import Registry
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

DEFAULT_PROTOCOL = {"class": "linear@1", "multilabel": "linear@1", "regression": "ridge@1"}


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Every row of a data set read once; ``samples`` is None where a row cannot be read."""

    ids: list[str]
    samples: list[Sample | None]
    reader: DatasetReader

    @property
    def readable(self) -> np.ndarray:
        """Row numbers with a sample."""
        return np.asarray([row for row, sample in enumerate(self.samples) if sample is not None], np.int64)

    @property
    def groups(self) -> list[str | None]:
        """Leakage key of each row; None where it has none."""
        return [None if one is None else one.group for one in self.samples]

    def labelled(self, target: TargetSpec) -> np.ndarray:
        """Bool (N,): rows with a label."""
        labels = self.labels(target)
        known: np.ndarray = ~np.isnan(labels.reshape(len(labels), -1)).all(1)
        return known

    def labels(self, target: TargetSpec) -> np.ndarray:
        """Labels of one target, (N,) or (N, K), NaN where missing."""
        return label_array([None if one is None else one.targets.get(target.name) for one in self.samples], target)


def read_rows(reader: DatasetReader) -> LabelledRows:
    """Read everything; rows that cannot be read keep their place."""
    ids: list[str] = []
    samples: list[Sample | None] = []
    for row in range(len(reader)):
        try:
            sample: Sample | None = read_sample(reader, row)
        except ItemError:
            sample = None
        ids.append(row_id(reader, row) if sample is None else sample.id)
        samples.append(sample)
    return LabelledRows(ids, samples, reader)


def chosen_targets(reader: DatasetReader, names: Sequence[str]) -> list[TargetSpec]:
    """Item-level targets by name; all of them if none is named.

    Raises:
        DataError: no labels, or no such label.
    """
    known = {spec.name: spec for spec in reader.targets if spec.level == "item"}
    if not known:
        raise DataError("no labels were found in the data", hint="--label COLUMN, or another --reader")
    for name in names:
        if name not in known:
            raise DataError(f"no label {name!r}", did_you_mean=closest(name, known), labels=", ".join(known))
    return [known[name] for name in names] if names else list(known.values())


def split_plan(
    registry: Registry, preprocessor_name: str, rows: LabelledRows, target: TargetSpec, split: str, seeds: Sequence[int]
) -> SplitPlan:
    """Splits by core's words or the domain's own name (for example ``scaffold``)."""
    own = registry.preprocessor(preprocessor_name).spec.splits if preprocessor_name else {}
    order = order_by_id(rows.ids)
    inputs = _split_inputs(rows, target, split, order)
    if split in own:
        function = registry.preprocessor(preprocessor_name).load("splits", split)
        plan = plan_splits(function, inputs, seeds)
        return in_rows(SplitPlan(split, plan.folds, plan.seeded), order)
    try:
        return in_rows(plan_splits(split, inputs, seeds), order)
    except ConfigError as error:
        if own and error.summary.find(split) >= 0:
            error.facts["splits_of_the_domain"] = ", ".join(own)
        raise


def _split_inputs(rows: LabelledRows, target: TargetSpec, split: str, order: np.ndarray) -> SplitInputs:
    """What splits are drawn from, in the order of ids, so that the order of rows in a file changes nothing."""
    ids = [f"{row}:{name}" for row, name in enumerate(rows.ids)] if len(set(rows.ids)) < len(rows.ids) else rows.ids
    groups = rows.groups
    columns: dict[str, Any] = {}
    if split.startswith("column:"):
        name = split.partition(":")[2]
        values = getattr(rows.reader, "values", None)
        if values is None:
            raise DataError(f"--split {split}: this reader gives no columns")
        cells = values(name)
        columns[name] = [cells[row] for row in order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    samples = [rows.samples[row] or Sample(rows.ids[row], None) for row in order]
    return SplitInputs(
        ids=[ids[row] for row in order],
        groups=[groups[row] for row in order] if any(group is not None for group in groups) else (),
        labels=rows.labels(target)[order],
        columns=columns,
        declared={name: [int(place[int(row)]) for row in part] for name, part in rows.reader.splits.items()},
        samples=samples,
    )


def build_probe(registry: Registry, name: str, target: TargetSpec) -> Probe:
    """A probe by name with its published constants.

    Raises:
        ConfigError: it does not fit the kind of label.
    """
    part = resolve_part(registry, "probe", name, {})
    kinds = part.entry.spec.target_kinds
    if kinds and target.kind not in kinds:
        fitting = [e.full_name for e in registry.entries("probe") if target.kind in e.spec.target_kinds]
        raise ConfigError(
            f"{name} is for {' or '.join(kinds)} labels; {target.name!r} is {target.kind}", fitting=", ".join(fitting)
        )
    probe: Probe = part.entry.load()(part.config)
    return probe


@dataclass(slots=True)
class FeatureSets:
    """Features of all rows by name; ``random-init`` holds one matrix a seed."""

    matrices: dict[str, Any]
    rows: LabelledRows
    failed: dict[int, str]


def compute_features(
    model: Model,
    reader: DatasetReader,
    seeds: Sequence[int],
    options: InferenceOptions,
    reporter: Reporter,
    *,
    baselines: bool = True,
) -> FeatureSets:
    """The model, one random-init twin a seed, and the domain's raw-input baselines on the same rows.

    Rows are read and prepared once.
    """
    rows = read_rows(reader)
    steps = 2 + len(seeds)
    prepared = prepare_rows(reader, model.preprocessor, np.arange(len(rows.ids)), options.workers)
    reporter.progress("probing", 1, steps, "model")
    trained = _embed(model, model.encoder, prepared, options)
    twins = []
    for number, seed in enumerate(seeds):
        reporter.progress("probing", 2 + number, steps, f"random-init twin {number + 1}")
        twins.append(_embed(model, model.random_twin(seed), prepared, options))
    matrices: dict[str, Any] = {TRAINED: trained, RANDOM_INIT: twins}
    if baselines:
        matrices.update(raw_features(model, rows))
    reporter.progress("probing", steps, steps)
    failed = {number: row.reason for number, row in enumerate(prepared) if not row.items}
    return FeatureSets(matrices, rows, failed)


def _embed(model: Model, encoder: Any, prepared: list[PreparedRow], options: InferenceOptions) -> np.ndarray:
    rows = embed_prepared(encoder, model.preprocessor, prepared, options, model.poolings, model.domain)
    return np.asarray(rows.vectors, np.float64)


def raw_features(model: Model, rows: LabelledRows) -> dict[str, np.ndarray]:
    """Baselines that the preprocessor's spec names, (N, D) each, NaN where a row cannot be read."""
    entry = model.registry.preprocessor(model.folder.preprocessor_name)
    readable = rows.readable
    samples = [rows.samples[row] for row in readable]
    found = {}
    for name in entry.spec.baselines:
        values = _baseline(entry.load("baselines", name), model.preprocessor, samples)
        full = np.full((len(rows.ids), values.shape[1]), np.nan)
        full[readable] = values
        found[name] = full
    return found


def _baseline(function: Baseline, preprocessor: Preprocessor, samples: list[Sample]) -> np.ndarray:
    """Features of all samples (n, D); those that the baseline cannot use become NaN."""
    try:
        return np.asarray(function(preprocessor, samples), np.float64)
    except ItemError:  # some sample is to blame: find it, the others keep their features
        each = [_one_baseline(function, preprocessor, sample) for sample in samples]
        width = max((len(one) for one in each if one is not None), default=1)
        return np.stack([np.full(width, np.nan) if one is None else one for one in each])


def _one_baseline(function: Baseline, preprocessor: Preprocessor, sample: Sample) -> np.ndarray | None:
    try:
        return np.asarray(function(preprocessor, [sample]), np.float64)[0]
    except ItemError:
        return None


def probe_features(
    registry: Registry,
    features: FeatureSets,
    target: TargetSpec,
    *,
    preprocessor_name: str,
    protocols: Sequence[str],
    split: str,
    seeds: Sequence[int],
    external: bool = False,
) -> ProbeTable:
    """One target under one or several protocols.

    Args:
        protocols: probe names; the default for the kind of label if empty.
        external: features without a random-init twin.
    """
    names = protocols or [DEFAULT_PROTOCOL.get(target.kind, "")]
    if not names[0]:
        raise ConfigError(f"no default probe for {target.kind} labels", hint="--protocol NAME@VERSION")
    probes: Mapping[str, Probe] = {name: build_probe(registry, name, target) for name in names}
    plan = split_plan(registry, preprocessor_name, features.rows, target, split, seeds)
    labels = features.rows.labels(target)
    return run_probe(features.matrices, labels, target, plan, probes, seeds, external=external)


def write_tables(folder: Path, tables: Sequence[ProbeTable], *, data: str, split: str) -> list[Path]:
    """One JSON file a target, ``<target>-<split>.json``, for reports and programs.

    Args:
        folder: made if needed; a name ending in ``.json`` is the file itself when there is one table.
        data: what the user probed on, as given.
    """
    written = []
    for one in tables:
        is_file = folder.suffix == ".json" and len(tables) == 1
        path = folder if is_file else folder / f"{one.target.name}-{split.replace(':', '-')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"data": data, "table": json.loads(one.to_json())}
        write_text(path, json.dumps(record, indent=1) + "\n")
        written.append(path)
    return written
