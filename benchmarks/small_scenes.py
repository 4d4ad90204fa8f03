"""Sets of small_presets.py whose labels belong to points of scenes: mIoU of frozen features, twin and geometry beside.

A side is the trained encoder, its random twin (with BatchNorm statistics of the data, or as drawn: the better one on
inner folds), or hand-crafted geometry (|n_z|, height, eigenvalue ratios). Encoder and twin are read at the last stage,
at all stages of the decoder, or at all stages with the stem. Three readings (`READINGS`): points, by the best of three
probes; points by their nearest neighbours; means of whole regions, whose answer holds for their points. Stage and probe
are chosen for each side by inner folds of the training part: pairs of sectors of the street; of the tabletop a whole
category of scenes is kept apart at a time, so that what is chosen is what carries over to scenes of another kind.
Probes learn from 600 points a class, drawn alike for all sides. Intervals draw blocks again: squares of 10 m of the
street's test sectors, test scenes of the tabletop. Neither sectors nor scenes of the test part are pre-trained on.

Symbols: N labelled points, D features, K classes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scenes_learning import FOLDS, SCENES, Scenes, judged_points
from scenes_points import CRAFTED, LabelledPoints, collect_points, labelled_rows, region_points, training_rows

from repcore import registry
from repcore.config.resolve import resolve_part
from repcore.embedding.model import Model
from repcore.evaluation.dense_metrics import confusion, dense_values
from repcore.evaluation.probes.dense import ElementProbe
from repcore.interfaces import Sample
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.probes.scene_features import STAGES, calibrate

TRAINED, TWIN, DRAWN = "trained", "random twin", "random twin, as drawn"
POINTS, NEIGHBOURS, REGIONS = "points", "neighbours", "regions"
LINEAR, KNN = "dense-linear@1", "dense-knn@1"
READINGS = {
    POINTS: ("dense-frequency@1", "dense-mlp@1", "dense-forest@1"),
    NEIGHBOURS: (KNN,),
    REGIONS: (LINEAR, KNN),
}
BLOCK_M = 10.0
JUDGED_INSIDE = 4  # one point in so many is judged on inner folds
TEST, DRAW = -1, 0
Key = tuple[str, str]  # features and a protocol


@dataclass(frozen=True)
class Labelled:
    """Points of a set; ``fold`` is the inner fold of each (N,), -1 in the test part, ``block`` what is drawn again."""

    points: LabelledPoints
    fold: np.ndarray
    block: np.ndarray

    def keys(self, side: str, forms: Sequence[str]) -> list[Key]:
        """Features of a side, each with each protocol."""
        forms_of: dict[str, tuple[str, ...]] = {TRAINED: (TRAINED,), TWIN: (TWIN, DRAWN)}
        names = [f"{name}, {stages}" for name in forms_of.get(side, ()) for stages in STAGES] or [CRAFTED]
        return [(name, form) for name in names for form in forms]


def labelled(model: Model, path: Path, name: str, seed: int) -> Labelled:
    """Features of every labelled point under the encoder and its twins, and hand-crafted."""
    scenes, prepare = SCENES[name], model.preprocessor
    assert isinstance(prepare, ScenePreprocessor)
    reader = model.reader(str(path))
    samples = [reader[row] for row in range(len(reader))]
    samples = [
        dataclasses.replace(one, inputs=prepare.geometry(one), targets=judged_points(one, scenes)) for one in samples
    ]
    batches = [prepare.collate(prepare.prepare(one)) for one in samples[:4]]
    twin = calibrate(model.random_twin(seed), batches)
    encoders = {TRAINED: model.encoder.eval(), TWIN: twin, DRAWN: model.random_twin(seed)}
    features: dict[str, np.ndarray] = {}
    for stages in STAGES:
        points = collect_points(prepare, encoders, samples, stages=stages, **scenes.labels())
        features |= {f"{side}, {stages}": points.features[side] for side in encoders}
    features[CRAFTED] = points.features[CRAFTED]
    fold, block = places(samples, scenes, path)
    return Labelled(dataclasses.replace(points, features=features), np.where(points.is_train, fold, TEST), block)


def places(samples: Sequence[Sample], scenes: Scenes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inner fold and block of every labelled point (N,), in the order of ``collect_points``."""
    fold, block = [], []
    kinds = {} if scenes.group else categories(path / "index.json")
    for number, sample in enumerate(samples):
        rows, _ = labelled_rows(sample, sample.inputs, **scenes.labels())
        if scenes.group:
            sector = np.asarray(sample.targets[scenes.group])[rows]
            fold.append(np.asarray([folds_of_sectors().get(int(one), TEST) for one in sector]))
            squares = np.floor(sample.inputs.points[sample.inputs.source[rows], :2] / BLOCK_M).astype(np.int64)
            block.append(np.unique(squares, axis=0, return_inverse=True)[1].reshape(-1))
        else:
            fold.append(np.full(len(rows), kinds[Path(sample.id).stem]))
            block.append(np.full(len(rows), number))
    return np.concatenate(fold), np.concatenate(block)


