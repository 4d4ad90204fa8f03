"""Objective ``medical3d/adam-v1``: momentum contrast of anatomical cells with purposive pruning of negatives.

Source: arXiv 2309.15358; public code `MR-HosseinzadehTaher/Eden`, Adam-v1 (MoCo-v2 form). Differs: the pruner is one
masked cross-entropy instead of a loop over samples; the queue wraps round for any batch size; the granularity rises
within one run instead of a chain of runs; validation changes neither queue nor key encoder; keys are not shuffled over
devices, which matters with BatchNorm on several GPUs only.

Symbols: B images, D width of the compared vectors, K queue length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore.nn.ema import make_teacher
from repcore_medical3d.configs.adam_v2 import AdamV1Config
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.layers.boxes import Boxes, CropRange, random_crops
from repcore_medical3d.layers.intensity import Jitter, blurred, jittered
from repcore_medical3d.layers.sampling import rotations, sample_views
from repcore_medical3d.objectives.adam_v2 import follow
from repcore_medical3d.views.anatomy import at_share

CONTRASTIVE = "contrastive"
AREA = (0.2, 1.0)  # of a cell
BLUR_CHANCE = 0.5


class AdamV1(nn.Module):
    """Query and key encoder, projection heads, queue.

    Args:
        config: see :class:`AdamV1Config`.
        encoder: becomes the query encoder.

    Call:
        batch: whole images in 0 to 1.
        draws: ``query`` and ``key`` views (B, C, *S) and ``is_pruned``.
    Returns:
        term ``contrastive``; metrics ``kept``, the share of negatives that stay, and ``accuracy``.

    Raises:
        ConfigError: settings outside their range.
    """

    queue: Tensor
    queue_place: Tensor

    def __init__(self, config: AdamV1Config, encoder: AnatomyEncoder) -> None:
        super().__init__()
        if len(config.cells) != len(config.cells_shares) or min(config.cells, default=-1) < 0:
            raise ConfigError(
                f"cells_shares={config.cells_shares} does not fit cells={config.cells}", field="objective.cells_shares"
            )
        if config.temperature <= 0 or config.queue < 1:
            raise ConfigError(f"temperature={config.temperature} and queue={config.queue} must be positive")
        self.config = config
        self.encoder = encoder
        self.projection = projection(encoder.dim, config.width)
        self.teacher_encoder = make_teacher(encoder)
        self.teacher_projection = make_teacher(self.projection)
        start = torch.randn(config.width, config.queue)
        self.register_buffer("queue", F.normalize(start, dim=0))
        self.register_buffer("queue_place", torch.zeros(1, dtype=torch.long))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Two views of one cell of each image."""
        images = self.encoder.images(batch)
        config, axes = self.config, self.encoder.axes
        cells = at_share(config.cells, config.cells_shares, progress.fraction)
        anchor = cell_boxes(images.shape[2:], cells, len(images), generator)
        boxes = random_crops(anchor, [CropRange(AREA)] * 2, is_centred=False, generator=generator)
        turn = rotations(boxes.origin.shape[:2], config.rotation_degrees, axes, generator)
        views = sample_views(images, boxes, [config.size] * axes, turn).flatten(0, 1)
        views = jittered(views, Jitter(brightness=config.brightness, contrast=config.contrast), generator)
        views = blurred(views, [BLUR_CHANCE] * len(views), config.blur, generator).unflatten(0, (-1, 2))
        return {"query": views[:, 0], "key": views[:, 1], "is_pruned": cells > 0}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        query = F.normalize(self.projection(self.encoder.embed(draws["query"])), dim=1)
        with torch.no_grad():
            teacher = cast(AnatomyEncoder, self.teacher_encoder)
            key = F.normalize(self.teacher_projection(teacher.embed(draws["key"])), dim=1)
        positive, negative = similarities(query, key, self.queue)
        keep = kept(negative, self.config.pruning_threshold if draws["is_pruned"] else None)
        loss = pruned_info_nce(positive, negative, keep, self.config.temperature)
        with torch.no_grad():
            best = negative.masked_fill(~keep, -torch.inf).amax(1)
            metrics = {"kept": keep.float().mean(), "accuracy": (positive > best).float().mean()}
        return LossTerms.of({CONTRASTIVE: loss}, carry={"keys": key}, metrics=metrics)

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """The key encoder follows; new keys take the oldest places of the queue."""
        follow(self.teacher_encoder, self.encoder, self.config.momentum)
        follow(self.teacher_projection, self.projection, self.config.momentum)
        keys = torch.cat([one["keys"] for one in carried])[-self.config.queue :]
        place = (torch.arange(len(keys), device=keys.device) + self.queue_place) % self.config.queue
        self.queue[:, place] = keys.T.to(self.queue.dtype)
        self.queue_place.copy_((self.queue_place + len(keys)) % self.config.queue)

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """``student`` (query encoder), ``teacher`` (key encoder), or the configured one.

        Raises:
            ConfigError: another branch.
        """
        branches = {"student": self.encoder, "teacher": self.teacher_encoder}
        chosen = self.config.export if branch == "default" else branch
        if chosen not in branches:
            raise ConfigError(f"Adam-v1 has no branch {branch!r}", expected="student, teacher")
        return branches[chosen]


def projection(width: int, output: int) -> nn.Sequential:
    """Linear, ReLU, linear, in place of the classifier."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, output))


def cell_boxes(edges: Sequence[int], cells: int, count: int, generator: torch.Generator) -> Boxes:
    """One cell an image of a fixed grid with ``cells`` cells along each edge; the whole image for 0.

    Returns:
        Boxes (B, 1, s).
    """
    number = max(1, cells)
    device = generator.device
    place = torch.randint(number, (count, 1, len(edges)), generator=generator, device=device).float()
    side = torch.tensor([float(edge // number) for edge in edges], device=device)
    return Boxes(place * side, side.expand_as(place).contiguous())


def similarities(query: Tensor, key: Tensor, queue: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of each query with its key (B,) and with the queue (B, K); unit vectors (B, D), (B, D) and (D, K)."""
    return (query * key).sum(1), query @ queue


def kept(negative: Tensor, threshold: float | None) -> Tensor:
    """Which negatives stay: those less similar than the threshold; all when there is none. bool (B, K)."""
    if threshold is None:
        return torch.ones_like(negative, dtype=torch.bool)
    return negative < threshold


def contrast_logits(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """The positive first, (B, 1 + K)."""
    return torch.cat([positive[:, None], negative], dim=1) / temperature


def pruned_info_nce(positive: Tensor, negative: Tensor, keep: Tensor, temperature: float) -> Tensor:
    """Mean over images of the cross-entropy of the positive among itself and the kept negatives."""
    pruned = negative.masked_fill(~keep, -torch.inf)
    logits = contrast_logits(positive, pruned, temperature)
    return (torch.logsumexp(logits, dim=1) - logits[:, 0]).mean()
