"""TS2Vec: two crops of a series agree where they overlap, at every scale of time.

Source: Yue et al. 2022 (arXiv 2106.10466); `zhihanyue/ts2vec`.

Differs: see :mod:`repcore_timeseries.objectives.crops`; missing values are masked in a copy, never in the caller's
tensor.

Symbols: B series, T steps, L1 / L2 steps of the crops, L of their overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore_timeseries.configs.ts2vec import TS2VecConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.objectives.averaging import Averaged
from repcore_timeseries.objectives.crops import cropped, draw_geometry, draw_offsets, lengths_of
from repcore_timeseries.objectives.ts2vec_loss import hierarchical_terms
from repcore_timeseries.rendering.series import crops_picture


class TS2Vec(Averaged):
    """Objective ``timeseries/ts2vec``.

    Args:
        config: see :class:`TS2VecConfig`.
        encoder: becomes part of this module.

    Call:
        batch: inputs of :class:`DilatedEncoder`.
        draws: ``first`` int64 (B, L1) and ``second`` (B, L2), the steps of the crops, which overlap in the last and
            the first L; ``shared`` (B, L); ``first_visible`` and ``second_visible``, bool of the crops' shapes.
    """

    encoder: DilatedEncoder

    def __init__(self, config: TS2VecConfig, encoder: DilatedEncoder) -> None:
        super().__init__(encoder)
        self.config = config

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Crops and masks.

        Raises:
            RunError: a series is too short for the levels that are asked for.
        """
        lengths = lengths_of(batch)
        geometry = draw_geometry(int(lengths.min()), 2 ** (self.config.temporal_unit + 1), generator)
        first, second = geometry.indices(draw_offsets(geometry, lengths, generator))
        visible = {
            f"{name}_visible": torch.rand(index.shape, generator=generator, device=index.device)
            < self.config.visible_share
            for name, index in (("first", first), ("second", second))
        }
        return {"first": first, "second": second, "shared": first[:, -geometry.overlap :], **visible}

    def overlaps(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Features of both crops at the steps that they share, (B, L, D) each."""
        steps = draws["shared"].shape[1]
        one, two = (
            self.encoder.features(self.encoder.steps(cropped(batch, draws[name], draws[f"{name}_visible"])))
            for name in ("first", "second")
        )
        return one[:, -steps:], two[:, :steps]

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Terms ``instance`` and ``temporal``, weighted by alpha."""
        terms = hierarchical_terms(*self.overlaps(batch, draws), self.config.temporal_unit)
        return LossTerms.of(
            {"instance": terms.instance, "temporal": terms.temporal},
            {"instance": self.config.alpha, "temporal": 1.0 - self.config.alpha},
        )

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The series with both crops and their hidden steps."""
        crops = {name: (draws[name][0], draws[f"{name}_visible"][0]) for name in ("first", "second")}
        length = int(lengths_of(batch)[0])
        return crops_picture(self.encoder.steps(batch).values[0, :length], crops)
