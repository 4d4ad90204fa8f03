"""Which layers of an encoder tell an attribute: one small dictionary for the vectors of all layers, and the codes that
only rows with the attribute show, each score with a permutation p-value.

Our reading of O'Neill and Bui 2024 (arXiv 2405.12522), modules being layers: rows are a layer's mean over its tokens.
Layers differ in mean and length, so each is centred and brought to one mean length first: without that a code says
which layer it comes from and nothing else.

Symbols: N rows, H layers, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from repcore.embedding.inference import InferenceOptions, embed_prepared, windows_of
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError
from repcore.interfaces import DatasetReader, FeatureBatch
from repcore.specs import TargetSpec
from repcore_generic.configs.estimators import SparseCodesConfig
from repcore_generic.estimators.codes import SparseCodes
from repcore_generic.estimators.dictionary import strongest
from repcore_generic.estimators.module_codes import NO_CODE, ModuleScores, contrast, holm

FEWEST = 3  # rows with the attribute, and without


@dataclass(frozen=True, slots=True)
class LayerContrast:
    """What was found.

    Args:
        layers: numbers of the layers, (H,).
        scores: of :func:`contrast`, with ``adjusted`` p-values (Holm) beside.
        codes: int (N, H), -1 = no entry fires.
        is_positive: bool (N,).
        rows: numbers of the rows in the data, (N,).
    """

    layers: Sequence[int]
    scores: ModuleScores
    adjusted: np.ndarray
    codes: np.ndarray
    is_positive: np.ndarray
    rows: np.ndarray

    def table(self) -> list[tuple[str, ...]]:
        """Layer, score, weight, p-value, p-value after Holm, rows that show a code of their own; best first."""
        found = self.scores
        order = np.lexsort((np.asarray(self.layers), -found.score, found.p_value))
        return [
            (str(self.layers[place]), f"{found.score[place]:.3f}", f"{found.weight[place]:.3f}",
             f"{found.p_value[place]:.4g}", f"{self.adjusted[place]:.4g}", f"{found.edges[place, place]:.0%}")
            for place in order
        ]  # fmt: skip

    def examples(self, layer: int) -> list[int]:
        """Rows with the attribute whose code at this layer no row without it shows."""
        place = list(self.layers).index(layer)
        others = set(self.codes[~self.is_positive, place].tolist()) | {NO_CODE}
        return [
            int(row)
            for row, code, positive in zip(self.rows, self.codes[:, place], self.is_positive, strict=True)
            if positive and int(code) not in others
        ]


HEADERS = ("layer", "score", "weight", "p-value", "p-value (Holm)", "rows with a code of their own")


def vectors_of_layers(
    model: Model, reader: DatasetReader, options: InferenceOptions, target: TargetSpec
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Layers, their vectors (H, N, D) and labels (N,); rows without either are NaN.

    Raises:
        ConfigError: the encoder gives no layers.
    """
    entry = model.registry.encoder(model.folder.encoder_name)
    if "layers" not in entry.spec.capabilities:
        raise ConfigError(
            f"encoder {entry.full_name} gives no layers to compare",
            it_offers=", ".join(entry.spec.capabilities) or "nothing beyond a vector an item",
        )
    first = int(getattr(model.encoder, "first_layer", 0))
    layers = list(range(first, int(model.encoder.depth) + 1))  # type: ignore[arg-type]  # what ``layers`` promises
    model.encoder.eval()
    parts: list[list[np.ndarray]] = [[] for _ in layers]
    labels: list[float] = []
    for window in windows_of(model.preprocessor, reader, options):
        for place, layer in enumerate(layers):
            asked = replace(options, layer=layer)
            found = embed_prepared(model.encoder, model.preprocessor, window, asked, model.poolings, model.domain)
            parts[place].append(found.vectors)
        for row in window:
            value = None if row.sample is None else row.sample.targets.get(target.name)
            labels.append(np.nan if value is None else float(value))
    return layers, np.stack([np.concatenate(one) for one in parts]), np.asarray(labels)


def positives(labels: np.ndarray, target: TargetSpec, value: str | None) -> tuple[np.ndarray, str]:
    """Which rows have the attribute, bool (N,), and what it is in words.

    Args:
        value: a class by name or number; of a number as label: nothing, rows above the median have it.

    Raises:
        ConfigError: no such class. DataError: labels that are neither classes nor numbers.
    """
    if target.kind == "regression":
        if value is not None:
            raise ConfigError(f"--positive {value}: {target.name} is a number, its upper half is taken")
        middle = float(np.nanmedian(labels))
        return labels > middle, f"{target.name} above {middle:.4g}"
    if target.kind != "class":
        raise DataError(f"label {target.name!r} is {target.kind}", expected="class or regression")
    names = list(target.names) or [f"{one:g}" for one in np.unique(labels[np.isfinite(labels)])]
    if value is None and len(names) == 2:
        value = names[1]
    if value not in names:
        raise ConfigError(f"--positive {value}: {target.name} has no such class", expected=", ".join(names))
    number = names.index(value) if target.names else float(value)
    return labels == number, f"{target.name} = {value}"


def contrast_layers(
    layers: Sequence[int],
    vectors: np.ndarray,
    labels: np.ndarray,
    is_positive: np.ndarray,
    config: SparseCodesConfig,
    permutations: int,
) -> LayerContrast:
    """Scores of all layers.

    Args:
        vectors: (H, N, D).
        labels: (N,), NaN = left out.
        permutations: random orders of the labels; the smallest p-value is 1 / (permutations + 1).

    Raises:
        DataError: fewer than three rows with, or without, the attribute.
    """
    known = np.flatnonzero(np.isfinite(labels) & np.isfinite(vectors).all((0, 2)))
    mine = is_positive[known]
    if min(mine.sum(), (~mine).sum()) < FEWEST:
        raise DataError(
            f"{int(mine.sum())} rows have the attribute and {int((~mine).sum())} do not", expected="at least 3 of each"
        )
    rows = vectors[:, known].astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=2).mean(1), 1e-12)[:, None, None]
    flat = rows.reshape(-1, rows.shape[2]).astype(np.float32)
    codes = SparseCodes(config).fit([FeatureBatch([str(one) for one in range(len(flat))], flat)])
    active = torch.from_numpy(codes.maps(FeatureBatch([""] * len(flat), flat)))
    found = strongest(active).numpy().reshape(len(layers), len(known)).T
    rng = np.random.default_rng(config.seed)
    orders = np.stack([rng.permutation(len(known)) for _ in range(permutations)])
    scores = contrast(found[mine], found[~mine], orders)
    return LayerContrast(layers, scores, holm(scores.p_value), found, mine, known)
