"""What Adam-v2 makes of the views of one image: how well whole and parts predict each other.

Read by :mod:`repcore_medical3d.rendering.anatomy`. A cosine alone says little: vectors of one network have much in
common (collapsed: 1 everywhere). So each stands beside that of a wrong place of the same image.

Symbols: B images, N parts, V views, A teacher views, D embedding width, K prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from repcore.nn.losses import centred_teacher
from repcore_medical3d.objectives.localizability import prototype_cross_entropy

if TYPE_CHECKING:
    from repcore.interfaces import Draws
    from repcore_medical3d.objectives.adam_v2 import AdamV2, Encoded


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosine of a vector of the first image with its prediction, and what it is to be read against.

    Args:
        own: with the prediction for it.
        misplaced: whole: composed of the parts, each in the place of the one before; part: mean over the predictions
            for the other places.
    """

    own: float
    misplaced: float


def part_whole_agreement(objective: AdamV2, encoded: Encoded) -> list[Agreement]:
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


def view_losses(objective: AdamV2, encoded: Encoded, draws: Draws) -> list[float]:
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
