"""Sets of small_presets.py whose labels belong to voxels: Dice of frozen features, twin and raw features beside them.

A side is the trained encoder or its random twin, all stages or the coarser half read linearly between tokens, with raw
features of the domain joined (`JOINED`), or raw features alone (`RAW`). Which features and which protocol of elements
stand for a side and a number of labelled scans is chosen by the mean Dice of an inner split of the labelled training
scans, two thirds against up to `HELD` of the others; then fitted once on all of them. Dice is the mean over the
foreground classes of a scan, then over test scans. All sides learn from the same drawn voxels.

Symbols: E voxels of a scan, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repcore import registry
from repcore.config.resolve import resolve_part
from repcore.embedding.dense import DensePlace, covering, dense_row, element_features, find_place
from repcore.embedding.inference import InferenceOptions, windows_of
from repcore.embedding.model import Model
from repcore.embedding.windows import PreparedRow
from repcore.evaluation.probes.dense import ElementProbe

LEVEL, ALL, DEEP = "voxel", "all-linear", "deep-linear"
FOREST, MLP = "dense-forest@1", "dense-mlp@1"
JOINED = ((ALL, "place"), (ALL, "filters-and-place"), (DEEP, "filters-and-place"))
ENCODED = (MLP,)  # forests on these many features were below in nearly every pilot
RAW = tuple((name, form) for name in ("intensities-and-place", "filters-and-place") for form in (FOREST, MLP))
NAMES = tuple(dict.fromkeys([*(name for _, name in JOINED), *(name for name, _ in RAW)]))
HELD = 8  # scans of the inner split that are answered
PER_CLASS = 6000  # drawn voxels of each class, the same number of each scan
Found = dict[str, np.ndarray]  # features (E, D) by name: of encoders and raw
Key = tuple[tuple[str, ...], str]  # features side by side, and a protocol


RAW_KNOWN: dict[tuple[str, int], Found] = {}  # by data set and row: the same for every seed


class Scans:
    """Features of the scans of a data set; raw ones are made once.

    Args:
        encoders: by side.
    """

    def __init__(self, model: Model, encoders: Mapping[str, nn.Module], path: Path, label: str) -> None:
        self.model, self.encoders, self.label = model, encoders, label
        self.reader = model.reader(str(path))
        self.preprocessor = covering(model.preprocessor)
        entry = model.registry.preprocessor(model.folder.preprocessor_name)
        self.functions = {name: entry.load("dense_baselines", name) for name in NAMES}
        self.places: dict[str, DensePlace] = {}

    def read(self, number: int) -> tuple[Found, np.ndarray]:
        """All features of a scan, and class numbers (E,)."""
        ((row,),) = windows_of(self.preprocessor, self.reader, InferenceOptions(), [number], whole=True)
        assert row.sample is not None
        labels = row.sample.targets[self.label].read().round().astype(np.int64).reshape(-1)
        key = (self.reader.fingerprint, number)
        if key not in RAW_KNOWN:
            RAW_KNOWN[key] = {name: flat(self.of_raw(name, row)) for name in NAMES}
        found = dict(RAW_KNOWN[key])
        for side, encoder in self.encoders.items():
            values = flat(self.of_encoder(side, row))
            widths: tuple[int, ...] = encoder.widths  # type: ignore[assignment]  # of a backbone of volumes
            coarser = sum(widths[len(widths) // 2 :])
            found |= {f"{side} {ALL}": values, f"{side} {DEEP}": values[:, -coarser:]}
        return found, labels

    def of_raw(self, name: str, row: PreparedRow) -> np.ndarray:
        found: np.ndarray = self.functions[name](self.preprocessor, row.sample, row.items, LEVEL)
        return found

    def of_encoder(self, name: str, row: PreparedRow) -> np.ndarray:
        encoder = self.encoders[name].eval()
        if name not in self.places:
            self.places[name] = find_place(encoder, self.preprocessor, [row], LEVEL, "cpu", ALL)
        read = element_features(encoder, self.places[name])
        answer = dense_row(read, self.preprocessor, row, InferenceOptions(), LEVEL, self.model.domain).answer
        assert answer is not None
        return answer.outputs


def flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1, np.shape(values)[-1])


class Labelled:
    """So many labelled training scans: drawn voxels of each, and whole scans of the inner split."""

    def __init__(self, train: np.ndarray, count: int) -> None:
        self.rows = np.sort(np.random.default_rng(0).permutation(train)[: count or None])
        order = np.random.default_rng(1).permutation(self.rows)
        cut = -(-2 * len(order) // 3)
        self.kept, self.held = order[:cut], order[cut:][:HELD]
        self.drawn: dict[int, tuple[Found, np.ndarray]] = {}
        self.frequency: dict[int, Counter[int]] = {}
        self.whole: dict[int, tuple[Found, np.ndarray]] = {}

    def add(self, row: int, found: Found, labels: np.ndarray) -> None:
        if row not in self.rows:
            return
        rng, each = np.random.default_rng(row), -(-PER_CLASS // len(self.rows))
        places = [rng.permutation(np.flatnonzero(labels == one))[:each] for one in np.unique(labels)]
        chosen = np.concatenate(places)
        self.drawn[row] = {name: values[chosen] for name, values in found.items()}, labels[chosen]
        self.frequency[row] = Counter(labels.tolist())
        if row in self.held:
            self.whole[row] = found, labels

    def fitted(self, key: Key, rows: np.ndarray) -> ElementProbe:
        part = resolve_part(registry.default(), "probe", key[1], {}, None)
        probe: ElementProbe = part.entry.load()(part.config)
        features = np.concatenate([joined(key, self.drawn[int(row)][0]) for row in rows])
        classes = np.concatenate([self.drawn[int(row)][1] for row in rows])
        frequency: Counter[int] = Counter()
        for row in rows:
            frequency.update(self.frequency[int(row)])
        return probe.fit(features, classes, frequency)

    def inner(self, key: Key) -> float:
        """Mean Dice of the inner split."""
        probe = self.fitted(key, self.kept)
        return float(
            np.mean([dice(probe.predict(joined(key, found)), labels) for found, labels in self.whole.values()])
        )


def joined(key: Key, found: Found) -> np.ndarray:
    return np.concatenate([found[name] for name in key[0]], axis=1)


def dice(answered: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the foreground classes of one scan."""
    classes = [one for one in np.unique(labels).tolist() if one > 0]
    hits = [2.0 * ((answered == one) & (labels == one)).sum() for one in classes]
    return float(
        np.mean(
            [hit / ((answered == one).sum() + (labels == one).sum()) for hit, one in zip(hits, classes, strict=True)]
        )
    )


