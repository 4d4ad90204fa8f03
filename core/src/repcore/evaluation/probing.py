"""Probing a model on labelled data: features of the model, its random-init twins and raw-input baselines, then
:func:`repcore.evaluation.protocol.run_probe` on splits that leak nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repcore.config.resolve import resolve_part
from repcore.data.accounting import account_of
from repcore.data.batching import label_array
from repcore.data.copies import content_hash, copies_across, joined_keys
from repcore.data.divided import DIVIDED_BY
from repcore.data.guard import named_guard, owner_of, read_sample
from repcore.data.label_budgets import LabelBudget, within_budget
from repcore.data.label_facts import element_counts
from repcore.data.split_plans import SPLIT_WORDS, SplitInputs, SplitPlan, in_rows, order_by_id, plan_splits
from repcore.embedding.columns import column_doubts
from repcore.embedding.inference import InferenceOptions, PreparedRow, embed_prepared, encoder_width, mapped, row_id
from repcore.embedding.model import Model
from repcore.embedding.windows import size_of
from repcore.errors import ConfigError, DataError, ItemError, closest
from repcore.evaluation.layer_mix import LayerChoice, LayerStack, MixedProbe, with_weights
from repcore.evaluation.protocol import JOINED, RANDOM_INIT, TRAINED, ProbeTable, run_probe
from repcore.evaluation.raw_inputs import RAW_FORMS, RawFeatures
from repcore.files import write_text
from repcore.interfaces import DatasetReader, Probe, Sample
from repcore.registry import Registry
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

KEPT_INPUT_BYTES = 16 * 1024
DEFAULT_PROTOCOL = {"class": "linear@1", "multilabel": "linear@1", "regression": "ridge@1"}


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Every row of a data set read once; ``samples`` is None where a row cannot be read.

    Inputs of more than a few kilobytes and labels of elements are not kept: ``dense`` holds, by label name, how many
    elements of each row have which value.

    Args:
        content: hash of each row's input; empty bytes where a row cannot be read.
        copies: a name that rows with the same content share; see :mod:`repcore.evaluation.copied_rows`.
        together: copies count as groups.
    """

    ids: list[str]
    samples: list[Sample | None]
    reader: DatasetReader
    dense: Mapping[str, list[dict[int, int]]] = field(default_factory=dict)
    content: Sequence[bytes] = ()
    copies: Sequence[str | None] = ()
    together: bool = False

    @property
    def readable(self) -> np.ndarray:
        """Row numbers with a sample."""
        return np.asarray([row for row, sample in enumerate(self.samples) if sample is not None], np.int64)

    @property
    def groups(self) -> list[str | None]:
        """Leakage key of each row; None where it has none."""
        own = [None if one is None else one.group for one in self.samples]
        if not self.together:
            return own
        return joined_keys([[one for one in keys if one is not None] for keys in zip(own, self.copies, strict=True)])

    def labelled(self, target: TargetSpec) -> np.ndarray:
        """Bool (N,): rows with a label, or with a labelled element."""
        if target.name in self.dense:
            return np.asarray([bool(counts) for counts in self.dense[target.name]])
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
    levels = {spec.name: spec for spec in reader.targets if spec.level != "item"}
    dense: dict[str, list[dict[int, int]]] = {name: [] for name in levels}
    content: list[bytes] = []
    for row in range(len(reader)):
        try:
            sample: Sample | None = read_sample(reader, row)
        except ItemError:
            sample = None
        ids.append(row_id(reader, row) if sample is None else sample.id)
        for name, spec in levels.items():
            value = None if sample is None else sample.targets.get(name)
            dense[name].append({} if value is None else element_counts(value, spec))
        samples.append(None if sample is None else _slim(sample, levels))
        content.append(b"" if sample is None else _content(sample))
    return LabelledRows(ids, samples, reader, dense, content)


def _content(sample: Sample) -> bytes:
    """Hash of the input; groups of one divided sample differ."""
    return content_hash(sample.inputs) + str(sample.meta.get(DIVIDED_BY, "")).encode()


