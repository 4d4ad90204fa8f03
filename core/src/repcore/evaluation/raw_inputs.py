"""Raw inputs beside the encoder: the baselines that a preprocessor names, and the probes that suit them.

Symbols: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repcore.data.guard import item_guard
from repcore.embedding.model import Model
from repcore.errors import ItemError
from repcore.interfaces import Baseline, Preprocessor, Sample
from repcore.registry import Entry
from repcore.specs import PreprocessorSpec

RAW_FORMS = ("centred@1", "forest@1", "rbf-svm@1")
"""Further probes of raw inputs, where they fit the kind of label: their own scale, trees, a kernel."""


class RawFeatures:
    """Baselines that the preprocessor's spec names, (N, D) each, NaN where a row cannot be read; window by window.

    Columns of a baseline may depend on the rows that it is given (counts of symbols that occur): such a one sees all
    rows at once, at the end, or columns of different windows would mean different things.

    Args:
        entry: of the preprocessor.
        names: the baselines in question; None = all.
    """

    def __init__(
        self, entry: Entry[PreprocessorSpec], preprocessor: Preprocessor, names: Sequence[str] | None = None
    ) -> None:
        self.preprocessor = preprocessor
        chosen = entry.spec.baselines if names is None else names
        self.functions = {name: entry.load("baselines", name) for name in chosen}
        self._parts: dict[str, list[tuple[int, list[int], np.ndarray]]] = {name: [] for name in self.functions}
        self._together: dict[str, bool] = {}
        self._kept: list[tuple[int, Sample]] = []
        self._rows = 0

    @classmethod
    def of(cls, model: Model) -> RawFeatures:
        """All baselines of the data that a model reads."""
        return cls(model.registry.preprocessor(model.folder.preprocessor_name), model.preprocessor)

    def add(self, samples: Sequence[Sample | None]) -> None:
        """The samples of the next rows, with their inputs."""
        readable = [number for number, one in enumerate(samples) if one is not None]
        held = [one for one in samples if one is not None]
        seen = [*(one for _, one in self._kept), *held]  # while it is not known what columns depend on
        for name, function in self.functions.items():
            if readable and not self._together.get(name, False):
                values = _baseline(function, self.preprocessor, held)
                if name not in self._together and len(seen) > 1:
                    among = values if len(seen) == len(held) else _baseline(function, self.preprocessor, seen)
                    self._together[name] = _depends_on_rows(function, self.preprocessor, seen[0], among)
                self._parts[name].append((self._rows, readable, values))
        if not self._together or any(self._together.values()):
            self._kept += [(self._rows + number, one) for number, one in zip(readable, held, strict=True)]
        self._rows += len(samples)

    def joined(self) -> dict[str, np.ndarray]:
        found = {}
        for name, parts in self._parts.items():
            covered = sum(len(readable) for _, readable, _ in parts)
            if self._together.get(name, False) and (len(parts) > 1 or covered < len(self._kept)):
                rows, kept = [row for row, _ in self._kept], [one for _, one in self._kept]
                parts = [(0, rows, _baseline(self.functions[name], self.preprocessor, kept))]
            full = np.full((self._rows, max((values.shape[1] for _, _, values in parts), default=1)), np.nan)
            for start, readable, values in parts:
                full[start + np.asarray(readable), : values.shape[1]] = values
            found[name] = full
        return found


def _baseline(function: Baseline, preprocessor: Preprocessor, samples: list[Sample]) -> np.ndarray:
    """Features of all samples (n, D); those that the baseline cannot use become NaN."""
    try:
        with item_guard(function, "raw features"):
            return np.asarray(function(preprocessor, samples), np.float64)
    except ItemError:  # some sample is to blame: find it, the others keep their features
        each = [_one_baseline(function, preprocessor, sample) for sample in samples]
        width = max((len(one) for one in each if one is not None), default=1)
        return np.stack([np.full(width, np.nan) if one is None else one for one in each])


def _depends_on_rows(function: Baseline, preprocessor: Preprocessor, first: Sample, values: np.ndarray) -> bool:
    """Whether the first of several rows gets other features alone than among them."""
    alone = _one_baseline(function, preprocessor, first)
    if alone is None:
        return False
    return alone.shape != values[0].shape or not np.allclose(alone, values[0], rtol=1e-3, atol=1e-6, equal_nan=True)


def _one_baseline(function: Baseline, preprocessor: Preprocessor, sample: Sample) -> np.ndarray | None:
    try:
        with item_guard(function, "raw features"):
            return np.asarray(function(preprocessor, [sample]), np.float64)[0]
    except ItemError:
        return None
