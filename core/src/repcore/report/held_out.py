"""Held-out rows of a run, embedded again with the exported model, with labels, sizes and a way to draw them.

Rows are read through the data set's own reader, which knows labels and pictures; a prepared reader may hold fewer
rows (duplicates merged) without either. Vectors, labels and pictures of a row therefore always come from one sample.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from repcore.checkpoints.model_folder import read_model
from repcore.config.resolve import ResolvedRun, resolve_plain
from repcore.data.batching import label_array
from repcore.data.guard import error_in_words, is_strict, read_sample
from repcore.data.preparation import prepared, source_rows
from repcore.data.readers import open_part
from repcore.data.seeds import generator
from repcore.data.selection import selected
from repcore.embedding.inference import InferenceOptions, embed_prepared, prepare_rows
from repcore.embedding.model import Model
from repcore.errors import DataError, RepcoreError
from repcore.evaluation.raw_inputs import RawFeatures
from repcore.interfaces import DatasetReader, Preprocessor, Sample
from repcore.registry import Registry
from repcore.report.collect import RunRecord
from repcore.specs import TargetSpec
from repcore.training.assembly import OpenData, split_rows
from repcore.training.estimate import REPORTED_ROWS

ROWS_AT_ONCE = 128  # prepared items held in memory: they may be volumes

log = logging.getLogger(__name__)


@dataclass(slots=True)
class HeldOut:
    """Embedded rows; empty, with ``notes`` saying why, when there are none.

    Args:
        ids: id of each row.
        rows: row numbers of ``reader``.
        vectors: float32 (N, D), finite.
        labels: (target, values (N,) or (N, K), NaN = missing).
        sizes: cost of each row as its preprocessor counts it (tokens, nodes, ...), (N,).
        groups: group key of each row, or empty.
        raw: raw inputs as the domain's baselines see them: name -> (N, D), NaN where a row cannot be used.
        kind: ``held-out`` or ``training``, for the page's words.
        notes: what the reader of the report must know.
        warnings: what they must not overlook.
    """

    ids: list[str] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    labels: list[tuple[TargetSpec, np.ndarray]] = field(default_factory=list)
    sizes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    groups: list[str] = field(default_factory=list)
    raw: dict[str, np.ndarray] = field(default_factory=dict)
    kind: str = "held-out"
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reader: DatasetReader | None = None
    render: Callable[[Sample], object] | None = None  # a plugin's: what it returns is checked where it is used

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, place: int) -> Sample:
        """The whole sample behind one point, read again."""
        if self.reader is None:
            raise DataError("the data set is not open")
        return read_sample(self.reader, int(self.rows[place]))


def held_out(record: RunRecord, registry: Registry, data: OpenData | None = None) -> HeldOut:
    """Embed at most ``REPORTED_ROWS`` validation rows (training rows if the run held none out). Never raises.

    Args:
        data: of the run that has just ended; they are open and prepared.
    """
    if record.finetune:
        return HeldOut(
            notes=["This run fine-tuned a model on labels; the run that trained it has the map of its representation."]
        )
    if not record.has_model:
        return HeldOut(notes=["The run has exported no model (it was interrupted or is still going on)."])
    found = HeldOut()
    try:
        _fill(found, record, registry, data)
    except RepcoreError as error:
        return HeldOut(notes=[f"Held-out items could not be embedded: {error.summary}.", _remedy(error)])
    except Exception as error:  # a plugin's own code failed: the rest of the report must not be lost with it
        if is_strict():
            raise
        log.warning("report: held-out items could not be embedded", exc_info=True)
        return HeldOut(notes=[f"Held-out items could not be embedded: {error_in_words(error)}"])
    return found


def _remedy(error: RepcoreError) -> str:
    return f"Try: {error.facts['hint']}" if "hint" in error.facts else ""


def _fill(found: HeldOut, record: RunRecord, registry: Registry, data: OpenData | None) -> None:
    resolved = resolve_plain(registry, record.config, "config.json")
    model = read_model(record.path / "model")
    encoder, preprocessor = model.build(registry)
    reader, compact = _readers(resolved, preprocessor, data)
    known = record.environment.get("data_fingerprint")
    if known not in (None, reader.fingerprint):
        found.warnings.append("The data have changed since the run began: the map may show rows it was trained on.")
    chosen = _chosen_rows(found, resolved, reader, compact)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = InferenceOptions(batch_size=resolved.data.batch_size, device=device)
    encoder.to(device)
    poolings = registry.encoder(model.encoder_name).spec.poolings
    targets = item_targets(reader, resolved)
    vectors, kept, sizes = [], [], []
    samples: list[Sample] = []
    raw = _RawInputs(Model(model, encoder, preprocessor, registry), found)
    reason = ""
    for start in range(0, len(chosen), ROWS_AT_ONCE):
        rows, before = chosen[start : start + ROWS_AT_ONCE], len(samples)
        read = prepare_rows(reader, preprocessor, rows, whole=raw.wanted)
        part = embed_prepared(encoder, preprocessor, read, options, poolings, resolved.domain).vectors
        for row, one, vector in zip(rows, read, part, strict=True):
            if one.sample is not None and np.isfinite(vector).all():
                vectors.append(vector)
                samples.append(one.sample)
                kept.append(int(row))
                sizes.append(sum(preprocessor.cost(item.meta) for item in one.items))
            else:
                reason = reason or one.reason or "its vector is not finite"
        raw.add(samples[before:])
        samples[before:] = [replace(one, inputs=None) for one in samples[before:]]
    if not vectors:
        found.notes.append(f"None of the held-out rows could be embedded, the first because of: {reason}")
        return
    if len(vectors) < len(chosen):
        found.notes.append(f"{len(chosen) - len(vectors)} of {len(chosen)} rows could not be embedded, first: {reason}")
    found.ids, found.rows = [sample.id for sample in samples], np.asarray(kept)
    found.vectors, found.sizes = np.stack(vectors), np.asarray(sizes, float)
    found.labels = [(spec, _labels(samples, spec)) for spec in targets]
    found.groups = [str(sample.group) for sample in samples] if samples[0].group is not None else []
    found.reader = reader
    found.raw = raw.joined()
    _find_renderer(found, resolved)


def _readers(
    resolved: ResolvedRun, preprocessor: Preprocessor, data: OpenData | None
) -> tuple[DatasetReader, DatasetReader]:
    """The data set's own reader, and the one over what is prepared; those of the run where it holds them."""
    if data is not None:
        return data.own, data.prepared
    reader = selected(open_part(resolved.dataset), resolved.data.rows)
    return reader, prepared(reader, preprocessor)


