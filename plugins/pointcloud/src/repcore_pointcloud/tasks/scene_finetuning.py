"""Fine-tuning with few labelled points: a class for every point of a scene, judged on parts that were not trained on.

Views of scenes around labelled points are voxelised; a voxel's class is that of most of its labelled points. The whole
network learns, with a new linear layer: cross-entropy + Lovasz-softmax, and clustering-based supervision (Cluster3Dseg)
where asked for. Tested scenes are predicted whole.

Symbols: N points of a scene, M thinned points, V voxels, K classes, n labelled points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repcore.data.seeds import generator
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, Item, Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scene_segmentation import SceneFinetuningConfig, SceneSegmentationConfig
from repcore_pointcloud.configs.scenes import ScenePairConfig
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor, majority
from repcore_pointcloud.preprocessors.scene_geometry import PreparedScene
from repcore_pointcloud.probes.scene_points import DenseScore, LabelledPoints, iou, labelled_rows, training_rows
from repcore_pointcloud.tasks.scene_segmentation import SceneSegmentation
from repcore_pointcloud.views.scene_pair import ScenePair

NONE = -1  # class of what has no label


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """A scene with the classes of some of its points.

    Args:
        sample: whose inputs are prepared.
        rows: int64 (n,), points of the file with a label.
        classes: int64 (n,), from 0.
        is_train: bool (n,).
    """

    sample: Sample
    rows: np.ndarray
    classes: np.ndarray
    is_train: np.ndarray

    @property
    def scene(self) -> PreparedScene:
        prepared: PreparedScene = self.sample.inputs
        return prepared


def label_scenes(
    preprocessor: ScenePreprocessor,
    samples: Sequence[Sample],
    *,
    label: str,
    ignored: Sequence[int] = (),
    group: str = "",
    test: Sequence[str | int] = (),
) -> tuple[list[LabelledScene], tuple[int, ...]]:
    """Scenes, and the label values that are the classes 0, 1, ...

    Args:
        label / ignored / group / test: as in :func:`repcore_pointcloud.probes.scene_points.labelled_rows`.

    Raises:
        ConfigError: a label that a scene lacks. DataError: fewer than two classes.
    """
    found = []
    for sample in samples:
        prepared = replace(sample, inputs=preprocessor.geometry(sample))
        rows, is_train = labelled_rows(sample, prepared.inputs, label=label, ignored=ignored, group=group, test=test)
        found.append(LabelledScene(prepared, rows, np.asarray(sample.targets[label])[rows], is_train))
    values = np.concatenate([one.classes for one in found]) if found else np.zeros(0, np.int64)
    names = np.unique(values)
    if len(names) < 2:
        raise DataError(f"label {label!r} shows {len(names)} classes", needed="2 or more")
    scenes = [replace(one, classes=np.searchsorted(names, one.classes)) for one in found]
    return scenes, tuple(int(one) for one in names)


def with_share(scenes: Sequence[LabelledScene], share: float, seed: int) -> list[LabelledScene]:
    """The same scenes with labels of this share of training points alone, at least one a class: the points that the
    linear probe of the same share and seed is fitted on.

    Raises:
        ConfigError: a share outside 0 < share <= 1.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"share={share} is outside 0 < share <= 1", hint="--share 0.01")
    classes = np.concatenate([one.classes for one in scenes])
    is_train = np.concatenate([one.is_train for one in scenes])
    points = LabelledPoints(classes, is_train, {}, np.zeros(len(classes), np.int64), tuple(range(classes.max() + 1)))
    kept = np.zeros(len(classes), bool)
    kept[training_rows(points, seed=seed, share=share)] = True
    stops = np.cumsum([len(one.rows) for one in scenes])
    parts = np.split(kept, stops[:-1])
    chosen = [
        LabelledScene(one.sample, one.rows[part], one.classes[part], one.is_train[part])
        for one, part in zip(scenes, parts, strict=True)
    ]
    return [one for one in chosen if len(one.rows)]


