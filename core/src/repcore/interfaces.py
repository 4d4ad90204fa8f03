"""What plugin code must look like, and the values that pass between core and plugins.

Reading order, which is also the way of one training batch::

    DatasetReader[i] -> Sample -> Preprocessor.prepare -> Item(s) -> Preprocessor.collate -> Batch
        (training with several views: Views.build -> {name: Item} -> collate each -> Batch.views)
    Batch -> Objective.draw (all randomness) -> Objective(batch, draws) -> LossTerms
    Batch -> Encoder -> Features -> pooled vectors, tokens, layers

All interfaces are structural: authors inherit ``torch.nn.Module`` where noted and nothing of ours.
Importing this module does not import torch.

Symbols: B items of a batch, T tokens of an item, D feature width, S all tokens of a ragged batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from repcore.errors import RunError
from repcore.specs import TargetSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

# ---------------------------------------------------------------------------------------------------- data


@dataclass(slots=True)
class Sample:
    """One row of a data set, before any preprocessing.

    Args:
        id: stable and unique within the data set; written beside every embedding.
        inputs: whatever the reader produces (text, path, arrays); only preprocessors and renderers look inside.
        targets: label name -> value; missing labels are absent or NaN. Always optional.
        group: leakage key such as speaker, patient or scaffold; a group never straddles two splits.
        meta: small facts that are known without work (length, sampling rate in Hz, spacing in mm).
    """

    id: str
    inputs: Any  # each domain has its own kind of input
    targets: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """Which stretch of a sample an item covers, for outputs with a row a window.

    Args:
        start / end: in the domain's unit along the sample (seconds, slices).
        status / reason: of this window alone; the item's are those of the whole row.
        part: names one of several parts that cover the same stretch, such as a channel.
    """

    start: float
    end: float
    status: str = "ok"
    reason: str = ""
    part: str = ""


@dataclass(slots=True)
class Item:
    """One prepared piece of a sample: what ``collate`` stacks.

    Args:
        values: tensors, arrays or a PyG ``Data``; only the preprocessor looks inside.
        meta: facts for ``Preprocessor.cost``, such as the number of tokens.
        status / reason: ``"ok"``, or a warning about this row (``"truncated"``, ...) that is written into the output.
        weight: share of a sample that this window covers; core pools windows by it.
        targets: dense labels over the item's own elements, in the order in which the encoder's tokens (or their
            ``source``) count them; core joins those of a batch. Missing = NaN, or the target's ``ignore``.
        window: where in the sample it lies, if the domain cuts samples into windows.
    """

    values: Any  # see above
    meta: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    weight: float = 1.0
    targets: Mapping[str, Any] = field(default_factory=dict)
    window: Window | None = None


class DatasetReader(Protocol):
    """Random access to samples. Called as ``target(config)``; opening must be quick, reading lazy.

    A row that cannot be read raises :class:`repcore.errors.ItemError` from ``__getitem__``; core reports it.
    Optional attributes are used when present: ``costs`` (array of a training cost per index, for length buckets),
    ``groups`` (sequence of group keys per index, so that splitting needs no reading), ``account``
    (:class:`repcore.data.accounting.Accounting`: what became of every file and record) or ``notes`` (remarks), and
    ``describe(sample) -> Mapping`` (facts that ``inspect`` sums up: lengths, rates, shapes, spacing, counts), and
    ``lengths`` (names of such facts that have one unit in all rows: ``inspect`` says which rows have another).
    """

    @property
    def fingerprint(self) -> str:
        """Hash of the content (or of names, sizes and times of large files): part of cache keys and run records."""
        ...

    @property
    def targets(self) -> Sequence[TargetSpec]:
        """Labels found in the data; may be empty."""
        ...

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Splits that the data itself declares, by name; empty if none (core then splits)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def by_id(self, sample_id: str) -> Sample: ...


class Preprocessor(Protocol):
    """Deterministic path from a sample to a batch; saved with the model and used by every command alike.

    Called as ``target(config)`` for a new run and ``target.load(config, folder)`` for a saved model, where ``folder``
    holds what ``save`` wrote. Optional methods: ``draw(sample, generator) -> Item`` serves samples that are too long to
    be prepared for one training item and gives one item of ``prepare`` at random without the work for the others;
    ``describe(sample) -> Mapping`` gives facts for ``inspect``; ``inputs_from(value)`` makes ``Sample.inputs`` (or a
    ``Sample``, where the value has labels) of what people hold in Python (an RDKit molecule, a PyG graph, an array, the
    name of one file), and gives None for kinds that it does not know: the first line of its docstring lists those that
    it knows; a value of a known kind that cannot be used is an ``ItemError``.
    """

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Learn statistics or a vocabulary from the training split only; a no-op for most."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Sizes that configs left ``None``: vocabulary size, node width, ... by config field name."""
        ...

    def prepare(self, sample: Sample) -> list[Item]:
        """One item, or one a window. Raises ``ItemError`` for a row that cannot be used."""
        ...

    def collate(self, items: Sequence[Item]) -> Batch:
        """Items to one batch; sets ``inputs`` and ``size``; core adds ids and targets."""
        ...

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Tokens, voxels or nodes of an item with this ``Item.meta``: used to fill batches evenly."""
        ...

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write fitted files into ``folder`` and return the JSON state (everything small)."""
        ...


