"""What an objective may look at once, when a new run is assembled: the training rows, and vectors of them.

Symbols: n rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from repcore.data.preparation import source_rows
from repcore.embedding.inference import InferenceOptions, run_windows
from repcore.errors import ConfigError, closest
from repcore.interfaces import DatasetReader, Preprocessor
from repcore.registry import Entry
from repcore.specs import PreprocessorSpec
from repcore.training.computing import Computing


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
class Computed:
    """What a domain computes from its inputs.

    Args:
        rows / ids: number in the run's reader and id of each row that can be read (n).
        values: name of a baseline -> float64 (n, D), NaN rows where it cannot be computed.
    """

    rows: np.ndarray
    ids: list[str]
    values: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class RunStart:
    """Given to ``Objective.begin`` before the first step of a new run; a resumed run has what it kept.

    Args:
        reader / preprocessor / encoder: as the run has them, the encoder with the weights that it starts from.
        train / validation: row numbers of the reader.
        domain: of the run.
        say: tells the user something.
        own_reader: the data set's, over which ``reader`` may stand prepared; None = ``reader``.
        preprocessor_entry: where the preprocessor is registered; None where that is not known.
    """

    reader: DatasetReader
    preprocessor: Preprocessor
    encoder: nn.Module
    train: np.ndarray
    validation: np.ndarray
    domain: str
    say: Callable[[str], None]
    own_reader: DatasetReader | None = None
    preprocessor_entry: Entry[PreprocessorSpec] | None = None

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

    def computed(self, rows: np.ndarray, names: Sequence[str] = ()) -> Computed:
        """Baselines of the preprocessor on rows as the data set gives them, before anything was prepared; computed once
        and kept in the cache.

        Args:
            rows: row numbers of ``reader``.
            names: of baselines; empty = all.

        Raises:
            ConfigError: the preprocessor has no baselines, or none of a name.
        """
        known = {} if self.preprocessor_entry is None else self.preprocessor_entry.spec.baselines
        unknown = next((name for name in names if name not in known), None)
        if self.preprocessor_entry is None or not known or unknown is not None:
            raise ConfigError(
                f"{self.domain} computes no {unknown!r} from its inputs" if unknown else
                f"the preprocessor of {self.domain} computes nothing from its inputs beside the encoder",
                expected=", ".join(known) or "a preprocessor with baselines",
                did_you_mean=closest(unknown or "", known),
            )  # fmt: skip
        own = self.reader if self.own_reader is None else self.own_reader
        asked = np.unique(np.asarray(rows, np.int64))
        places = source_rows(self.reader, own, asked)
        computing = Computing(
            self.preprocessor_entry, self.preprocessor, tuple(names) or tuple(known), places, self.say
        )
        read, ids, values = computing.of(own)
        return Computed(asked[read], ids, values)
