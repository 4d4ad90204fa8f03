"""What Adam-v2 makes of the views of one image: how well whole and parts predict each other.

Drawn by :mod:`repcore_medical3d.rendering.anatomy`. A cosine alone says little: vectors of one network have much in
common (collapsed: 1 everywhere). So each stands beside that of a wrong place of the same image.

Symbols: B images, N parts, V views, A teacher views, D embedding width, K prototypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.nn.losses import centred_teacher
from repcore_medical3d.objectives.localizability import prototype_cross_entropy
from repcore_medical3d.rendering.anatomy import Agreement, AnatomySeen

if TYPE_CHECKING:
    from repcore.interfaces import Draws
    from repcore_medical3d.configs.adam_v2 import AdamV2Config
    from repcore_medical3d.objectives.part_whole import Encoded
    from repcore_medical3d.views.anatomy import AnatomyViews


class PartWholeModel(Protocol):
    """What is looked at of :class:`repcore_medical3d.objectives.adam_v2.AdamV2`."""

    config: AdamV2Config
    views: AnatomyViews
    centre: Tensor
    compose_head: nn.Sequential
    decompose_head: nn.Sequential

    def encode(self, draws: Draws) -> Encoded: ...


@torch.no_grad()
def anatomy_seen(objective: PartWholeModel, images: Tensor, draws: Draws) -> AnatomySeen:
    """What a picture of the first image shows.

    Args:
        objective: in eval mode.
        images: (B, C, *E) in 0 to 1.
        draws: as from ``objective.draw`` for these images; of the localizability stage, there are no parts.
    """
    encoded = objective.encode(draws)
    return AnatomySeen(
        image=images[0],
        draws=draws,
        losses=view_losses(objective, encoded, draws),
        agreements=part_whole_agreement(objective, encoded) if "whole" in draws else [],
        prototypes=objective.config.prototypes,
        views=objective.config.views,
    )


def part_whole_agreement(objective: PartWholeModel, encoded: Encoded) -> list[Agreement]:
    """The whole against what its parts compose, then each part against its prediction from the whole."""
    whole, parts, own_whole = encoded.teacher_whole, encoded.teacher_parts, encoded.student_whole
    assert parts is not None  # all three are there in the joint stage
    assert own_whole is not None
    assert encoded.student_parts is not None
    count = objective.views.parts
    student = encoded.student_parts[:1]
    composed, shifted = (objective.compose_head(one.flatten(1)) for one in (student, student.roll(1, dims=1)))
    predicted = objective.decompose_head(own_whole[:1]).unflatten(-1, (count, -1))[0]  # (N, D)
    pairs = F.cosine_similarity(parts[0][:, None], predicted[None], dim=-1)  # (N, N)
    own, elsewhere = pairs.diagonal(), (pairs.sum(1) - pairs.diagonal()) / (count - 1)
    first = [float(F.cosine_similarity(whole[:1], guess)) for guess in (composed, shifted)]
    return [Agreement(*first), *(Agreement(*row) for row in torch.stack([own, elsewhere], dim=1).tolist())]


def view_losses(objective: PartWholeModel, encoded: Encoded, draws: Draws) -> list[float]:
    """Cross-entropy of each student view of the first image with the teacher; ln K where nothing is known.

    In the localizability stage the leading views are the teacher's own, which are not compared with themselves.
    """
    teacher = centred_teacher(encoded.teacher_logits, objective.centre, float(draws["teacher_temperature"]))
    own = encoded.student_logits[:, :1]
    temperature = objective.config.student_temperature
    table = torch.stack([prototype_cross_entropy(own, target[:1], temperature)[:, 0] for target in teacher])  # (A, V)
    if "whole" not in draws:
        table[:, : len(teacher)].fill_diagonal_(torch.nan)
    losses: list[float] = table.nanmean(dim=0).tolist()
    return losses