class DensePreprocessor(Preprocessor, Protocol):
    """What answers about elements need beyond a preprocessor; both methods are looked for by name.

    Without ``restore`` the elements of a sample are those of its only item.
    """

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the sample's own elements.

        Args:
            outputs: one an item, float32 (E, K): E elements of the item, in its order.
            level: ``point``, ``voxel``, ``token``, ``node`` or ``edge``.

        Returns:
            (N, K) in the sample's own order, or (X, Y, Z, K) on its own grid; NaN where no item covers an element.
        """
        ...

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """Columns that say which element is which (``start`` and ``end``, ``source`` and ``target``, ``x y z``), in the
        order of ``restore``."""
        ...


class Preparation(Protocol):
    """Slow work done once and cached outside the data: tokens, regions, teacher features.

    A preprocessor that wants one has a method ``preparation(workers: int) -> Preparation``; core calls it before
    training and hands the returned reader to ``fit`` and ``prepare``. That reader may also have ``summary`` (a sentence
    for the user), ``rejected`` (rows of the data that it leaves out, as ``repcore.data.batching.Rejected``) and
    ``source_rows`` (the data set's row behind each of its items).
    """

    @property
    def key(self) -> str:
        """Hash of everything but the data that changes the result: settings and a code version."""
        ...

    def run(self, reader: DatasetReader, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Fill ``folder``; core makes that atomic and skips it when the result exists."""
        ...

    def open(self, reader: DatasetReader, folder: Path) -> DatasetReader:
        """A reader over the prepared result, memory-mapped."""
        ...


class Views(Protocol):
    """Several items of one sample for training; called as ``target(config, preprocessor)``.

    The batch also carries the untouched item in ``Batch.inputs``, unless the objective says ``reads_inputs=False``.

    Per-sample work happens here, in data workers; augmentation that runs on the device belongs in ``Objective.draw``.
    ``reader`` is passed because a view may draw a partner sample.
    """

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]: ...


@dataclass(slots=True)
class Batch:
    """What travels to the device. Core never looks into ``inputs``.

    Args:
        inputs: tensor, mapping of tensors, or a PyG ``Batch``; None where there are views and the
            objective says ``reads_inputs=False``.
        size: number of items B.
        views: view name -> batch.
        sample_id: B ids.
        targets: label name -> tensor with B rows (dense labels: as the preprocessor collates them).
        domain: set by core.
    """

    inputs: Any  # see above
    size: int
    views: Mapping[str, Batch] = field(default_factory=dict)
    sample_id: Sequence[str] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with every tensor on ``device``."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by the data loader)."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def _mapped(self, change: Callable[[Any], Any]) -> Batch:
        return Batch(
            inputs=_map_tensors(self.inputs, change),
            size=self.size,
            views={name: view._mapped(change) for name, view in self.views.items()},
            sample_id=self.sample_id,
            targets=_map_tensors(self.targets, change),
            domain=self.domain,
        )


def _map_tensors(value: Any, change: Callable[[Any], Any]) -> Any:  # inputs are the domain's own kind
    """Apply ``change`` to whatever has a ``pin_memory`` (tensors, PyG batches), inside mappings and sequences."""
    if hasattr(value, "pin_memory"):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_tensors(part, change) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(part, change) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(_map_tensors(part, change) for part in value)
    return value


# ------------------------------------------------------------------------------------------------ features


