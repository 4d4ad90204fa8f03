"""From resolved settings to the objects of a run: reader, split, preprocessor, encoder, objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.checkpoints.model_folder import ModelFolder, read_model
from repcore.checkpoints.places import model_path
from repcore.config.bounds import check_bounds
from repcore.config.resolve import ResolvedPart, ResolvedRun
from repcore.data.accounting import report_account
from repcore.data.batching import TrainingItems
from repcore.data.preparation import prepared
from repcore.data.readers import open_part, others_named
from repcore.data.seeds import generator, mix
from repcore.data.selection import selected
from repcore.data.splits import part_of
from repcore.errors import ConfigError, DataError, PluginError, RepcoreError
from repcore.interfaces import DatasetReader, Objective, Preprocessor, Views
from repcore.nn.frozen import Frozen
from repcore.reporting import Reporter
from repcore.training.recomputing import recompute_where_asked
from repcore.training.start import RunStart


@dataclass(frozen=True, slots=True)
class RowLabels:
    """What samplers know of the training rows.

    Args:
        classes: class number of each training row, int64, -1 = none; None where the label is no single class.
        unlabelled: further rows, without a label.
    """

    classes: np.ndarray | None
    unlabelled: np.ndarray


@dataclass(frozen=True, slots=True)
class OpenData:
    """Data that a run has opened: the data set's own reader, and the one that stands over what was prepared."""

    own: DatasetReader
    prepared: DatasetReader


@dataclass(slots=True)
class RunParts:
    """What a run is made of. ``train`` and ``validation`` are row numbers of ``reader``; ``began_with`` tells of the
    model whose weights the run starts from; ``labels`` are known in fine-tuning only; ``callbacks`` are Lightning's, or
    functions that are called with each line of ``metrics.jsonl``; ``own_reader`` is the data set's, over which
    ``reader`` may stand prepared (None where that is not known)."""

    resolved: ResolvedRun
    reader: DatasetReader
    preprocessor: Preprocessor
    train: np.ndarray
    validation: np.ndarray
    views: Views | None
    encoder: nn.Module
    objective: nn.Module
    began_with: Mapping[str, Any] = field(default_factory=dict)
    labels: RowLabels | None = None
    callbacks: tuple[Any, ...] = ()
    own_reader: DatasetReader | None = None

    @property
    def rules(self) -> Objective:
        """The objective as the contract sees it."""
        return cast(Objective, self.objective)

    @property
    def data(self) -> OpenData | None:
        """For a report, which need not open them again."""
        return None if self.own_reader is None else OpenData(self.own_reader, self.reader)

    def items(self, rows: np.ndarray) -> TrainingItems:
        """Items and views of these rows as training draws them."""
        keeps = self.resolved.views is None or self.resolved.objective.entry.spec.reads_inputs
        return TrainingItems(self.reader, self.preprocessor, self.views, rows, keeps_inputs=keeps)

    def costs(self, rows: np.ndarray) -> np.ndarray | None:
        """Known cost of each row, None when the reader knows none or buckets are switched off."""
        known = getattr(self.reader, "costs", None)
        return None if known is None or not self.resolved.data.bucket_by_cost else np.asarray(known)[rows]


def assemble(
    resolved: ResolvedRun,
    reporter: Reporter,
    *,
    fitted: Path | None = None,
    init_from: Path | None = None,
    reader: DatasetReader | None = None,
) -> RunParts:
    """Open the data, fit or load the preprocessor, and build the networks from the run seed.

    Args:
        resolved: validated settings.
        fitted: folder of this run's fitted preprocessor (resume); None = fit on the training split.
        init_from: model folder whose encoder weights and preprocessor the run starts from.
        reader: data that are held by the caller, instead of opening what the settings name.

    Raises:
        RepcoreError: whatever is wrong with data, settings or a plugin's code, named.
    """
    _sees_no_labels(resolved)
    is_new = fitted is None
    donor = None if init_from is None else _donor(resolved, init_from)
    fitted = donor.folder if donor is not None else fitted or _lent_preprocessor(resolved)
    reader = selected(open_part(resolved.dataset) if reader is None else reader, resolved.data.rows)
    _announce_data(resolved, reader, reporter)
    preprocessor = _preprocessor(resolved.preprocessor, fitted)
    with others_named(resolved.dataset, reader):
        own = reader
        reader = _ready(resolved, reader, preprocessor, reporter)
        train, validation = split_rows(resolved, reader)
        _announce_test_part(resolved, reader, train, reporter)
        if fitted is None:
            preprocessor.fit(reader, train)
    resolved = resolved.with_facts(preprocessor.facts())
    views = None if resolved.views is None else build(resolved.views, preprocessor)
    torch.manual_seed(mix(resolved.trainer.seed, "initialisation"))
    encoder = build(resolved.encoder)
    if donor is not None:
        donor.load_into(encoder)
        reporter.info(f"encoder weights and preprocessor from {init_from}; optimiser, schedule and heads start afresh")
    objective = build(resolved.objective, encoder)
    if is_new and hasattr(objective, "begin"):
        start = RunStart(reader, preprocessor, encoder, train, validation, resolved.domain, reporter.info)
        objective.begin(replace(start, own_reader=own, preprocessor_entry=resolved.preprocessor.entry))
    begun = {} if donor is None else donor.as_origin()
    recompute_where_asked(resolved, objective, reporter)
    return RunParts(resolved, reader, preprocessor, train, validation, views, encoder, objective, begun, own_reader=own)


