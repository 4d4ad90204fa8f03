"""What Adam-v2 makes of the views of one image: where they lie, and how well whole and parts predict each other.

Read by :mod:`repcore_medical3d.render_anatomy`. A cosine alone says little, since vectors of one network have much in
common (collapsed: 1 everywhere). So each stands beside that of a wrong place of the same image, and of another image
where the batch has one; over several images it is also given with the mean vector of the batch taken off.

Symbols: B images, N parts, V views, D embedding width, K prototypes, s axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.nn.losses import centred_teacher
from repcore_medical3d.objectives.localizability import prototype_cross_entropy
from repcore_medical3d.views.anatomy import AnatomyViews, Cut
from repcore_medical3d.views.boxes import Boxes

if TYPE_CHECKING:
    from repcore.interfaces import Draws
    from repcore_medical3d.objectives.adam_v2 import AdamV2, Encoded

VIEWS_STATE = "views_state"  # of the generator before the views were cut, in the draws


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosine of a vector of the first image with its prediction, and what it is to be read against.

    Args:
        own: with the prediction for it.
        misplaced: whole: composed of the parts, each in the place of the one before; part: mean over the predictions
            for the other places.
        other: with the prediction made from the second image; None where there is one image.
        centred / centred_other: ``own`` and ``other``, the means over the batch taken off on both sides.
    """

    own: float
    misplaced: float
    other: float | None = None
    centred: float | None = None
    centred_other: float | None = None


class _BoxesOnly(AnatomyViews):
    """Draws where views lie and stops there: boxes are drawn before anything is cut."""

    def _cut(self, images: Tensor, boxes: Boxes, cut: Cut, generator: torch.Generator) -> Tensor:
        return boxes.stacked()


def drawn_boxes(objective: AdamV2, images: Tensor, draws: Draws) -> dict[str, Tensor]:
    """Where the views of the first image lie, by replaying the draws.

    Args:
        images: (B, C, *E), those that the views were cut from.
        draws: as from ``objective.draw``.

    Returns:
        for each set of views float (V, 2s), origin and extent in voxels; ``global`` and ``local``, in the joint stage
        also ``whole`` and ``parts``.
    """
    generator = torch.Generator(device=images.device)
    generator.set_state(draws[VIEWS_STATE])
    views = _BoxesOnly(objective.config.views, objective.views.axes)
    cut = views.joint if "whole" in draws else views.warmup
    return {name: boxes[0] for name, boxes in cut(images, draws["granularity"], generator).items()}


def part_whole_agreement(objective: AdamV2, encoded: Encoded) -> list[Agreement]:
    """The whole against what its parts compose, then each part against its prediction from the whole."""
    whole, parts, own_whole = encoded.teacher_whole, encoded.teacher_parts, encoded.student_whole
    assert parts is not None  # all three are there in the joint stage
    assert own_whole is not None
    assert encoded.student_parts is not None
    count = objective.views.parts
    composed = objective.compose_head(encoded.student_parts.flatten(1))
    shifted = objective.compose_head(encoded.student_parts.roll(1, dims=1).flatten(1))
    predicted = objective.decompose_head(own_whole).unflatten(-1, (count, -1))  # (B, N, D)
    targets = torch.cat([whole[:, None], parts], dim=1)  # (B, 1 + N, D)
    guesses = torch.cat([composed[:, None], predicted], dim=1)
    pairs = F.cosine_similarity(parts[0][:, None], predicted[0][None], dim=-1)  # (N, N)
    elsewhere = (pairs.sum(1) - pairs.diagonal()) / (count - 1)
    columns = [
        F.cosine_similarity(targets[0], guesses[0], dim=-1),
        torch.cat([F.cosine_similarity(whole[:1], shifted[:1]), elsewhere]),
    ]
    if len(targets) > 1:
        spread, guessed = targets - targets.mean(0), guesses - guesses.mean(0)
        columns.append(F.cosine_similarity(targets[0], guesses[1], dim=-1))
        columns += [F.cosine_similarity(spread[0], guessed[place], dim=-1) for place in (0, 1)]
    return [Agreement(*row) for row in torch.stack(columns, dim=1).tolist()]


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