def train_segmentation(
    encoder: nn.Module,
    preprocessor: ScenePreprocessor,
    scenes: Sequence[LabelledScene],
    names: Sequence[int],
    config: SceneFinetuningConfig,
) -> SceneSegmentation:
    """Fine-tune on labelled points.

    Args:
        encoder: pre-trained or fresh; changed in place.
        preprocessor: of the model.
        scenes: of :func:`with_share`; all their labels are used.
        names: label values of the classes.
        config: steps, learning rate, views, seed.
    """
    state = torch.get_rng_state()
    torch.manual_seed(config.seed)
    rng = generator(config.seed, "scene-finetuning")
    target = TargetSpec("class", "class", "point", names=tuple(str(one) for one in names))
    task = SceneSegmentation(SceneSegmentationConfig(cluster_weight=config.cluster_weight), encoder, target).train()
    views = ScenePair(_view_settings(config), preprocessor)
    thinned = [thinned_classes(one) for one in scenes]
    own = {id(one) for one in encoder.parameters()}
    new = [one for one in task.parameters() if id(one) not in own]
    groups: list[dict[str, Any]] = [{"params": list(encoder.parameters())}]
    groups.append({"params": new, "lr": config.head_lr_factor * config.lr})
    optimiser = torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    for _ in range(config.steps):
        number = int(rng.integers(len(scenes)))
        batch, classes = labelled_view(views, scenes[number].scene, thinned[number], rng)
        loss = task.loss(task(batch), classes)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    torch.set_rng_state(state)
    return task.eval()


def _rate(step: int, config: SceneFinetuningConfig) -> float:
    """Linear rise, then half a cosine; the factor on the peak learning rate."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / max(1, config.steps)))


def _view_settings(config: SceneFinetuningConfig) -> ScenePairConfig:
    return ScenePairConfig(
        window_points=config.window_points,
        view_points=config.window_points,
        crop_share=config.crop_share,
        rotation_deg=config.rotation_deg,
        scale=config.scale,
        drop_share=0.0,
    )


def thinned_classes(scene: LabelledScene) -> np.ndarray:
    """Class of every thinned point int64 (M,), of most of its labelled points; -1 where it has none."""
    cell = scene.scene.source[scene.rows]
    count = len(scene.scene.points)
    return np.where(np.bincount(cell, minlength=count) > 0, majority(cell, scene.classes, count), NONE)


def labelled_view(
    views: ScenePair, scene: PreparedScene, classes: np.ndarray, rng: np.random.Generator
) -> tuple[Batch, Tensor]:
    """A random view around a labelled point, and the class of every voxel int64 (V,), -1 where it has none.

    Args:
        classes: int64 (M,).
    """
    centre = int(rng.choice(np.flatnonzero(classes != NONE)))
    rows, points, features = views.look(scene, views.window(scene, centre), rng)
    values = views.preprocessor.voxels(points, features, scene.region[rows])
    values["foreground"] = scene.foreground
    known = np.flatnonzero(classes[rows] != NONE)
    voxel, count = values["voxel_of"][known], len(values["coordinates"])
    found = np.where(np.bincount(voxel, minlength=count) > 0, majority(voxel, classes[rows[known]], count), NONE)
    return views.preprocessor.collate([Item(values, {"voxels": count})]), torch.from_numpy(found)


@torch.no_grad()
def score_segmentation(
    task: SceneSegmentation, preprocessor: ScenePreprocessor, scenes: Sequence[LabelledScene]
) -> DenseScore:
    """IoU over all labelled points that are not for training.

    Raises:
        DataError: there is none.
    """
    truth, predicted = [], []
    for one in scenes:
        tested = one.rows[~one.is_train]
        if len(tested):
            batch = preprocessor.collate(preprocessor.prepare(one.sample))
            predicted.append(task.predict(task(batch)).argmax(1).numpy()[tested])
            truth.append(one.classes[~one.is_train])
    if not truth:
        raise DataError("no labelled point is left for testing", hint="other --test groups")
    return iou(np.concatenate(truth), np.concatenate(predicted), task.classes)
