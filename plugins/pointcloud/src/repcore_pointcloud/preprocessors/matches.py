"""Preprocessor ``pointcloud/matches``: matches of a pair of clouds to tensors, padded where pairs differ in number.

Which matches are right follows from the pair's motion, where it is known; no encoder reads that.

Symbols: B pairs, N matches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repcore.errors import ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_pointcloud.configs.vbreg import MatchSetConfig
from repcore_pointcloud.formats.match_set import MatchSet

FEWEST = 3
TYPICAL = (3.0, 3000.0)  # spread of matches over inlier distance; beyond it the unit is likely another
ENDS = ("source", "target")


class MatchPreprocessor:
    """Both ends of the matches, and whether they are right.

    Args:
        config: when a match is right.
    """

    def __init__(self, config: MatchSetConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, config: MatchSetConfig, folder: Path) -> MatchPreprocessor:
        """Nothing is fitted, so that the config says all."""
        del folder
        return cls(config)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Nothing is learned from data."""

    def facts(self) -> Mapping[str, Any]:
        return {}

    def inputs_from(self, value: Any) -> Any:
        """An array (n, 6): source and target of each match."""
        if isinstance(value, MatchSet):
            return value
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 6 and value.dtype.kind in "fiu":
            return MatchSet(value[:, :3].astype(np.float64), value[:, 3:].astype(np.float64))
        return None

    def prepare(self, sample: Sample) -> list[Item]:
        """One item a pair.

        Raises:
            ItemError: ``few_matches``, fewer than three with finite ends.
        """
        pair: MatchSet = sample.inputs
        ends = np.asarray(pair, np.float64)
        finite = np.atleast_1d(np.isfinite(ends).all(1))
        if finite.sum() < FEWEST:
            raise ItemError("few_matches", f"{int(finite.sum())} matches with finite ends; a motion needs {FEWEST}")
        distance = pair.distances()[finite]
        right = np.where(np.isfinite(distance), distance < self.config.inlier_distance_m, np.nan)
        ends = ends[finite]
        middle = ends.mean(0)
        values = {"source": ends[:, :3] - middle[:3], "target": ends[:, 3:] - middle[3:], "right": right}
        values = {name: one.astype(np.float32) for name, one in values.items()}
        return [Item(values, {"matches": len(ends)}, *self._remark(ends, len(finite) - len(ends)))]

    def _remark(self, ends: np.ndarray, dropped: int) -> tuple[str, str]:
        """Status and reason of something that a user should know."""
        spread = float(np.median(np.linalg.norm(ends[:, :3] - np.median(ends[:, :3], axis=0), axis=1)))
        ratio = spread / self.config.inlier_distance_m
        if not TYPICAL[0] <= ratio <= TYPICAL[1]:
            said = f"matches spread over {spread:.3g}, {ratio:.3g} times the inlier distance"
            return "odd_scale", f"{said}; metres against millimetres?"
        if dropped:
            return "matches_dropped", f"{dropped} matches have an end that is NaN or infinite"
        return "ok", ""

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``source`` and ``target`` (B, N, 3), ``valid`` bool (B, N), ``right`` (B, N), NaN = not known."""
        most = max((len(one.values["right"]) for one in items), default=0)
        inputs: dict[str, Tensor] = {
            "source": torch.zeros(len(items), most, 3),
            "target": torch.zeros(len(items), most, 3),
            "valid": torch.zeros(len(items), most, dtype=torch.bool),
            "right": torch.full((len(items), most), torch.nan),
        }
        for row, item in enumerate(items):
            count = len(item.values["right"])
            for name in (*ENDS, "right"):
                inputs[name][row, :count] = torch.from_numpy(item.values[name])
            inputs["valid"][row, :count] = True
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Pairs of matches: the network compares all with all."""
        return int(meta["matches"]) ** 2

    def save(self, folder: Path) -> Mapping[str, Any]:
        del folder
        return {}


def length_statistics(preprocessor: MatchPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: deciles over matches of the share of others that keep their distance to it, (N, 11)."""
    rows = []
    for sample in samples:
        values = preprocessor.prepare(sample)[0].values
        lengths = [np.linalg.norm(values[name][:, None] - values[name][None], axis=2) for name in ENDS]
        kept = (np.abs(lengths[0] - lengths[1]) < preprocessor.config.inlier_distance_m).mean(1)
        rows.append(np.quantile(kept, np.linspace(0, 1, 11)))
    return np.stack(rows)
