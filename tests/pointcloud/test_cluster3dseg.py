"""Clustering-based supervision: corrected behaviour, published errors behind the flag, and the dense task around it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from repcore.errors import ConfigError, DataError
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig
from repcore_pointcloud.configs.scene_segmentation import SceneSegmentationConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.objectives.cluster3dseg import ClusterContrast
from repcore_pointcloud.tasks.scene_segmentation import SceneSegmentation, lovasz_softmax

CONFIG = ClusterContrastConfig(
    classes=3, feature_width=6, clusters_per_class=4, queue_per_cluster=5, enqueued_per_step=2
)


def contrast(**changes: Any) -> ClusterContrast:
    torch.manual_seed(0)
    return ClusterContrast(dataclasses.replace(CONFIG, **changes))


def points(count: int = 90, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(count, 6, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return features, labels, torch.where(torch.rand(count, generator=generator) < 0.5, labels, (labels + 1) % classes)


def test_assignment_is_balanced() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(200, 4, generator=generator, dtype=torch.float64).softmax(1)
    counts = torch.bincount(contrast(sinkhorn_power=10.0).balanced(shares), minlength=4)
    assert counts.min() > 35  # 50 each if it were exact; argmax of soft columns may differ a little


def test_stored_features_keep_their_channels() -> None:
    features, labels, predictions = points()
    for compat in (False, True):
        memory = contrast(reference_compat=compat)
        terms = memory(features, labels, predictions)
        anchors = F.normalize(features, dim=1)[terms.anchor_index]
        written = memory.update(anchors, terms.sub_labels)
        stored = memory.queue[written[:, 0], written[:, 1]]
        found = (stored @ anchors.T).amax(1) > 1 - 1e-6
        assert bool(found.all()) is not compat


def test_sub_cluster_zero_is_stored_and_empty_ones_stay() -> None:
    for compat in (False, True):
        memory = contrast(reference_compat=compat)
        before = memory.centres.clone()
        anchors = F.normalize(torch.randn(3, 6), dim=1)
        written = memory.update(anchors, torch.tensor([0, 0, 5]))
        assert (0 in written[:, 0].tolist()) is not compat
        assert torch.equal(before[2], memory.centres[2]) or compat


def test_no_pair_of_anchors_gives_zero_instead_of_nan() -> None:
    features = torch.randn(4, 6).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    for compat in (False, True):
        memory = contrast(reference_compat=compat, maximum_anchors=3)  # one anchor a class
        terms = memory(features, labels, labels)
        assert bool(torch.isnan(terms.batch)) is compat
        if not compat:
            terms.loss.backward()
            assert features.grad is not None
            assert torch.isfinite(features.grad).all()


def test_an_anchor_is_no_negative_of_itself() -> None:
    features, labels, predictions = points()
    fair = contrast()(features, labels, predictions)
    published = contrast(reference_compat=True)(features, labels, predictions)
    assert fair.batch < published.batch
    assert torch.equal(fair.sub_labels, published.sub_labels)


def test_memory_is_saved_and_drawn_anchors_repeat() -> None:
    assert {"centres", "queue", "pointer"} == set(contrast().state_dict())
    features, labels, predictions = points()
    drawn = [contrast()(features, labels, predictions, torch.Generator().manual_seed(3)).anchor_index for _ in range(2)]
    assert torch.equal(*drawn)
    first_come = contrast()(features, labels, predictions).anchor_index
    assert not torch.equal(drawn[0], first_come)


def test_ignored_labels_are_no_anchors() -> None:
    features, labels, predictions = points()
    labels[:30] = 255
    terms = contrast()(features, labels, predictions)
    assert (terms.anchor_index >= 30).all()
    nothing = contrast()(features, torch.full_like(labels, 255), predictions)
    assert float(nothing.loss) == 0.0


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        contrast(enqueued_per_step=9)


def test_lovasz_equals_one_minus_iou_for_hard_predictions() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    predicted = torch.tensor([0, 1, 1, 1, 0, 2])
    hard = F.one_hot(predicted, 3).double()
    expected = 1 - np.mean([1 / 3, 2 / 4, 1.0])
    assert abs(float(lovasz_softmax(hard, labels)) - expected) < 1e-12


@pytest.mark.parametrize("clusters", [0.0, 1.0])
def test_the_dense_task_learns_its_labels(clusters: float) -> None:
    torch.manual_seed(0)
    config, batch = scenes_examples.sparse_unet()
    target = TargetSpec("semantic", "class", "point", names=tuple("abcdefg"), ignore=6)
    task = SceneSegmentation(
        SceneSegmentationConfig(cluster_weight=clusters, cluster_width=8, clusters_per_class=3),
        SparseUNet(config),
        target,
    ).train()
    labels = batch.targets["semantic"]
    task.fit_targets(labels.numpy().astype(np.float64))
    optimiser = torch.optim.Adam(task.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = task.loss(task(batch), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses
    probabilities = task.eval().predict(task(batch))
    assert probabilities.shape == (len(labels), 7)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(labels)), atol=1e-5)
    with pytest.raises(DataError, match="training elements show 0 classes"):
        task.fit_targets(np.array([9.0]))