def folds_of_sectors() -> dict[int, int]:
    return {sector: number for number, fold in enumerate(FOLDS) for sector in fold}


@lru_cache
def categories(index: Path) -> dict[str, int]:
    """Number of the category of every scene."""
    told = {name: one["category"] for name, one in json.loads(index.read_text(encoding="utf-8")).items()}
    numbers = {word: number for number, word in enumerate(sorted(set(told.values())))}
    return {name: numbers[word] for name, word in told.items()}


# ------------------------------------------------------------------------------------------------ readings


def answers(found: Labelled, key: Key, kept: np.ndarray, held: np.ndarray, reading: str) -> np.ndarray:
    """Class numbers of held points, learned from kept ones (row numbers); -1 for a point in no region."""
    train, test = part(found.points, key[0], kept), part(found.points, key[0], held)
    if reading != REGIONS:
        return fitted(train, key).predict(test.features[key[0]])
    regions = region_points(test)
    said = fitted(region_points(train), key).predict(regions.features[key[0]])
    place = np.searchsorted(regions.region, test.region).clip(max=len(said) - 1)
    return np.where(test.region >= 0, said[place], -1)


def part(points: LabelledPoints, name: str, rows: np.ndarray) -> LabelledPoints:
    """These points with one set of features, all of them to learn from."""
    features = {name: points.features[name][rows]}
    return LabelledPoints(points.labels[rows], np.ones(len(rows), bool), features, points.region[rows], points.names)


def fitted(points: LabelledPoints, key: Key) -> ElementProbe:
    """A probe of 600 points or regions a class."""
    resolved = resolve_part(registry.default(), "probe", key[1], {}, None)
    probe: ElementProbe = resolved.entry.load()(resolved.config)
    rows = training_rows(points, seed=DRAW, share=None)
    occurs = dict(enumerate(np.bincount(points.labels, minlength=len(points.names)).tolist()))
    return probe.fit(points.features[key[0]][rows], points.labels[rows], occurs)


def inner_scores(found: Labelled, keys: Sequence[Key], reading: str) -> dict[Key, float]:
    """Mean over inner folds of the mIoU, by features and protocol."""
    told = {}
    for key in keys:
        scores = []
        for fold in np.unique(found.fold[found.fold != TEST]):
            kept = np.flatnonzero((found.fold != fold) & (found.fold != TEST))
            held = np.flatnonzero(found.fold == fold)[:: 1 if reading == REGIONS else JUDGED_INSIDE]
            counts = confusion(
                found.points.labels[held], answers(found, key, kept, held, reading), len(found.points.names)
            )
            scores.append(float(dense_values(counts[None])["miou"]))
        told[key] = float(np.mean(scores))
    return told


def inner(found: Labelled, reading: str, sides: Sequence[str]) -> dict[str, float]:
    """What `--choose` prints: scores of inner folds by features and protocol."""
    keys = [key for side in sides for key in found.keys(side, READINGS[reading])]
    return {" ".join(key): round(value, 4) for key, value in inner_scores(found, keys, reading).items()}


def judged(
    found: Labelled, readings: Mapping[str, str], known: Mapping[str, Mapping[str, Any]], baseline: str
) -> dict[str, dict[str, Any]]:
    """What small_presets.py keeps of each set: facts, and every side's choice and figures on the test part.

    Args:
        readings: of each set by its name.
        known: sets whose baseline has been read before.
    """
    kept, held = (np.flatnonzero(one) for one in (found.fold != TEST, found.fold == TEST))
    sets: dict[str, dict[str, Any]] = {}
    for name, reading in readings.items():
        sets[name] = {"metric": "miou", "kind": "class", "rows": len(np.unique(found.block[held]))}
        for side in (TRAINED, TWIN, baseline):
            if side == baseline and name in known:
                sets[name][side] = known[name][side]
                continue
            tried = inner_scores(found, found.keys(side, READINGS[reading]), reading)
            key = max(tried, key=lambda one: tried[one])
            fold = by_block(found, held, answers(found, key, kept, held, reading))
            told = {" ".join(one): round(value, 4) for one, value in tried.items()}
            sets[name][side] = {"score": fold["score"], "chosen": [", ".join(key)], "inner": told, "folds": [fold]}
    return sets


def by_block(found: Labelled, held: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Counts of every test block, and the mIoU of all of them together."""
    blocks, classes = np.unique(found.block[held]), len(found.points.names)
    inside = [found.block[held] == one for one in blocks]
    counts = np.stack([confusion(found.points.labels[held][one], said[one], classes) for one in inside])
    score = round(float(dense_values(counts)["miou"]), 4)
    return {"score": score, "each": [], "truth": [], "rows": blocks.tolist(), "counts": counts.tolist()}