def _slim(sample: Sample, levels: Mapping[str, TargetSpec]) -> Sample:
    """Without large inputs (baselines read them again) and without labels of elements."""
    inputs = sample.inputs if size_of(sample.inputs) <= KEPT_INPUT_BYTES else None
    targets = {
        name: value
        for name, value in sample.targets.items()
        if name not in levels and np.size(value) <= KEPT_INPUT_BYTES // 4  # others are labels of elements, too
    }
    return Sample(sample.id, inputs, targets, sample.group, sample.meta)


def chosen_targets(reader: DatasetReader, names: Sequence[str], level: str | None = "item") -> list[TargetSpec]:
    """Targets by name; if none is named, all of the level (None = any level).

    Raises:
        DataError: no labels, or no such label.
    """
    every = {spec.name: spec for spec in reader.targets}
    known = {name: spec for name, spec in every.items() if level is None or spec.level == level}
    if not every or (not known and not names):
        others = ", ".join(f"{spec.name} ({spec.level})" for spec in every.values())
        raise DataError(
            "no labels were found in the data" if not every else f"no label of level {level} was found in the data",
            labels=others,
            found=_no_labels(reader, names),
            hint="--label COLUMN, or another --reader",
        )
    for name in names:
        if name not in every:
            raise DataError(
                f"no label {name!r}",
                did_you_mean=closest(name, every),
                labels=", ".join(every),
                found=_no_labels(reader, [name]),
            )
    return [every[name] for name in names] if names else list(known.values())


def _no_labels(reader: DatasetReader, names: Sequence[str]) -> str:
    """Why columns are no labels: those that are named, or the first ones."""
    said = {one.about: one for one in account_of(reader).guesses if one.chosen == "no label"}
    wanted = [said[about] for name in names if (about := f"column {name!r}") in said]
    return "; ".join(f"{one.about} is no label: {one.reason}" for one in wanted or list(said.values())[:3])


def split_plan(
    registry: Registry, preprocessor_name: str, rows: LabelledRows, target: TargetSpec, split: str, seeds: Sequence[int]
) -> SplitPlan:
    """Splits by core's words or the domain's own name (for example ``scaffold``)."""
    own = registry.preprocessor(preprocessor_name).spec.splits if preprocessor_name else {}
    has_groups = rows.together and any(one is not None for one in rows.groups)  # without copies there is none to keep
    asked, split = split, _in_groups(split) if has_groups else split
    order = order_by_id(rows.ids)
    inputs = _split_inputs(rows, target, split, order)
    if split in own:
        function = registry.preprocessor(preprocessor_name).load("splits", split)
        with named_guard(function, f"--split {split}"):
            plan = plan_splits(function, inputs, seeds)
        return in_rows(SplitPlan(split, plan.folds, plan.seeded), order)
    try:
        plan = plan_splits(split, inputs, seeds)
        title = plan.title if split == asked else f"{asked}, copies together"
        return in_rows(SplitPlan(title, plan.folds, plan.seeded), order)
    except ConfigError as error:
        if own and error.summary.find(split) >= 0:
            error.facts["splits_of_the_domain"] = ", ".join(own)
            near = closest(split, [*own, *(word.split(":")[0] for word in SPLIT_WORDS)])
            error.facts["did_you_mean"] = near or error.facts.get("did_you_mean", "")
        raise


def _in_groups(split: str) -> str:
    """The word for the same split with whole groups; splits with a rule of their own stay what they are."""
    word, sign, detail = split.partition(":")
    return {"random": "group", "stratified": "group", "folds": "group-folds", "stratified-folds": "group-folds"}.get(
        word, word
    ) + (sign + detail)


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
    """Features of all rows by name; ``random-init`` holds one matrix a seed; ``raw`` names those without an encoder,
    ``joined`` those of them that the encoder and its twins have beside their own."""

    matrices: dict[str, Any]
    rows: LabelledRows
    failed: dict[int, str]
    raw: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()