class _RawInputs:
    """The domain's baselines of the same samples; what fails costs their maps only."""

    def __init__(self, model: Model, found: HeldOut) -> None:
        self._features, self._found = RawFeatures.of(model), found
        self.wanted = bool(self._features.functions)

    def add(self, samples: Sequence[Sample]) -> None:
        self._guarded(lambda: self._features.add(samples))

    def joined(self) -> dict[str, np.ndarray]:
        known = self._guarded(self._features.joined) or {}
        return {name: values for name, values in known.items() if np.isfinite(values).all(1).sum() > 2}

    def _guarded(self, work: Callable[[], Any]) -> Any:
        if not self.wanted:
            return None
        try:
            return work()
        except Exception as error:  # a plugin's own code
            if is_strict():
                raise
            self.wanted = False
            self._found.notes.append(f"There is no map of raw inputs: {error_in_words(error)}")
            return None


def _chosen_rows(found: HeldOut, resolved: ResolvedRun, reader: DatasetReader, compact: DatasetReader) -> np.ndarray:
    """Rows of ``reader`` to embed."""
    train, validation = split_rows(resolved, compact)
    places = validation
    if not len(validation):
        places, found.kind = train, "training"
        found.notes.append("The run held no rows out: these are rows it was trained on.")
    if len(places) > REPORTED_ROWS:
        draw = generator(resolved.trainer.seed, "report-rows")
        places = np.sort(draw.choice(places, REPORTED_ROWS, replace=False))
    return source_rows(compact, reader, places)


def item_targets(reader: DatasetReader, resolved: ResolvedRun) -> list[TargetSpec]:
    """Labels of whole items: those found in the data, else those the data set's spec declares."""
    found: Sequence[TargetSpec] = reader.targets or resolved.dataset.entry.spec.targets
    return [spec for spec in found if spec.level == "item" and spec.kind != "landmark"]


def _labels(samples: Sequence[Sample], spec: TargetSpec) -> np.ndarray:
    return label_array([sample.targets.get(spec.name) for sample in samples], spec)


def _find_renderer(found: HeldOut, resolved: ResolvedRun) -> None:
    entry = resolved.dataset.entry
    if not entry.spec.render:
        found.notes.append(f"{resolved.dataset.name} comes without a renderer, so items are shown without pictures.")
        return
    try:
        found.render = entry.load("render")
    except RepcoreError as error:
        found.notes.append(f"Items are shown without pictures: {error.summary}")