def _ready(
    resolved: ResolvedRun, reader: DatasetReader, preprocessor: Preprocessor, reporter: Reporter
) -> DatasetReader:
    """The reader over what the preprocessor prepares once."""
    reader = prepared(
        reader,
        preprocessor,
        workers=resolved.data.workers,
        progress=lambda done, total: reporter.progress("preparing data", done, total),
        warn=reporter.warn,
    )
    if hasattr(reader, "summary"):
        reporter.info(str(reader.summary))
    return reader


def made_whole(parts: RunParts) -> None:
    """After training with shared parameters: networks with whole ones, built as for a resumed run; called by all
    processes together. Those other than the first keep what they have."""
    from repcore.training.sharding import whole_state  # Lightning takes seconds, which only a run has to spend

    state = whole_state(parts.objective)
    if state:
        parts.encoder = build(parts.resolved.encoder)
        parts.objective = build(parts.resolved.objective, parts.encoder)
        parts.objective.load_state_dict(state)


def _sees_no_labels(resolved: ResolvedRun) -> None:
    """Refuses methods that learn from labels: this run has none.

    Raises:
        ConfigError: the objective's spec says ``labels="required"``.
    """
    if resolved.objective.entry.spec.labels == "required":
        raise ConfigError(
            f"{resolved.objective.name} learns from labels, which train does not see",
            hint=f"repcore {resolved.domain} finetune MODEL --label NAME --method {resolved.objective.name}",
        )


def _lent_preprocessor(resolved: ResolvedRun) -> Path | None:
    """Folder of the model whose fitted preprocessor the objective's settings ask for (``preprocessor_from``): a
    teacher reads what was prepared as it learned it."""
    source = str(getattr(resolved.objective.config, "preprocessor_from", "") or "")
    if not source:
        return None
    lender = read_model(model_path(source))
    if lender.preprocessor_name != resolved.preprocessor.name:
        raise ConfigError(
            f"{source} reads items of {lender.preprocessor_name}; the run has {resolved.preprocessor.name}",
            hint=f"a model of this kind of data, or preprocessor={lender.preprocessor_name}",
        )
    return lender.folder


def _donor(resolved: ResolvedRun, folder: Path) -> ModelFolder:
    donor = read_model(model_path(folder))
    for kind, name in (("encoder", donor.encoder_name), ("preprocessor", donor.preprocessor_name)):
        configured = getattr(resolved, kind).name
        if name != configured:
            raise ConfigError(f"{folder} holds {kind} {name}, the run has {configured}", hint=f"{kind}={name}")
    return donor


def build(part: ResolvedPart, *arguments: Any) -> Any:  # the author's own object
    """Call a part's target with its config and further arguments.

    Raises:
        ConfigError: settings the author's constructor refuses. PluginError: any other failure of it.
    """
    target = part.entry.load()
    empty = _empty_sizes(part)
    try:
        check_bounds(part.config)  # an instance that Python code made has not been compared with its ranges yet
        return target(part.config, *arguments)
    except RepcoreError:
        raise
    except ValueError as error:
        raise ConfigError(f"{part.entry.spec.kind} {part.name}: {error}", plugin=part.entry.plugin.label) from error
    except Exception as error:
        raise PluginError(
            f"{part.entry.spec.kind} {part.name} cannot be built: {type(error).__name__}: {error}",
            plugin=part.entry.plugin.label,
            also=f"settings that are null: {', '.join(empty)}" if empty else "",
        ) from error


def _empty_sizes(part: ResolvedPart) -> list[str]:
    return [name for name, value in part.plain().items() if value is None]


def _preprocessor(part: ResolvedPart, fitted: Path | None) -> Preprocessor:
    if fitted is None:
        new: Preprocessor = build(part)
        return new
    loaded: Preprocessor = part.entry.load().load(part.config, fitted)
    return loaded


