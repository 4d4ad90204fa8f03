"""Clustering-based supervision: classes split into balanced sub-clusters, features contrasted with stored features,
with each other and with sub-cluster centres.

Source: Feng et al. 2023 (arXiv 2307.14605); public repository `FengZicai/Cluster3Dseg`,
`spvnas/cluster_contrastloss.py` (no licence file: only its definitions are used).

Differs by default (``reference_compat=True`` is the published behaviour): stored features keep their channels (there a
reshape mixes points and channels); sub-cluster 0 of class 0 and the one numbered like the ignored label are stored too;
a batch in which no sub-cluster holds two anchors gives 0 instead of NaN; empty clusters and absent classes keep their
centre; an anchor is no negative of itself; a class with fewer sub-clusters is balanced over its own number (there every
cluster is given 1/K of the full K: the totals never meet, the scaling leaves float64, and argmax of NaN puts every
anchor of the class into its sub-cluster 0); centres and queue are buffers, so that checkpoints hold them. Without
labels the class of a point is its FAC region or one class for all: the balanced assignment is then a prototype head.

Symbols: N points, A anchors, D channels, K sub-clusters of a class, S stored features of a sub-cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.shapes import check_shape
from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig


@dataclass(frozen=True, slots=True)
class ClusterTerms:
    """Result of one pass.

    Args:
        queue / batch / centre: scalars: anchors against stored features, each other, and centres.
        loss: their weighted sum.
        anchor_index: int64 (A,), rows of the features.
        sub_labels: int64 (A,), sub-cluster of every anchor over all classes.
    """

    queue: Tensor
    batch: Tensor
    centre: Tensor
    loss: Tensor
    anchor_index: Tensor
    sub_labels: Tensor


class ClusterContrast(nn.Module):
    """Criterion with memory.

    Args:
        config: sizes and constants.

    Call:
        features: float (N, D), of any length; they are brought to unit length.
        labels / predictions: int64 (N,).
        generator: draws anchors; None takes the first candidates (reproducible, as golden data wants).
    Returns:
        :class:`ClusterTerms`; memory changes only in :meth:`update`.

    Raises:
        ConfigError: sizes that do not fit together.
        ShapeError: other shapes.
    """

    centres: Tensor
    queue: Tensor
    pointer: Tensor

    def __init__(self, config: ClusterContrastConfig) -> None:
        super().__init__()
        if config.classes < 1 or config.clusters_per_class < 1 or config.enqueued_per_step > config.queue_per_cluster:
            raise ConfigError(
                f"{config.classes} classes of {config.clusters_per_class} clusters, {config.enqueued_per_step} vectors "
                f"into a queue of {config.queue_per_cluster} do not fit",
                field="task.clusters",
            )
        self.config = config
        total = config.classes * config.clusters_per_class
        width = config.feature_width
        self.register_buffer(
            "centres", F.normalize(torch.randn(config.classes, config.clusters_per_class, width), dim=2)
        )
        self.register_buffer("queue", F.normalize(torch.randn(total, config.queue_per_cluster, width), dim=2))
        self.register_buffer("pointer", torch.zeros(total, dtype=torch.long))

    def forward(
        self, features: Tensor, labels: Tensor, predictions: Tensor, generator: torch.Generator | None = None
    ) -> ClusterTerms:
        check_shape(features, f"N {self.config.feature_width}", name="features", owner="cluster contrast")
        index, classes = self.choose_anchors(labels, predictions, generator)
        anchors = F.normalize(features, dim=1)[index]
        sub_labels = self.assign(anchors.detach(), classes)
        used = self._used_clusters(features.device)
        near = used[torch.isin(used // self.config.clusters_per_class, classes)]  # centres of classes that are there
        own = torch.eye(len(index), dtype=torch.bool, device=features.device)
        stored_labels = used.repeat_interleave(self.queue.shape[1])
        queue = self._contrast(anchors, sub_labels, self.queue[used].flatten(0, 1), stored_labels)
        batch = self._contrast(anchors, sub_labels, anchors, sub_labels, own)
        centre = self._contrast(anchors, sub_labels, self.centres.flatten(0, 1)[near], near)
        loss = self.config.loss_factor * (queue + batch + centre)
        return ClusterTerms(queue, batch, centre, loss, index, sub_labels)

    # ------------------------------------------------------------------------------------- anchors

    def choose_anchors(
        self, labels: Tensor, predictions: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Rows and classes of anchors: for each class that is there, half of them wrongly predicted where possible."""
        present = [int(one) for one in torch.unique(labels) if int(one) != self.config.ignored_label]
        rows, classes = [], []
        wanted = self.config.maximum_anchors // max(1, len(present))
        for one in present:
            own = labels == one
            hard = _shuffled((own & (predictions != one)).nonzero()[:, 0], generator)
            easy = _shuffled((own & (predictions == one)).nonzero()[:, 0], generator)
            num_hard, num_easy = _shares(len(hard), len(easy), wanted)
            rows.append(torch.cat([hard[:num_hard], easy[:num_easy]]))
            classes.append(torch.full_like(rows[-1], one))
        if not rows:
            empty = labels.new_zeros(0)
            return empty, empty
        return torch.cat(rows), torch.cat(classes)

    def _clusters_of(self, one: int) -> int:
        fewer = one in self.config.fewer_clusters_classes
        return (
            min(self.config.fewer_clusters, self.config.clusters_per_class)
            if fewer
            else (self.config.clusters_per_class)
        )

    def _used_clusters(self, device: torch.device) -> Tensor:
        """Numbers of all sub-clusters, without the places that classes with fewer leave empty."""
        per_class = self.config.clusters_per_class
        counts = [self._clusters_of(one) for one in range(self.config.classes)]
        return torch.cat([torch.arange(n, device=device) + one * per_class for one, n in enumerate(counts)])

    @torch.no_grad()
    def assign(self, anchors: Tensor, classes: Tensor) -> Tensor:
        """Sub-cluster of every anchor (A,): balanced over the sub-clusters of its class (Sinkhorn-Knopp)."""
        result = torch.zeros_like(classes)
        for one in torch.unique(classes).tolist():
            own = classes == one
            centres = self.centres[one, : self._clusters_of(one)]
            shares = (anchors[own] @ centres.T).softmax(1).double()
            result[own] = one * self.config.clusters_per_class + self.balanced(shares)
        return result

    def balanced(self, shares: Tensor) -> Tensor:
        """Best cluster of every row once rows and clusters are scaled to equal totals.

        Args:
            shares: float64 (A, K), positive.
        """
        config = self.config
        scores = shares.T**config.sinkhorn_power  # (K, A)
        clusters, count = scores.shape
        given = config.clusters_per_class if config.reference_compat else clusters  # published: always the full K
        columns = torch.full((count,), 1.0 / count, dtype=scores.dtype, device=scores.device)
        rows, change, step = columns[:0], float("inf"), 0
        while change > config.sinkhorn_stop:
            rows = (1.0 / given) / (scores @ columns)
            scaled = (1.0 / count) / (rows @ scores)
            if step % config.sinkhorn_check_every == 0:
                change = float((columns / scaled - 1.0).abs().nansum())
            columns, step = scaled, step + 1
        return (scores * columns * rows[:, None]).argmax(0)

    # ---------------------------------------------------------------------------------------- loss

    def _contrast(
        self, anchors: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, own: Tensor | None = None
    ) -> Tensor:
        """Mean over anchors of the mean over positives of -log share of the positive against all negatives.

        Args:
            own: bool (A, O), pairs of an anchor with itself.
        """
        logits = anchors @ others.T / self.config.temperature
        logits = logits - logits.detach().amax(1, keepdim=True) if len(anchors) else logits
        positive = labels[:, None] == other_labels[None, :]
        negative = ~positive
        if own is not None:
            positive = positive & ~own
            if self.config.reference_compat:
                negative = negative | own
        against = logits.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
        terms = logits - torch.logaddexp(logits, against)
        count = positive.sum(1)
        per_anchor = terms.masked_fill(~positive, 0.0).sum(1)
        answered = count > 0
        divisor = answered.sum() if self.config.reference_compat else answered.sum().clamp(min=1)
        mean = (per_anchor / count.clamp(min=1)).sum() / divisor
        return -self.config.temperature / self.config.base_temperature * mean

    # -------------------------------------------------------------------------------------- memory

    @torch.no_grad()
    def update(self, anchors: Tensor, sub_labels: Tensor) -> Tensor:
        """Move centres and store anchors.

        Args:
            anchors: (A, D), unit length.
            sub_labels: int64 (A,).

        Returns:
            int64 (W, 2): (sub-cluster, place) written in the queue.
        """
        self._move_centres(anchors, sub_labels)
        return self._store(anchors, sub_labels)

    def _move_centres(self, anchors: Tensor, sub_labels: Tensor) -> None:
        flat = self.centres.flatten(0, 1)
        count = torch.bincount(sub_labels, minlength=len(flat))
        mean = torch.zeros_like(flat).index_add_(0, sub_labels, anchors.to(flat.dtype)) / count.clamp(min=1)[:, None]
        momentum = self.config.center_momentum
        moved = F.normalize(momentum * flat + (1.0 - momentum) * mean, dim=1)
        keeps = torch.zeros_like(count, dtype=torch.bool) if self.config.reference_compat else count == 0
        self.centres.copy_(torch.where(keeps[:, None], flat, moved).view_as(self.centres))

    def _store(self, anchors: Tensor, sub_labels: Tensor) -> Tensor:
        config = self.config
        kept, places = anchors, self.queue.shape[1]
        if config.reference_compat:
            kept = anchors.reshape(anchors.shape[1], -1).T  # the published mixing of points and channels
        written = []
        for one in torch.unique(sub_labels).tolist():
            if config.reference_compat and one in (0, config.ignored_label):
                continue
            chosen = kept[sub_labels == one][: config.enqueued_per_step].to(self.queue.dtype)
            start = int(self.pointer[one])
            if start + len(chosen) >= places:
                start = places - len(chosen)
                self.pointer[one] = 0
            else:
                self.pointer[one] = start + len(chosen)
            self.queue[one, start : start + len(chosen)] = F.normalize(chosen, dim=1)
            place = torch.arange(start, start + len(chosen), device=sub_labels.device)
            written.append(torch.stack([torch.full_like(place, one), place], dim=1))
        return torch.cat(written) if written else sub_labels.new_zeros(0, 2)


def _shuffled(rows: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device=generator.device).to(rows.device)]


def _shares(hard: int, easy: int, wanted: int) -> tuple[int, int]:
    """How many hard and easy anchors: half each, topped up by the other kind where one is short."""
    half = wanted / 2
    if hard >= half and easy >= half:
        return wanted // 2, wanted - wanted // 2
    if hard >= half:
        return min(hard, wanted - easy), easy
    return hard, min(easy, wanted - hard)
