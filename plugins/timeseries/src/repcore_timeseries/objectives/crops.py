"""Overlapping crops of series, as indices of steps.

Source: Yue et al. 2022 (arXiv 2106.10466), section 3.2 and `zhihanyue/ts2vec`: one geometry a batch, shifted for each
series.

Differs: the geometry is drawn for the shortest series of the batch and shifted within the length of each one, so that
no crop reaches into padding.

Symbols: B series, T steps, L1 / L2 steps of the crops, L of their overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from repcore.errors import RunError
from repcore.interfaces import Batch


@dataclass(frozen=True, slots=True)
class Geometry:
    """Steps of two crops [eleft, right) and [left, eright) with ``eleft <= left < right <= eright``."""

    eleft: int
    left: int
    right: int
    eright: int

    @property
    def overlap(self) -> int:
        """Steps that both crops have."""
        return self.right - self.left

    def indices(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Steps of both crops, int64 (B, L1) and (B, L2), each series shifted by its ``offset`` (B,)."""
        steps = torch.arange(self.eright, device=offset.device)
        return (
            steps[self.eleft : self.right] + offset[:, None],
            steps[self.left : self.eright] + offset[:, None],
        )


def lengths_of(batch: Batch) -> Tensor:
    """Steps of each series, int64 (B,)."""
    values = batch.inputs["values"]
    found = batch.inputs.get("length")
    return torch.full(values.shape[:1], values.shape[1], device=values.device) if found is None else found


def draw_geometry(shortest: int, least: int, generator: torch.Generator) -> Geometry:
    """A geometry for series of at least ``shortest`` steps, with an overlap of ``least`` steps or more.

    Raises:
        RunError: ``shortest`` < ``least``.
    """
    if shortest < least:
        raise RunError(
            f"a series of the batch has {shortest} steps; the crops need {least}",
            hint="a smaller objective.temporal_unit, or preprocessor.shortest leaves short series out",
        )

    def drawn(low: int, high: int) -> int:
        """Uniform in low ... high, both included."""
        uniform = torch.rand((), generator=generator, device=generator.device)
        return low + min(int(uniform * (high - low + 1)), high - low)

    overlap = drawn(least, shortest)
    left = drawn(0, shortest - overlap)
    return Geometry(drawn(0, left), left, left + overlap, drawn(left + overlap, shortest))


def draw_offsets(geometry: Geometry, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Shift of each series, int64 (B,), uniform over those that keep both crops within it."""
    uniform = torch.rand(lengths.shape, generator=generator, device=lengths.device)
    room = lengths - geometry.eright + geometry.eleft + 1
    return (uniform * room).long().clamp(max=room - 1) - geometry.eleft


def cropped(batch: Batch, index: Tensor, visible: Tensor | None) -> Batch:
    """The steps ``index`` int64 (B, L) of every series, with a mask of an objective, bool (B, L)."""
    inputs = {"values": _taken(batch.inputs["values"], index)}
    if "observed" in batch.inputs:
        inputs["observed"] = _taken(batch.inputs["observed"], index)
    if visible is not None:
        inputs["visible"] = visible
    return replace(batch, inputs=inputs, views={})


def _taken(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[..., None].expand(*index.shape, values.shape[-1]))