def compute_features(
    model: Model,
    reader: DatasetReader,
    seeds: Sequence[int],
    options: InferenceOptions,
    reporter: Reporter,
    *,
    baselines: bool = True,
    mixed: LayerChoice | None = None,
    joined: Sequence[str] = (),
) -> FeatureSets:
    """The model, one random-init twin a seed, and the domain's raw-input baselines on the same rows.

    Rows are read and prepared once.

    Args:
        mixed: layers whose weighted sum stands for the model and its twins; the model's own vector is kept beside it.
        joined: raw-input features of the domain, by name, that the model and its twins get beside their own.

    Raises:
        ConfigError: the domain has no such features. DataError: no row has them.
    """
    check_joined(model, joined)
    for words in column_doubts([model.encoder], reader):
        reporter.warn(words)
    rows = read_rows(reader)
    encoders = {TRAINED: model.encoder, **{f"{RANDOM_INIT} {seed}": model.random_twin(seed) for seed in seeds}}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    raw = RawFeatures.of(model) if baselines else None
    failed: dict[int, str] = {}
    done = 0
    whole = raw is not None and bool(raw.functions)
    probed = partial(_probed, encoders, model, mixed, whole)
    for window in mapped(probed, model.preprocessor, reader, options, whole=whole):
        for name, vectors in window.vectors.items():
            parts[name].append(np.asarray(vectors, np.float64))
        failed.update({done + place: reason for place, reason in window.failed.items()})
        if raw is not None:
            raw.add(window.samples)
        done += window.rows
        reporter.progress("probing", done, len(rows.ids), f"model and {len(seeds)} random-init twins")
    whole_parts = {name: np.concatenate(found) for name, found in parts.items()}
    matrices: dict[str, Any] = {TRAINED: whole_parts[TRAINED]}
    matrices[RANDOM_INIT] = [whole_parts[f"{RANDOM_INIT} {seed}"] for seed in seeds]
    if mixed is not None:
        matrices = mixed.divided(matrices, encoder_width(model.encoder))
    for name, values in ({} if raw is None else raw.joined()).items():
        if np.isfinite(values).all(1).any():
            matrices[name] = values
        else:  # the other features are worth their numbers
            assert raw is not None
            reporter.warn(f"no row has raw features {name!r} ({owner_of(raw.functions[name])}): left out")
    named = () if raw is None else tuple(name for name in raw.functions if name in matrices)
    _join(matrices, joined)
    return FeatureSets(matrices, rows, failed, named, tuple(joined))


def check_joined(model: Model, joined: Sequence[str]) -> None:
    """Refuse raw features of items that the domain of a model does not have.

    Raises:
        ConfigError: names those that it has.
    """
    entry = model.registry.preprocessor(model.folder.preprocessor_name)
    for word in joined:
        if word in entry.spec.dense_baselines and word not in entry.spec.baselines:
            raise ConfigError(f"--with {word!r} is for labels of elements", hint="--level LEVEL")
        if word not in entry.spec.baselines:
            raise ConfigError(
                f"--with {word!r}: {entry.full_name} has no such features of items",
                did_you_mean=closest(word, entry.spec.baselines),
                known=", ".join(entry.spec.baselines) or "none",
            )


def _join(matrices: dict[str, Any], joined: Sequence[str]) -> None:
    """Put raw features behind those of the model and of each twin, in place."""
    missing = [name for name in joined if name not in matrices]
    if missing:
        raise DataError(f"--with {', '.join(missing)}: no row has these features")
    raw = [matrices[name] for name in joined]
    if raw:
        matrices[TRAINED] = np.concatenate([matrices[TRAINED], *raw], 1)
        matrices[RANDOM_INIT] = [np.concatenate([one, *raw], 1) for one in matrices[RANDOM_INIT]]


@dataclass(frozen=True, slots=True)
class _Probed:
    """A window of rows as every encoder sees it, and its samples where raw inputs are wanted."""

    rows: int
    vectors: Mapping[str, np.ndarray]
    failed: Mapping[int, str]
    samples: Sequence[Sample | None]