def split_rows(resolved: ResolvedRun, reader: DatasetReader) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows: as the data declares them, else drawn from the seed, outside a declared test part.

    Raises:
        DataError: the data set has fewer than two rows, or a test part only.
    """
    data, seed = resolved.data, resolved.trainer.seed
    declared = reader.splits
    if "train" in declared:
        train = np.asarray(declared["train"], np.int64)
        held = next((declared[name] for name in ("validation", "val", "valid", "test") if name in declared), ())
        validation = np.asarray(held, np.int64)
    else:
        rows = _not_declared_test(reader, data.split)
        rows = rows if data.limit is None else rows[: data.limit]
        if len(rows) < 2:
            raise DataError(f"{len(rows)} usable rows are too few to train on")
        train, validation = _held_out(rows, reader, data.validation_share, data.split, seed)
    if data.limit is not None:
        train = train[: data.limit]
    if len(validation) > data.validation_limit:
        validation = np.sort(
            generator(seed, "validation-rows").choice(validation, data.validation_limit, replace=False)
        )
    return train, validation


def _announce_test_part(resolved: ResolvedRun, reader: DatasetReader, train: np.ndarray, reporter: Reporter) -> None:
    """Say what becomes of a declared test part where the data declares no training part."""
    test = _declared_test(reader)
    if not len(test) or "train" in reader.splits:
        return
    seen = int(np.isin(train, test).sum())
    if seen:
        reporter.warn(
            f"{seen:,} of {len(train):,} training rows are of the declared test part "
            f"(data.split={resolved.data.split}): scores on it will be too good"
        )
    else:
        reporter.info(f"{len(test):,} rows of the declared test part are neither trained on nor used for validation")


def _declared_test(reader: DatasetReader) -> np.ndarray:
    parts = [rows for name, rows in reader.splits.items() if part_of(name) == "test"]
    return np.asarray([row for rows in parts for row in rows], np.int64)


def _not_declared_test(reader: DatasetReader, how: str) -> np.ndarray:
    """All rows but those of a declared test part, which nothing is trained on unless ``data.split`` says how.

    Raises:
        DataError: the data holds a test part only.
    """
    test = _declared_test(reader)
    if not len(test) or how != "auto":
        return np.arange(len(reader))
    rest = np.setdiff1d(np.arange(len(reader)), test)
    if not len(rest):
        raise DataError(
            f"all {len(reader):,} rows are declared as the test part; nothing is left to train on",
            expected="a training part, or rows that belong to no part",
            hint="data.split=random trains on them all the same",
        )
    return rest


def _held_out(
    rows: np.ndarray, reader: DatasetReader, share: float, how: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if share == 0.0:
        return rows, rows[:0]
    wanted = max(1, round(share * len(rows)))
    names = _group_names(rows, reader) if how != "random" else None
    if names is None or (how == "auto" and len(np.unique(names)) < 2):
        if how == "group":
            raise DataError(
                "data.split=group needs group keys, which this reader does not give", hint="data.split=random"
            )
        held = np.zeros(len(rows), bool)
        held[generator(seed, "split").permutation(len(rows))[:wanted]] = True
    else:
        held = _held_groups(names, wanted, seed)
    if held.all():
        raise DataError("all rows belong to one group; nothing is left to train on", hint="data.split=random")
    return rows[~held], rows[held]


def _group_names(rows: np.ndarray, reader: DatasetReader) -> np.ndarray | None:
    """Group of each row; a row of no group is one of its own. None where the reader gives no groups."""
    groups = getattr(reader, "groups", None)
    if groups is None:
        return None
    keys = [groups[row] for row in rows]
    if all(key is None for key in keys):
        return None
    return np.asarray([f"row {row}" if key is None else f"group {key}" for row, key in zip(rows, keys, strict=True)])


def _held_groups(names: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Rows of whole groups, about as many as wanted: a group that would make it more than twice that is passed over,
    unless every group is as large."""
    unique, counts = np.unique(names, return_counts=True)
    size = dict(zip(unique.tolist(), counts.tolist(), strict=True))
    most = max(2 * wanted, int(counts.min()))
    chosen: list[str] = []
    total = 0
    for name in generator(seed, "split").permutation(unique).tolist():
        if total < wanted and total + size[name] <= most:
            chosen.append(name)
            total += size[name]
    return np.isin(names, chosen)


def teachers(module: nn.Module) -> list[Mapping[str, Any]]:
    """Identity (name, sha256) of every external teacher inside a module."""
    return [part.identity() for part in module.modules() if isinstance(part, Frozen)]


def _announce_data(resolved: ResolvedRun, reader: DatasetReader, reporter: Reporter) -> None:
    spec = resolved.dataset.entry.spec
    words = f"data: {len(reader):,} rows read by {resolved.dataset.name}"
    path = getattr(resolved.dataset.config, "path", None)
    if path:
        words += f" from {path}"
    reporter.info(words)
    report_account(reader, reporter)
    if spec.embedded and not path:
        reporter.info(
            f"{resolved.dataset.name} comes with the package: good for a first look; it proves nothing about your data"
        )