@dataclass(slots=True)
class Tokens:
    """Token features, dense or ragged.

    Args:
        values: dense (B, T, D), or ragged (S, D).
        valid: dense only: bool (B, T), True = real token; None = all are.
        owner: ragged only: int64 (S,), item of each token, ascending.
        position: coordinates or grid indices, (B, T, P) or (S, P).
        source: input element -> token, int64: the inverse map from points or voxels to tokens.
    """

    values: Tensor
    valid: Tensor | None = None
    owner: Tensor | None = None
    position: Tensor | None = None
    source: Tensor | None = None


@dataclass(slots=True)
class Features:
    """What an encoder returns.

    Args:
        pooled: float (B, D), one vector an item.
        tokens: level name -> tokens; the first level is the default.
        layers: layer number -> tokens, for the layers asked for; 0 is the embedding output.
        extras: anything else that the objective of the same plugin needs.
    """

    pooled: Tensor
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    layers: Mapping[int, Tokens] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """``nn.Module``, called as ``target(config)``. In eval mode deterministic and independent of batch mates.

    ``dim`` is the width of ``Features.pooled``. Poolings beyond ``mean``, ``max`` and ``first`` (which core computes
    from the tokens) are computed by an optional method ``pool(features, name) -> Tensor (B, D)``. Where a setting
    chooses what ``pooled`` holds, an optional attribute ``pooling`` names it; else it is the first of the spec.

    Capabilities of the spec, each with one meaning that the conformance kit checks:

    * ``layers``: tokens of one width at each layer: ``depth`` is the number of the last, ``token_width(level)`` the
      width; layers from the optional ``first_layer`` (0, the embedding output, where it is not said) to ``depth``.
    * ``embed-tokens`` and ``encode-tokens``: ``embed_tokens(batch) -> Tokens``, of width ``token_width("embedding")``,
      and ``encode_tokens(tokens, batch, layers=()) -> Features``; one after the other they equal ``forward``.
    * ``until``: ``forward(batch, layers, until=l)`` computes no layer after ``l``, whose tokens take the last one's
      place.
    * ``run-from``: ``run_from(layer, hidden: Tokens, batch, layers=()) -> Features`` goes on from that layer's tokens.
    * ``decode``: ``decode(z, batch) -> log p(x | z)``, (B,), differentiable in ``z`` (B, dim).

    Tokens beyond those of ``forward`` (several stages side by side) are read by name: an optional attribute
    ``readouts`` names them, ``read(name, batch) -> Tokens`` gives them (``probe`` and ``embed --tokens NAME``).
    """

    dim: int

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features: ...


