"""Instances of bags, encoded once: the encoder below an aggregator stays as it is, so no training step repeats it.

The vectors lie in the cache of prepared data, under a key of the data, the encoder's content and the preprocessor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.checkpoints.content import content_sha256
from repcore.data.bags import Bags, BagVectors
from repcore.data.batching import plain_batch
from repcore.data.guard import item_guard
from repcore.data.preparation import run_preparation
from repcore.embedding.columns import columns_read
from repcore.embedding.windows import prepare_row
from repcore.errors import ItemError
from repcore.evaluation.probing import LabelledRows
from repcore.files import read_object, write_text
from repcore.interfaces import DatasetReader, Sample
from repcore.reporting import Reporter
from repcore.specs import TargetSpec

VERSION = 1  # of the files below
MANY_SINGLE = 0.5  # share of bags of one instance from which on it is a warning
VECTORS, ROWS = "vectors.f32", "rows.json"
FIELDS = ("width", "count", "rows", "failed", "dropped")


def with_vectors(
    encoder: nn.Module,
    preprocessor: Bags,
    rows: LabelledRows,
    target: TargetSpec,
    settings: list[Any],  # plain JSON
    reporter: Reporter,
    *,
    train: np.ndarray,
    domain: str,
    device: str,
) -> BagReader:
    """A reader of the same rows whose inputs are :class:`BagVectors`; only rows with a label have them.

    Args:
        encoder: with ``instances(batch) -> Tokens`` (ragged) and a frozen encoder ``inner``; may say in
            ``instance_facts`` what an instance is, in ``larger_bags`` how a bag of one gets more.
        settings: what else the vectors depend on, of the preprocessor.
        train: training rows, of which is said how many bags hold one instance.
    """
    chosen = np.flatnonzero(rows.labelled(target))
    own = [*settings, getattr(encoder, "instance_facts", None)]
    facts = [VERSION, content_sha256(cast(nn.Module, encoder.inner).state_dict()), own, domain, device]
    facts.append(sha256(chosen.astype(np.int64).tobytes()).hexdigest())
    key = sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    preparation = BagPreparation(encoder, preprocessor, chosen, rows.samples, key, domain, device)

    def progress(done: int, total: int) -> None:
        reporter.progress("encoding windows", done, total)

    reader = cast(BagReader, run_preparation(preparation, rows.reader, progress, reporter.warn))
    if reader.dropped:
        reporter.warn(f"{reader.dropped:,} windows without finite vectors are left out of their bags")
    say_sizes([reader.costs[row] for row in train.tolist()], getattr(encoder, "larger_bags", ""), reporter)
    return reader


def say_sizes(sizes: Sequence[int], hint: str, reporter: Reporter) -> None:
    """How many a bag holds: one of one instance has no order, and nothing to choose from."""
    known = [size for size in sizes if size]
    single = known.count(1)
    if not single:
        return
    if single == len(known):
        text = f"every bag of the {single:,} training rows holds one window: no order, and nothing to choose from"
    else:
        text = (
            f"{single / len(known):.0%} of the bags of the {len(known):,} training rows hold one window, which has no "
            f"order; the others 2 to {max(known):,}"
        )
    say = reporter.warn if single >= MANY_SINGLE * len(known) else reporter.info
    say(text + (f". {hint}" if hint else ""))


class BagPreparation:
    """See :class:`repcore.interfaces.BlockPreparation`."""

    least_rows = 1

    def __init__(
        self,
        encoder: nn.Module,
        preprocessor: Bags,
        chosen: np.ndarray,
        samples: Sequence[Sample | None],
        key: str,
        domain: str,
        device: str,
    ) -> None:
        self.encoder, self.preprocessor, self.chosen, self.samples = encoder, preprocessor, chosen, samples
        self.key, self.domain, self.device = key, domain, device

    @torch.inference_mode()
    def block(self, reader: DatasetReader, rows: range, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Encode the chosen ones of these rows, one bag at a time; a row that cannot be used keeps its status and
        reason."""
        was_training = self.encoder.training
        self.encoder.eval().to(self.device)
        spans: dict[str, list[int]] = {}
        failed: dict[str, list[str]] = {}
        width, first, dropped = 0, 0, 0
        chosen = self.chosen[(rows.start <= self.chosen) & (self.chosen < rows.stop)]
        with (folder / VECTORS).open("wb") as file:
            for row in chosen.tolist():
                try:
                    values = self._instances(reader, row)
                except ItemError as error:
                    failed[str(row)] = [error.status, error.reason]
                    continue
                finally:
                    progress(row - rows.start + 1, len(rows))
                finite = values[np.isfinite(values).all(1)]
                dropped += len(values) - len(finite)
                if not len(finite):
                    failed[str(row)] = ["not_finite", "the network gave NaN or Inf for every window"]
                    continue
                file.write(np.ascontiguousarray(finite, np.float32).tobytes())
                spans[str(row)], width = [first, len(finite)], finite.shape[1]
                first += len(finite)
        self.encoder.cpu().train(was_training)
        record = {"width": width, "count": first, "rows": spans, "failed": failed, "dropped": dropped}
        write_text(folder / ROWS, json.dumps(record))

    def join(self, reader: DatasetReader, blocks: Sequence[Path], folder: Path) -> None:
        """Vectors of all blocks behind one another."""
        spans: dict[str, list[int]] = {}
        failed: dict[str, list[str]] = {}
        width, first, dropped = 0, 0, 0
        with (folder / VECTORS).open("wb") as file:
            for block in blocks:
                record = read_object(block / ROWS, FIELDS)
                file.write((block / VECTORS).read_bytes())
                spans.update({row: [first + start, size] for row, (start, size) in record["rows"].items()})
                failed.update(record["failed"])
                width, first, dropped = (
                    record["width"] or width, first + record["count"], dropped + record["dropped"]
                )  # fmt: skip
        record = {"width": width, "count": first, "rows": spans, "failed": failed, "dropped": dropped}
        write_text(folder / ROWS, json.dumps(record))

    def _instances(self, reader: DatasetReader, row: int) -> np.ndarray:
        """Vectors (n, D) of one bag.

        Raises:
            ItemError: it cannot be read, prepared or encoded.
        """
        found = prepare_row(reader, self.preprocessor, row)
        if not found.items or found.sample is None:
            raise ItemError(found.status, found.reason)
        columns = columns_read([self.encoder], reader.targets)
        with item_guard(self.preprocessor, "batching and running the network"):
            batch = plain_batch(self.preprocessor, found.items, [found.sample], columns, self.domain).to(self.device)
            values: np.ndarray = self.encoder.instances(batch).values.float().cpu().numpy()  # type: ignore[operator]
        return values

    def open(self, reader: DatasetReader, folder: Path) -> DatasetReader:
        """Memory-mapped."""
        return cast(DatasetReader, BagReader(reader, self.samples, folder))


