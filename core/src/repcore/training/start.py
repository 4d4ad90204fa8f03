"""What an objective may look at once, when a new run is assembled: the training rows, and vectors of them.

Symbols: n rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from repcore.embedding.inference import InferenceOptions, run_windows
from repcore.interfaces import DatasetReader, Preprocessor


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of the rows that have one.

    Args:
        ids: of the rows.
        values: float32 (n, D).
        failed: rows that have none.
    """

    ids: list[str]
    values: np.ndarray
    failed: int


@dataclass(frozen=True, slots=True)
class RunStart:
    """Given to ``Objective.begin`` before the first step of a new run; a resumed run has what it kept.

    Args:
        reader / preprocessor / encoder: as the run has them, the encoder with the weights that it starts from.
        train / validation: row numbers of the reader.
        domain: of the run.
        say: tells the user something.
    """

    reader: DatasetReader
    preprocessor: Preprocessor
    encoder: nn.Module
    train: np.ndarray
    validation: np.ndarray
    domain: str
    say: Callable[[str], None]

    def vectors(
        self, rows: np.ndarray, encoder: nn.Module | None = None, preprocessor: Preprocessor | None = None
    ) -> Vectors:
        """Pooled vectors of rows by the run's encoder, or by another model's encoder and preprocessor."""
        parts = list(
            run_windows(
                self.encoder if encoder is None else encoder,
                self.preprocessor if preprocessor is None else preprocessor,
                self.reader,
                InferenceOptions(),
                rows=rows,
                domain=self.domain,
            )
        )
        ids = [one for part in parts for one in part.ids]
        values = np.concatenate([part.vectors for part in parts]) if parts else np.zeros((0, 0), np.float32)
        good = np.isfinite(values).all(1) & (np.linalg.norm(values, axis=1) > 0)
        return Vectors([one for one, kept in zip(ids, good, strict=True) if kept], values[good], int((~good).sum()))
