"""What is made of features after training: tasks, probes, protocols that ask the network, estimators.

Symbols: B items of a batch, N rows, K labels or outputs, D feature width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from repcore.interfaces.data import Batch, Item
from repcore.specs import TargetSpec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from repcore.interfaces.features import Encoder


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

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar.

        Args:
            labels: as the data has them, float32; numbers and class numbers float64 where the task's attribute
                ``takes_float64`` is true, which then standardises before it rounds.
        """
        ...

    def predict(self, outputs: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ProbeSplit:
    """Row numbers of one evaluation split.

    Args:
        groups: int64, a group number for every row of the data, -1 = none; None where the data has no groups.
        unlabelled: further rows of the training part, whose labels are missing or do not count.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray | None = None
    groups: np.ndarray | None = None
    unlabelled: np.ndarray | None = None


class Probe(Protocol):
    """A protocol with fixed constants on frozen features; called as ``target(config)``.

    ``score`` gets features (N, D) and labels (N,) or (N, K) with NaN = missing and returns metric name -> value;
    ``constants`` returns everything that fixes the protocol, written beside each result.
    """

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        """Figures on the test part of the split, by name.

        Args:
            features: (N, D), finite in the rows of the split.
            labels: class numbers or numbers (N,), or 0/1 (N, K); NaN = missing.
            seed: not used by a protocol without randomness.

        Raises:
            ConfigError: the protocol is not for such labels. DataError, ShapeError: features, labels and split do not
                fit together, or nothing is labelled.
        """
        ...

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
