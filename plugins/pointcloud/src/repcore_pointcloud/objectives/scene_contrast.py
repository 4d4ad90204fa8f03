"""Scene-level momentum contrast as an objective: one vector a scene, a queue of keys, two views.

Source: `KangchengLiu/FAC_Foreground_Aware_Contrast`, `Downstreams` (DepthContrast): what the public repository of FAC
really trains, so that its checkpoints make sense. Here in the voxel format alone; the criterion itself,
:class:`repcore_pointcloud.objectives.scene_moco.MomentumContrast`, knows both formats.

Symbols: B scenes, V voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repcore.embedding.pooling import pool_tokens
from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore.nn.ema import make_teacher, update_teacher
from repcore_pointcloud.configs.fac import SceneMocoConfig
from repcore_pointcloud.objectives.scene_moco import MomentumContrast

TERM, FORMAT = "contrast", "voxels"


class PooledHead(nn.Module):
    """Largest value of every channel over a scene, then three linear layers without activation.

    The published sparse head has no ReLU either.
    """

    def __init__(self, width: int, hidden: int, output: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, output))

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        pooled = pool_tokens(encoder(batch).tokens["voxel"], "max", batch.size)
        result: Tensor = self.layers(pooled)
        return result


class SceneMoco(nn.Module):
    """Objective ``pointcloud/scene-moco``.

    Args:
        config: queue, head, momentum.
        encoder: with token level ``voxel``.

    Call:
        batch: views ``a`` (query) and ``b`` (key).
    Returns:
        one term, ``contrast``; keys are carried to :meth:`after_step`, which stores them.

    Raises:
        ConfigError: an encoder without voxel features. RunError: no views.
    """

    def __init__(self, config: SceneMocoConfig, encoder: nn.Module) -> None:
        super().__init__()
        width = getattr(encoder, "level_widths", {}).get("voxel")
        if width is None:
            raise ConfigError(f"encoder {type(encoder).__name__} has no voxel features")
        self.config, self.encoder = config, encoder
        self.head = PooledHead(int(width), config.hidden_width, config.output_width)
        self.teacher, self.teacher_head = make_teacher(encoder), make_teacher(self.head)
        self.criterion = MomentumContrast(
            config.output_width, config.queue_places, temperature=config.temperature, within=(1.0, 1.0)
        )

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing is random here: the views are."""
        del batch, generator, progress
        return {}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        del draws
        if "a" not in batch.views or "b" not in batch.views:
            raise RunError("scene contrast needs views a and b", hint="views: {name: pointcloud/scene-pair}")
        query = self.head(self.encoder, batch.views["a"]).float()
        with torch.no_grad():
            key = self.teacher_head(self.teacher, batch.views["b"]).float()
        terms = self.criterion({FORMAT: query}, {FORMAT: key})
        return LossTerms.of({TERM: terms.parts[FORMAT]}, carry={"keys": key})

    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Keys into the queue; key encoder and head follow."""
        del progress
        self.criterion.update({FORMAT: torch.cat([one["keys"] for one in carried])})
        update_teacher(self.teacher, self.encoder, self.config.momentum)
        update_teacher(self.teacher_head, self.head, self.config.momentum)