# ------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. ``step`` counts optimiser steps from 0; an epoch is one pass over the training split."""

    step: int
    total_steps: int
    epoch: int = 0
    total_epochs: float = 0.0
    steps_per_epoch: int = 1

    @property
    def fraction(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0


Draws = Mapping[str, Any]
"""All random decisions of one forward pass as device tensors (masks, noise, negatives), by name."""


@dataclass(slots=True)
class LossTerms:
    """What an objective's forward returns.

    Args:
        terms: name -> scalar tensor, each the mean over its items.
        weights: name -> factor in the total.
        total: scalar, sum of weight x term.
        counts: name -> number of items in the mean (masked tokens, pairs, ...); terms not named count ``batch.size``.
        carry: tensors for ``after_step`` (queue entries, centre statistics), without graph.
        metrics: name -> scalar to log, no gradient.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    total: Tensor
    counts: Mapping[str, Any] = field(default_factory=dict)
    carry: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, terms: Mapping[str, Tensor], weights: Mapping[str, float] | None = None, **rest: Any) -> LossTerms:
        """Terms with their weighted sum as total; weights default to 1."""
        full = {name: 1.0 if weights is None else float(weights[name]) for name in terms}
        total = sum((full[name] * value for name, value in terms.items() if full[name] != 0.0), start=0.0)
        if isinstance(total, float):
            raise RunError("an objective returned no loss term with a weight other than 0", got=", ".join(terms))
        return cls(terms=terms, weights=full, total=total, **rest)


class Objective(Protocol):
    """``nn.Module``, called as ``target(config, encoder)``; holds the encoder, heads and any teacher.

    An EMA teacher is an ordinary submodule without gradients; an external one sits in :class:`repcore.nn.Frozen`.
    Optional methods, looked for by name:

    * ``begin(start)``: once, when a new run is assembled, with :class:`repcore.training.start.RunStart`: what must be
      known of the training rows before the first step (clusters). What it finds belongs into the objective's state: a
      resumed run does not call it. (Settings with a property ``preprocessor_from``, a model folder, make a new run take
      that model's fitted preprocessor: a teacher reads what is prepared as it learned it.)
    * ``before_step(progress)``: after the backward passes, before the optimiser: gradient rules such as a frozen
      last layer.
    * ``after_step(progress, carried)``: after the optimiser: EMA, centres, queues, from what each micro-batch of the
      step carried (a sequence of ``LossTerms.carry``).
    * ``encoder_for_export(branch="default")``: the module that becomes the model, an EMA branch by name for example;
      without it the model is the attribute ``encoder``.
    * ``counts(batch, draws) -> Mapping[str, Tensor | int]``: ``LossTerms.counts`` before the forward pass, which makes
      gradient accumulation and multi-GPU means exact for losses over a varying number of items (without it every
      micro-batch weighs ``batch.size``).
    * ``lr_scale(name) -> float``: factor on the learning rate of one of its parameters.
    * ``picture(batch, draws) -> Picture``: what the trained objective makes of one item (a batch of size 1, eval mode,
      no gradient): masked beside restored, matched regions. A few held-out rows of every run are drawn for its report,
      with draws as in the last step.
    """

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """ALL randomness except dropout and drop path, as tensors on the batch's device."""
        ...

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Changes no buffer except BatchNorm statistics."""
        ...

    def __call__(self, batch: Batch, draws: Draws) -> LossTerms: ...


# ---------------------------------------------------------------------------------------- after training


class Task(Protocol):
    """``nn.Module`` for supervised fine-tuning, called as ``target(config, encoder, target: TargetSpec)``.

    Missing labels (NaN) are masked. ``predict`` returns values in the units of the data (probabilities, logS, ...).
    """

    def fit_targets(self, values: np.ndarray) -> None:
        """Statistics of the training labels only: (N, K) float with NaN."""
        ...

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs of the head, (B, K)."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor: ...

    def predict(self, outputs: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ProbeSplit:
    """Row numbers of one evaluation split.

    Args:
        groups: int64, a group number for every row of the data, -1 = none; None where the data has no groups.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray | None = None
    groups: np.ndarray | None = None


class Probe(Protocol):
    """A protocol with fixed constants on frozen features; called as ``target(config)``.

    ``score`` gets features (N, D) and labels (N,) or (N, K) with NaN = missing and returns metric name -> value;
    ``constants`` returns everything that fixes the protocol, written beside each result.
    """

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]: ...

    def constants(self) -> Mapping[str, Any]: ...


class ModelProbe(Protocol):
    """A protocol with fixed constants that asks a frozen network about data without labels; called as
    ``target(config)``. Random-init twins are asked the same.

    Args:
        most_rows: of the data that are used, from the first on.
        shown: names of the figures that tables show, in order; for all of them larger is better.
        lower_is_better: names of other figures for which smaller is.

    An optional ``pictures(encoder, material) -> Mapping[str, bytes]`` draws: file name -> content.
    """

    most_rows: int
    shown: Sequence[str]
    lower_is_better: Sequence[str]

    def material(self, rows: Sequence[Sequence[Item]]) -> Any:
        """What the questions are about, made once from the items of every row; ``DataError`` where it cannot be."""
        ...

    def score(self, encoder: Encoder, material: Any, seed: int) -> Mapping[str, float]:
        """Figures by name of an encoder in eval mode; the same for the same seed."""
        ...

    def constants(self) -> Mapping[str, Any]: ...


@dataclass(slots=True)
class FeatureBatch:
    """Features of a few items, as estimators see them.

    Args:
        ids: of the items.
        values: float32 (n, D), one row an item, or one a token at token level.
        owner: int64 (n,) the item (position in ``ids``) of each row; None where row i is item i.
        targets: label name -> float (items,) or (items, K), NaN = missing.
    """

    ids: Sequence[str]
    values: np.ndarray
    owner: np.ndarray | None = None
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportItem:
    """A row of the data as a report shows it: drawn by the domain's renderer, with a caption.

    ``heat``, where given, holds one value >= 0 a token, in order.
    """

    row: int
    caption: str
    heat: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """Items side by side."""

    title: str
    items: Sequence[ReportItem]


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Part of the page of ``repcore apply --report``.

    Args:
        values: shown as a histogram, with a line at ``mark``.
        table: rows of cells.
        groups: items to draw.
    """

    title: str
    text: str = ""
    values: np.ndarray | None = None
    mark: float | None = None
    table: Sequence[Sequence[str]] = ()
    groups: Sequence[ReportGroup] = ()


class Estimator(Protocol):
    """Fitted on frozen features; called as ``target(config)`` (design: anomaly scores, label shift, dictionaries).

    ``fit`` goes over the features once, with accumulators in float64, and returns itself. ``apply`` gives one value (or
    row of values) an item for each new column; ``maps``, where there is one, one value (or row of values) a token.
    Where there is a ``merge(other)``, two that were fitted to parts of the data become that of the whole.
    ``report(columns, maps) -> Sequence[ReportSection]``, where there is one, says what a page shows: ``columns`` are
    those of ``apply`` for all rows, ``maps(rows)`` gives what ``maps`` does for a few of them.
    ``state`` and ``load_state`` are arrays by name and JSON facts: core writes them as safetensors + JSON, bound to the
    content hash of the model.
    """

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> Estimator: ...

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]: ...

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]: ...

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """A run of output rows in input order.

    ``vectors`` is float32 (n, D) with NaN rows where ``status`` marks a row that could not be embedded.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    status: Sequence[str]
    reason: Sequence[str]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DenseAnswer:
    """What a model says about the elements of one sample.

    Args:
        sample: as the reader gave it, so that a writer finds the grid, the coordinates or the path.
        level: ``point``, ``voxel``, ``token``, ``node`` or ``edge``.
        outputs: float32 (..., K) at the sample's own elements: probabilities, values, or features; NaN where none.
        target: what is predicted; None for features.
        values: of a class target: the data's own number of each class.
        elements: columns that say which element is which.
    """

    sample: Sample
    level: str
    outputs: np.ndarray
    target: TargetSpec | None = None
    values: Sequence[int] = ()
    elements: Mapping[str, np.ndarray] = field(default_factory=dict)

    def labels(self, missing: int = 0) -> np.ndarray:
        """Answered class of each element (...,) in the data's own numbers; ``missing`` where there is no output.

        Raises:
            RunError: the answer is no class.
        """
        if self.target is None or self.target.kind != "class":
            raise RunError("these answers are no classes, so there is no label to write", hint="--format npz")
        import numpy as np  # reading this module costs nothing

        values = np.asarray(self.values or range(self.outputs.shape[-1]), np.int64)
        numbers = self.numbers()
        for part in self._parts():
            own = numbers[part]
            own[...] = np.where(own < 0, missing, values[own])
        return numbers

    def numbers(self) -> np.ndarray:
        """Number of the largest output of each element int64 (...,); -1 where there is none."""
        import numpy as np

        found = np.full(self.outputs.shape[:-1], -1, np.int64)
        for part in self._parts():
            own = np.asarray(self.outputs[part])
            known = np.isfinite(own).all(-1)
            found[part][known] = own[known].argmax(-1)
        return found

    def known(self) -> int:
        """How many elements have an answer."""
        import numpy as np

        return sum(int(np.isfinite(self.outputs[part]).all(-1).sum()) for part in self._parts())

    def _parts(self) -> Iterator[slice]:
        """Along the first axis, some millions of numbers at a time: answers about a whole scan are large."""
        size = self.outputs[0].size if len(self.outputs) else 1
        step = max(1, 4_000_000 // max(1, size))
        for first in range(0, len(self.outputs), step):
            yield slice(first, first + step)


class EmbeddingWriter(Protocol):
    """Row-preserving file writer; called as ``target(path, header: Mapping[str, Any])``.

    ``finish`` makes the file complete; until then the final name does not exist. ``inputs_done`` > 0, the rows
    of the data that are done, lets an interrupted run go on (``rows_done`` is more where rows have several windows).
    ``status`` counts the rows so far by status, ``failed`` those without a vector.
    """

    status: Mapping[str, int]
    failed: int

    @property
    def rows_done(self) -> int: ...

    @property
    def inputs_done(self) -> int: ...

    def write(self, rows: EmbeddingRows) -> None: ...

    def finish(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawn sample: self-contained HTML (SVG, ``<img src="data:...">``) and its text alternative.

    One sample may be drawn several times on a page: the HTML must not rely on fixed element ids.
    """

    html: str
    alt: str


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a replay produced for one stage of a golden folder: tensor or field name -> value."""

    stage: str
    produced: Mapping[str, Any]


Replay = Callable[[Any, frozenset[str]], Iterator[StageResult]]
Sniffer = Callable[[Path], float]
CheckpointConverter = Callable[[Mapping[str, Any], Path, Mapping[str, str]], Any]
Renderer = Callable[[Sample], Picture]
Baseline = Callable[[Preprocessor, Iterable[Sample]], Any]