def candidates(side: str, encoders: Sequence[str]) -> list[Key]:
    if side in encoders:
        return [((f"{side} {tokens}", name), form) for tokens, name in JOINED for form in ENCODED]
    return [((name,), form) for name, form in RAW]


def in_words(side: str, key: Key) -> str:
    return f"{' + '.join(name.removeprefix(side).strip() for name in key[0])}, {key[1]}"


def drawn(scans: Scans, train: np.ndarray, counts: Sequence[int]) -> list[Labelled]:
    """Voxels of labelled training scans, for each number of them."""
    parts = [Labelled(train, count) for count in counts]
    for row in sorted({int(row) for part in parts for row in part.rows}):
        found, labels = scans.read(row)
        for part in parts:
            part.add(row, found, labels)
    return parts


def inner(scans: Scans, counts: Mapping[str, int], further: Sequence[str]) -> dict[str, dict[str, float]]:
    """Dice of the inner split by set, and by side, features and protocol."""
    names = list(scans.encoders)
    parts = drawn(scans, np.asarray(scans.reader.splits["train"], np.int64), list(counts.values()))
    return {
        name: {
            f"{side}: {in_words(side, key)}": round(part.inner(key), 4)
            for side in (*names, *further)
            for key in candidates(side, names)
        }
        for name, part in zip(counts, parts, strict=True)
    }


def judged(
    scans: Scans, counts: Mapping[str, int], known: Mapping[str, Mapping[str, Any]], baseline: str
) -> dict[str, dict[str, Any]]:
    """What small_presets.py keeps of each set: facts, and every side's choice and figures on the test scans.

    Args:
        counts: labelled training scans by name of the set; 0 = all.
        known: sets whose baseline has been read before.
    """
    train, test = (np.asarray(scans.reader.splits[name], np.int64) for name in ("train", "test"))
    names = list(scans.encoders)
    sides = [*names, *([] if all(name in known for name in counts) else [baseline])]
    parts = drawn(scans, train, list(counts.values()))
    tried = [{side: {key: part.inner(key) for key in candidates(side, names)} for side in sides} for part in parts]
    best = [{side: max(own, key=lambda key: own[key]) for side, own in one.items()} for one in tried]
    probes = [
        {side: part.fitted(key, part.rows) for side, key in keys.items()}
        for part, keys in zip(parts, best, strict=True)
    ]
    each: list[dict[str, list[float]]] = [{side: [] for side in sides} for _ in parts]
    for row in test:
        found, labels = scans.read(int(row))
        for own, keys, fitted in zip(each, best, probes, strict=True):
            for side, key in keys.items():
                own[side].append(round(dice(fitted[side].predict(joined(key, found)), labels), 4))
    sets: dict[str, dict[str, Any]] = {}
    for name, own, keys, inner in zip(counts, each, best, tried, strict=True):
        sets[name] = {"metric": "dice", "kind": "class", "rows": len(test)}
        for side in sides:
            values = own[side]
            fold = {"score": round(float(np.mean(values)), 4), "each": values, "truth": [0.0] * len(test)}
            told = {in_words(side, key): round(value, 4) for key, value in inner[side].items()}
            sets[name][side] = {
                "score": fold["score"], "chosen": [in_words(side, keys[side])], "inner": told,
                "folds": [fold | {"rows": test.tolist()}],
            }  # fmt: skip
        if baseline not in sides:
            sets[name][baseline] = known[name][baseline]
    return sets
