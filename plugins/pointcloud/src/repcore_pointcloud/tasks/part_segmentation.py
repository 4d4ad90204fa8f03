"""Part segmentation: tokens of all levels carried to every point, with the whole shape and its category beside them.

Source: `ZrrSkywalker/Point-M2AE`, its segmentation model; method card, section 2.7. Published runs step the optimiser
twice a batch; here once.

Symbols: B clouds, N points, C width of a level's tokens, K parts.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, DataError, ItemError, ShapeError
from repcore.interfaces import Batch
from repcore.ops import Op
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.i2p_mae import PartSegmentationConfig
from repcore_pointcloud.encoders.i2p_mae import LEVELS, HierarchicalPointEncoder
from repcore_pointcloud.objectives.point_augmentation import augmented, check_augmentation, draw_augmentation
from repcore_pointcloud.objectives.point_decoder import RowNorm

CATEGORY_WIDTH = 64


class PointPropagation(nn.Module):
    """Tokens at centres carried to points, beside the points' coordinates, through a small network.

    Call:
        tokens (B, G, C) at centres (B, G, 3), points (B, N, 3).
    Returns:
        (B, N, last width).
    """

    def __init__(self, inputs: int, widths: tuple[int, int]) -> None:
        super().__init__()
        sizes = (inputs + 3, *widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(RowNorm(width) for width in widths)
        self._interpolate = Op("pointcloud/interpolate-points")

    def forward(self, tokens: Tensor, centres: Tensor, points: Tensor) -> Tensor:
        values = torch.cat([points, self._interpolate(tokens, centres, points)], dim=-1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = F.relu(norm(layer(values)))
        return values


class PartSegmentationTask(nn.Module):
    """Task ``pointcloud/part-segmentation``: one part for every point; cross-entropy.

    Args:
        config: widths and augmentation.
        encoder: fine-tuned along with the head.
        target: a class target of level ``point``; NaN or ``ignore`` marks points without a label.

    Call:
        batch -> (B N, K), cloud after cloud. With ``categories``, ``batch.inputs["category"]`` holds the number of each
        cloud's category.
        Training batches are stretched, shifted and turned; their points keep their order.

    Raises:
        ConfigError: number of parts unknown, or settings outside their range.
    """

    def __init__(self, config: PartSegmentationConfig, encoder: HierarchicalPointEncoder, target: TargetSpec) -> None:
        super().__init__()
        check_augmentation(config, "task")
        if config.points is not None:
            raise ConfigError(
                "a subset of points would lose their labels", field="task.points", hint="preprocessor.points"
            )
        if len(target.names) < 2:
            raise ConfigError(f"{len(target.names)} parts named by target {target.name!r}", expected="two or more")
        self.settings, self.encoder, self.target, self.outputs = config, encoder, target, len(target.names)
        encoder.use_for_task(None, encoder.config.local_radius)
        self.propagations = nn.ModuleList(
            PointPropagation(width, config.propagation_widths) for width in encoder.config.widths
        )
        whole = len(encoder.config.widths) * config.propagation_widths[1]
        self.category: nn.Sequential | None = None
        if config.categories:
            self.category = nn.Sequential(
                nn.Linear(config.categories, CATEGORY_WIDTH, bias=False),
                nn.BatchNorm1d(CATEGORY_WIDTH),
                nn.LeakyReLU(0.2),
            )
        sizes = (2 * whole + (CATEGORY_WIDTH if config.categories else 0), *config.head_widths, self.outputs)
        self.points = nn.ModuleDict({str(n): nn.Linear(sizes[n - 1], sizes[n]) for n in range(1, len(sizes))})
        self.point_norms = nn.ModuleDict({str(n): RowNorm(sizes[n]) for n in range(1, len(sizes) - 1)})
        self.dropout = nn.Dropout(config.dropout)

    def fit_targets(self, values: np.ndarray) -> None:
        """Checks the training labels: part numbers 0 .. K-1, NaN or ``ignore`` for none.

        Raises:
            DataError: no label at all, or one that is no part number.
        """
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        known = flat[~np.isnan(flat) & (flat != (np.nan if self.target.ignore is None else self.target.ignore))]
        if not known.size or (known < 0).any() or (known >= self.outputs).any():
            raise DataError(f"labels of {self.target.name!r} are not part numbers 0 .. {self.outputs - 1}")

    def forward(self, batch: Batch) -> Tensor:
        points = self.encoder.points_of(batch)
        if self.training:
            points = augmented(points, draw_augmentation(self.settings, points))
        tokens = self.encoder(Batch(inputs={**batch.inputs, "points": points}, size=batch.size)).tokens
        carried = []
        for propagation, name in zip(self.propagations, reversed(LEVELS), strict=True):
            carried.append(propagation(tokens[name].values, tokens[name].position, points))
        each = torch.cat(carried, dim=-1)  # (B, N, 3 x last width)
        whole = each.amax(1) + each.mean(1)
        if self.category is not None:
            number = self._categories(batch)
            hot = F.one_hot(number, self.settings.categories).to(each.dtype)
            whole = torch.cat([whole, self.category(hot)], dim=-1)
        values = torch.cat([each, whole[:, None].expand(-1, each.shape[1], -1)], dim=-1)
        for number_of_layer, norm in self.point_norms.items():
            values = F.relu(norm(self.points[number_of_layer](values)))
            if number_of_layer == "1":
                values = self.dropout(values)
        out: Tensor = self.points[str(len(self.points))](values)
        return out.flatten(0, 1)

    def _categories(self, batch: Batch) -> Tensor:
        """Category number of each cloud (B,)."""
        number = batch.inputs.get("category")
        most = self.settings.categories - 1
        if number is None:
            raise ItemError("no_category", f"this part segmentation is told the category of each shape, 0 .. {most}")
        if bool((number < 0).any()) or bool((number > most).any()):
            raise ItemError("no_category", f"category {int(number.max())} is outside 0 .. {most}")
        return number.reshape(-1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over labelled points; 0 with a graph when there is none.

        Args:
            outputs: (B N, K). labels: part numbers (B N,) or (B, N).
        """
        flat, rows = labels.reshape(-1), outputs
        if len(flat) != len(rows):
            raise ShapeError(f"{len(flat)} labels for {len(rows)} points")
        known = ~torch.isnan(flat) if flat.is_floating_point() else torch.ones_like(flat, dtype=torch.bool)
        if self.target.ignore is not None:
            known = known & (flat != self.target.ignore)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(rows[known], flat[known].long())

    def predict(self, outputs: Tensor) -> Tensor:
        """Part probabilities (B N, K)."""
        return outputs.float().softmax(dim=-1)
