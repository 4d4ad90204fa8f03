"""The way from a row to a batch; saved with the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from repcore.errors import DataError, ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Sample

from repcore_timeseries.configs import ScalingConfig


class Scaling:
    """Columns with mean 0 and standard deviation 1, measured on the training rows."""

    def __init__(self, config: ScalingConfig) -> None:
        self.config = config
        self.mean = np.zeros(1, np.float32)
        self.scale = np.ones(1, np.float32)

    @classmethod
    def load(cls, config: ScalingConfig, folder: Path) -> Scaling:
        """What ``save`` wrote."""
        loaded = cls(config)
        with np.load(folder / "scaling.npz") as stored:
            loaded.mean, loaded.scale = stored["mean"], stored["scale"]
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Measure; rows that cannot be read are left out.

        Raises:
            DataError: none is left.
        """
        rows = []
        for index in indices:
            try:
                rows.append(reader[int(index)].inputs)
            except ItemError:
                continue
        if not rows:
            raise DataError(f"none of {len(indices)} training rows can be read", hint="repcore inspect DATA says why")
        table = np.stack(rows)
        self.mean = table.mean(0)
        self.scale = np.maximum(table.std(0), self.config.smallest)

    def facts(self) -> Mapping[str, Any]:
        """The sizes that encoder and objective leave to the data."""
        return {"columns": len(self.mean)}

    def prepare(self, sample: Sample) -> list[Item]:
        """One item a row."""
        if len(sample.inputs) != len(self.mean):
            reason = f"{len(sample.inputs)} numbers; the model was trained on {len(self.mean)}"
            raise ItemError("other_columns", reason)
        return [Item((sample.inputs - self.mean) / self.scale)]

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack rows to (B, C)."""
        values = torch.from_numpy(np.stack([item.values for item in items]))
        return Batch(inputs={"values": values}, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Every row costs the same."""
        return 1

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Mean and standard deviation of every column."""
        np.savez(folder / "scaling.npz", mean=self.mean, scale=self.scale)
        return {"columns": len(self.mean)}


def scaled_values(preprocessor: Scaling, samples: Iterable[Sample]) -> np.ndarray:
    """The raw numbers, which every probe shows beside the embeddings."""
    return np.stack([preprocessor.prepare(sample)[0].values for sample in samples])
