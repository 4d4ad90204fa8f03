"""From a row of the data to a batch: samples, items, readers, preprocessors, views.

Symbols: B items of a batch, E elements of an item, N elements of a sample, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from repcore.interfaces.progress import Progress
from repcore.specs import TargetSpec

if TYPE_CHECKING:
    import numpy as np
    import torch


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
    (:class:`repcore.data.accounting.Accounting`: what became of every file and record) or ``notes`` (remarks),
    ``tables_read`` (the :class:`repcore.data.tables.Table` objects behind the rows: changed rows are named),
    ``prepared_from`` (the reader behind one of prepared rows), and
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
    it knows; a value of a known kind that cannot be used is an ``ItemError``;
    ``holds_several(value)`` says of a value that ``inputs_from`` would take as one input that, given as a whole, it is
    several, a row each (an array (N, T) of series).
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
    """What answers about elements need beyond a preprocessor; each method is looked for by name.

    Without ``restore`` the elements of a sample are those of its only item.
    """

    def covering(self) -> Preprocessor:
        """The same preparation, of items that together hold every element of a sample: needed where ``prepare`` may
        leave some out (one cube at the centre, the beginning of a recording). Itself where it leaves none out."""
        ...

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


class Prepares(Protocol):
    """Slow work done once and cached outside the data: tokens, regions, teacher features.

    A preprocessor that wants one has a method ``preparation(workers: int) -> BlockPreparation | Preparation``; core
    calls it before training and hands the returned reader to ``fit`` and ``prepare``. That reader may also have
    ``summary`` (a sentence for the user), ``rejected`` (rows of the data that it leaves out, as
    ``repcore.data.batching.Rejected``) and ``source_rows`` (the data set's row behind each of its items).
    """

    @property
    def key(self) -> str:
        """Hash of everything but the data that changes the result: settings and a code version."""
        ...

    def open(self, reader: DatasetReader, folder: Path) -> DatasetReader:
        """A reader over the prepared result, memory-mapped, with the ``splits`` and ``groups`` of the data set."""
        ...


@runtime_checkable
class BlockPreparation(Prepares, Protocol):
    """A preparation that can work on some rows without the others, so that core shares blocks of them out to processes
    and machines, and a restart goes on behind the blocks that are there. What ``join`` makes must not depend on how
    many rows a block holds.

    Attributes:
        least_rows: of a block; 1 where a row takes seconds, more where it takes less than beginning a block.
    """

    least_rows: int

    def block(self, reader: DatasetReader, rows: range, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Fill ``folder`` with what comes of these rows and no others; the same files whoever does it. Rows that cannot
        be used are noted, not raised. ``progress`` counts within the block."""
        ...

    def join(self, reader: DatasetReader, blocks: Sequence[Path], folder: Path) -> None:
        """Fill ``folder`` from the folders of all blocks, in the order of their rows, which are read only: several
        processes may join at once.

        Raises:
            DataError: no row can be used.
        """
        ...


class Preparation(Prepares, Protocol):
    """A preparation in one piece, for work that needs all rows at once."""

    def run(self, reader: DatasetReader, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Fill ``folder``; core makes that atomic and skips it when the result exists."""
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
