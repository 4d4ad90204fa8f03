"""Outputs and features at the elements of each sample: points, voxels, frames, nodes, edges.

One item (a window, a cube, a graph) is run at a time, so that memory is that of the largest one; the preprocessor's
``restore`` brings the outputs of a sample's items back to its own elements.

Symbols: E elements of an item, N elements of a sample, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.data.batching import plain_batch
from repcore.data.guard import as_item_error, concerns_item, item_guard
from repcore.embedding.inference import InferenceOptions, windows_of
from repcore.embedding.windows import PreparedRow
from repcore.errors import ConfigError, DataError, ItemError, PluginError
from repcore.interfaces import Batch, DatasetReader, DenseAnswer, Features, Preprocessor, Tokens
from repcore.registry import Entry
from repcore.specs import DenseWriterSpec, TargetSpec

LEVELS = ("point", "voxel", "token", "node", "edge")
ALIASES = {"frame": "token"}


class NothingUsableError(DataError):
    """No row can be used, so nothing shows what the encoder gives."""


def level_of(word: str) -> str:
    """A dense level by name or alias (``frame`` = ``token``).

    Raises:
        ConfigError: it is none.
    """
    level = ALIASES.get(word, word)
    if level not in LEVELS:
        raise ConfigError(f"--level {word!r} is no level of elements", expected=", ".join((*LEVELS, *ALIASES)))
    return level


def usual_level(levels: Sequence[str], writers: Iterable[Entry[DenseWriterSpec]]) -> str:
    """The level of elements that is meant where none is named.

    Args:
        levels: token levels of the encoder.
        writers: of the domain, which say about which levels it has answers.
    """
    of_domain = [one.spec.level for one in writers if one.spec.level]
    named = [one for one in levels if one in LEVELS]
    both = [one for one in named if one in of_domain]
    return next(iter((*both, *of_domain, *named, "token")))


def covering(preprocessor: Preprocessor) -> Preprocessor:
    """The preprocessor whose items together hold every element of a sample; see :class:`DensePreprocessor`."""
    method = getattr(preprocessor, "covering", None)
    return preprocessor if method is None else cast(Preprocessor, method())


@dataclass(frozen=True, slots=True)
class DensePlace:
    """The encoder's token level behind a level of elements, and its width.

    ``is_readout``: tokens that the encoder's ``read`` gives, not those of ``forward``.
    """

    tokens: str
    width: int
    is_readout: bool = False


@dataclass(frozen=True, slots=True)
class DenseRow:
    """One row: an answer about its elements, or why there is none.

    Args:
        reason: also how many elements have no answer.
        labels: what the data says, by name.
        unanswered: elements without an answer, of a row that has one.
    """

    id: str
    status: str
    reason: str
    answer: DenseAnswer | None
    labels: Mapping[str, Any]
    unanswered: int = 0


@torch.inference_mode()
def find_place(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    rows: Iterable[PreparedRow],
    level: str,
    device: str = "cpu",
    tokens: str | None = None,
) -> DensePlace:
    """Which tokens of the encoder answer for a level: those of its name, else those that lead back to elements, else
    the first; or those that are asked for by name, a level or a readout.

    Raises:
        NothingUsableError: no row can be used. ConfigError: the encoder has no tokens, or none of that name.
    """
    features, problem, width = None, "", 0
    is_readout = tokens is not None and tokens in getattr(encoder, "readouts", ())
    was_training = encoder.training
    encoder.eval()
    for row in rows:
        try:
            if row.items:
                with _network_guard(preprocessor):
                    batch = plain_batch(preprocessor, row.items[:1], [_sample(row)], (), "").to(device)
                    features = cast(Features, encoder(batch))
                    if is_readout:
                        width = int(encoder.read(tokens, batch).values.shape[-1])  # type: ignore[operator]
                break
            problem = problem or row.reason
        except ItemError as error:
            problem = problem or error.reason
    encoder.train(was_training)
    if features is None:
        raise NothingUsableError(
            "no row can be used, so nothing shows which tokens the encoder gives", first_reason=problem
        )
    if is_readout:
        return DensePlace(str(tokens), width, is_readout=True)
    return place_of(features, level, encoder, tokens)


def place_of(features: Features, level: str, encoder: nn.Module, tokens: str | None = None) -> DensePlace:
    """The same from what the encoder gave.

    Raises:
        ConfigError: it gave no tokens, or none of that name.
    """
    if not features.tokens:
        raise ConfigError(f"{type(encoder).__name__} gives no tokens, so it has no level {level!r}")
    known = (*features.tokens, *getattr(encoder, "readouts", ()))
    if tokens is not None and tokens not in known:
        raise ConfigError(f"--tokens {tokens!r}: {type(encoder).__name__} gives no such tokens", known=", ".join(known))
    if tokens is not None:
        return DensePlace(tokens, int(features.tokens[tokens].values.shape[-1]))
    back = [name for name, own in features.tokens.items() if own.source is not None]
    name = level if level in features.tokens else (back or list(features.tokens))[0]
    return DensePlace(name, int(features.tokens[name].values.shape[-1]))


def dense_windows(
    function: Callable[[Batch], Tensor],
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    *,
    level: str,
    domain: str,
    rows: Sequence[int] | np.ndarray | None = None,
    target: TargetSpec | None = None,
    values: Sequence[int] = (),
) -> Iterator[DenseRow]:
    """Rows in order, one at a time, about all elements of each sample (:func:`covering`).

    Args:
        function: batch of one item -> outputs of its elements (E, K), NaN where an element has no token.
        target / values: of the answers.
    """
    preprocessor = covering(preprocessor)
    for window in windows_of(preprocessor, reader, options, rows, whole=True):
        for row in window:
            yield dense_row(function, preprocessor, row, options, level, domain, target, values)


def dense_row(
    function: Callable[[Batch], Tensor],
    preprocessor: Preprocessor,
    row: PreparedRow,
    options: InferenceOptions,
    level: str,
    domain: str,
    target: TargetSpec | None = None,
    values: Sequence[int] = (),
) -> DenseRow:
    """One prepared row (with its sample's inputs)."""
    labels = {} if row.sample is None else row.sample.targets
    if not row.items:
        return DenseRow(row.id, row.status, row.reason, None, labels)
    try:
        run = Outputs(function, preprocessor, row, options, domain)
        outputs: Sequence[np.ndarray] = run
        if not getattr(preprocessor, "restores_one_by_one", False):
            outputs = list(outputs)
        with item_guard(preprocessor, "going back to elements"):
            found = run.whole(restored(preprocessor, row, outputs, level))
            columns = _elements(preprocessor, row, level)
    except ItemError as error:
        return DenseRow(row.id, error.status, error.reason, None, labels)
    answer = DenseAnswer(_sample(row), level, found, target, tuple(values), columns)
    known, total = answer.known(), int(np.prod(found.shape[:-1]))
    if not known:
        return DenseRow(row.id, "not_finite", "the network gave NaN or Inf for every element", None, labels)
    left = f"{total - known:,} of {total:,} elements have no answer" if known < total else ""
    return DenseRow(row.id, row.status, "; ".join(filter(None, (row.reason, left))), answer, labels, total - known)


class Outputs(Sequence[np.ndarray]):
    """Outputs (E, K) of a row's items, each run when it is asked for.

    A preprocessor with ``restores_one_by_one = True`` gets this as ``outputs`` and asks once for each item, so that the
    outputs of all items are never held at once; any other gets a list.

    Values in the units of labels are float64, the way back to elements is float32: it is gone without their middle,
    which :meth:`whole` adds again.
    """

    def __init__(
        self,
        function: Callable[[Batch], Tensor],
        preprocessor: Preprocessor,
        row: PreparedRow,
        options: InferenceOptions,
        domain: str,
    ) -> None:
        self._given = (function, preprocessor, row, options, domain)
        self._middle: np.ndarray | None = None  # (K,) of the first item with values in the units of labels

    def __len__(self) -> int:
        return len(self._given[2].items)

    def __getitem__(self, number: Any) -> Any:  # no slices
        function, preprocessor, row, options, domain = self._given
        if number >= len(self):
            raise IndexError(number)
        with _network_guard(preprocessor):
            found = _of_item(function, preprocessor, row, number, options, domain)
        if found.dtype != np.float64:
            return found
        if self._middle is None:
            known = found[np.isfinite(found).all(1)]
            self._middle = known.mean(0) if len(known) else None
        return (found if self._middle is None else found - self._middle).astype(np.float32)

    def whole(self, found: np.ndarray) -> np.ndarray:
        """Outputs at a sample's own elements (..., K) with what was taken away: float64 where the values are that."""
        return found if self._middle is None else found + self._middle


@contextmanager
def _network_guard(preprocessor: Preprocessor) -> Iterator[None]:
    """One row that cannot be batched or run is a row; what concerns every row alike goes through."""
    try:
        yield
    except Exception as error:
        if not concerns_item(error):
            raise
        converted = as_item_error(error, preprocessor, "batching and running the network")
        raise converted from error


def _elements(preprocessor: Preprocessor, row: PreparedRow, level: str) -> dict[str, np.ndarray]:
    elements = getattr(preprocessor, "elements", None)
    return {} if elements is None else dict(elements(_sample(row), level))


@torch.inference_mode()
def _of_item(
    function: Callable[[Batch], Tensor],
    preprocessor: Preprocessor,
    row: PreparedRow,
    number: int,
    options: InferenceOptions,
    domain: str,
) -> np.ndarray:
    batch = plain_batch(preprocessor, [row.items[number]], [_sample(row)], (), domain).to(options.device)
    with torch.autocast(torch.device(options.device).type, options.dtype, enabled=options.dtype != torch.float32):
        outputs = function(batch)
    found: np.ndarray = (outputs if outputs.dtype == torch.float64 else outputs.float()).cpu().numpy()
    return found


def restored(preprocessor: Preprocessor, row: PreparedRow, outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
    """Outputs at the sample's own elements (N, K) or (X, Y, Z, K).

    Raises:
        PluginError: several items and no ``restore``.
    """
    restore = getattr(preprocessor, "restore", None)
    if restore is not None:
        found: np.ndarray = np.asanyarray(restore(_sample(row), row.items, outputs, level), np.float32)
        return found
    if len(outputs) != 1:
        raise PluginError(
            f"{type(preprocessor).__name__} gives {len(outputs)} items for {row.id} and no way back to its elements",
            expected="a method restore(sample, items, outputs, level)",
        )
    return outputs[0]


def element_features(encoder: nn.Module, place: DensePlace) -> Callable[[Batch], Tensor]:
    """Features of the elements (E, D) of one item, as a function for :func:`dense_windows`."""

    def of(batch: Batch) -> Tensor:
        read: Any = encoder.read if place.is_readout else None
        tokens: Tokens = encoder(batch).tokens[place.tokens] if read is None else read(place.tokens, batch)
        values = tokens.values
        if tokens.owner is None:
            values = values.reshape(-1, values.shape[-1])
            if tokens.source is None and tokens.valid is not None:
                values = values[tokens.valid.reshape(-1)]
        if tokens.source is None:
            return values
        return values[tokens.source.clamp(min=0)].masked_fill((tokens.source < 0)[:, None], float("nan"))

    return of


def _sample(row: PreparedRow) -> Any:  # a row with items has one
    assert row.sample is not None
    return row.sample