def _probed(
    encoders: Mapping[str, nn.Module],
    model: Model,
    mixed: LayerChoice | None,
    whole: bool,
    window: list[PreparedRow],
    options: InferenceOptions,
) -> _Probed:
    def vectors(encoder: nn.Module) -> np.ndarray:
        if mixed is not None:
            return mixed.embed(encoder, model, window, options).vectors
        return embed_prepared(encoder, model.preprocessor, window, options, model.poolings, model.domain).vectors

    failed = {place: row.reason for place, row in enumerate(window) if not row.items}
    samples = [row.sample for row in window] if whole else []
    return _Probed(len(window), {name: vectors(one) for name, one in encoders.items()}, failed, samples)


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
    warn: Callable[[str], None] | None = None,
    budget: LabelBudget | None = None,
    raw_forms: Sequence[str] = RAW_FORMS,
) -> ProbeTable:
    """One target under one or several protocols.

    Args:
        protocols: probe names; the default for the kind of label if empty.
        budget: of labelled training rows; None = all.
        external: features without a random-init twin.
        warn: is told of test rows whose copy is trained on.
        raw_forms: further probes of raw inputs, tried beside the default protocol where they fit the kind of label.
    """
    names = protocols or [DEFAULT_PROTOCOL.get(target.kind, "")]
    if not names[0]:
        raise ConfigError(f"no default probe for {target.kind} labels", hint="--protocol NAME@VERSION")
    probes: Mapping[str, Probe] = {name: build_probe(registry, name, target) for name in names}
    if isinstance(features.matrices.get(TRAINED), LayerStack):
        probes = {name: MixedProbe(probe) for name, probe in probes.items()}
    plan = split_plan(registry, preprocessor_name, features.rows, target, split, seeds)
    leak = copies_across(plan, features.rows.copies, features.rows.ids)
    if leak and warn is not None:
        warn(leak)
    labels = features.rows.labels(target)
    if budget is not None:
        plan = within_budget(plan, budget, features.rows.labelled(target), seeds, classes_shown(features.rows, target))
    plan = _with_groups(plan, features.rows.groups)
    forms = _forms(registry, raw_forms, target) if DEFAULT_PROTOCOL.get(target.kind) in names else {}
    table = run_probe(
        features.matrices, labels, target, plan, probes, seeds, external=external,
        forms=dict.fromkeys(features.raw, forms),
    )  # fmt: skip
    table = dataclasses.replace(with_weights(table, features.matrices), leak=leak)
    if features.joined:
        words = {JOINED: ", ".join(features.joined)}
        constants = {name: {**found, **words} if name in probes else found for name, found in table.constants.items()}
        table = dataclasses.replace(table, constants=constants)
    return table if budget is None else dataclasses.replace(table, labels=budget.word)


def _forms(registry: Registry, names: Sequence[str], target: TargetSpec) -> dict[str, Probe]:
    """Those of the probes that take this kind of label."""
    kinds = {name: registry.probe(name).spec.target_kinds for name in names}
    return {name: build_probe(registry, name, target) for name in names if target.kind in kinds[name]}


def classes_shown(rows: LabelledRows, target: TargetSpec) -> list[Collection[int]] | None:
    """Classes that each row shows, in the data's numbers; None for labels that are no classes."""
    if target.kind != "class":
        return None
    if target.name in rows.dense:
        return [tuple(counts) for counts in rows.dense[target.name]]
    labels = rows.labels(target).reshape(len(rows.ids))
    return [() if np.isnan(one) else (int(one),) for one in labels]


def _with_groups(plan: SplitPlan, groups: Sequence[str | None]) -> SplitPlan:
    """Every split with the group number of each row, where rows have groups."""
    names = sorted({one for one in groups if one is not None})
    if not names:
        return plan
    place = {name: number for number, name in enumerate(names)}
    numbers = np.asarray([-1 if one is None else place[one] for one in groups], np.int64)
    folds = tuple(tuple(dataclasses.replace(one, groups=numbers) for one in several) for several in plan.folds)
    return SplitPlan(plan.title, folds, plan.seeded)


def write_tables(folder: Path, tables: Sequence[ProbeTable], *, data: str, split: str, kind: str = "") -> list[Path]:
    """One JSON file a target and label budget, ``<target>-<split>[-<labels>-labels][-<kind>].json``, for reports and
    programs.

    Args:
        folder: made if needed; a name ending in ``.json`` is the file itself when there is one table.
        data: what the user probed on, as given.
    """
    written = []
    for one in tables:
        is_file = folder.suffix == ".json" and len(tables) == 1
        budget = (f"-{one.labels}-labels" if one.labels else "") + (f"-{kind}" if kind else "")
        path = folder if is_file else folder / f"{one.target.name}-{split.replace(':', '-')}{budget}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"data": data, "table": json.loads(one.to_json())}
        write_text(path, json.dumps(record, indent=1) + "\n")
        written.append(path)
    return written