class BagReader:
    """Rows with :class:`BagVectors` as inputs.

    Args:
        reader: of the data; everything but samples is its own.
        samples: of all rows, without their inputs.
        folder: what :class:`BagPreparation` wrote.
    """

    def __init__(self, reader: DatasetReader, samples: Sequence[Sample | None], folder: Path) -> None:
        self.reader, self.samples, self.folder = reader, samples, folder
        self._record = read_object(folder / ROWS, FIELDS)
        self.costs = [self._span(row)[1] for row in range(len(samples))]

    def __getattr__(self, name: str) -> Any:  # everything else is the reader's own
        if name.startswith("_") or name == "reader":  # asked for while a copy of this is made
            raise AttributeError(name)
        return getattr(self.reader, name)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_vectors"}

    def _span(self, row: int) -> tuple[int, int]:
        first, count = self._record["rows"].get(str(row), (0, 0))
        return int(first), int(count)

    @property
    def dropped(self) -> int:
        """Windows whose vectors are not finite."""
        return int(self._record["dropped"])

    def statistics(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation over the vectors of some rows, float32 (D,) each; 0 and 1 where there is none."""
        width = int(self._record["width"])
        count, total, squares = 0, np.zeros(width), np.zeros(width)
        spans = [span for span in map(self._span, rows.tolist()) if span[1]]
        for first, size in spans:
            count, total = count + size, total + self._vectors[first : first + size].sum(0, np.float64)
        mean = total / max(1, count)
        for first, size in spans:
            squares += np.square(self._vectors[first : first + size] - mean).sum(0)
        deviation = np.sqrt(squares / count) if count else np.ones(width)
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()

    @cached_property
    def _vectors(self) -> np.ndarray:
        shape = (int(self._record["count"]), int(self._record["width"]))
        return np.memmap(self.folder / VECTORS, np.float32, "r", shape=shape)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        status, reason = self._record["failed"].get(str(index), ("", ""))
        if status:
            raise ItemError(status, reason)
        first, count = self._span(index)
        sample = self.samples[index]
        if sample is None or not count:
            raise ItemError("not_encoded", "a row without a label")
        return replace(sample, inputs=BagVectors(np.array(self._vectors[first : first + count])))
