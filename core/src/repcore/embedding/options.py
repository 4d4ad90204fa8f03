"""How an encoder, or a task, is run over rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from repcore.embedding.windows import WINDOW_BYTES
from repcore.specs import TargetSpec


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How to run an encoder over rows.

    Args:
        pooling / level / layer: which vector; None = the encoder's own.
        batch_size: most items of a batch.
        cost_budget: most cost (padded: items x largest cost) of a batch; None = what memory has room for.
        window / window_bytes: most rows and most prepared bytes that are read, sorted and batched together; the rows
            follow from the data if None (:mod:`repcore.embedding.blocks`).
        workers: processes that work: that read, prepare and compute on a CPU, that read and prepare for another device
            or where items have a time limit; 0 = this one alone, None = as many as the work is worth.
        device / dtype: where and how the encoder runs; vectors come back as float32.
        normalise: unit length.
        item_timeout: seconds after which a row is given up; None = never.
        apart: a vector for every window of a row (``Item.window``) instead of their mean.
        dim: keep the first so many numbers of each vector; None = all.
        columns: labels that batches carry, because the encoder reads them.
    """

    pooling: str | None = None
    level: str | None = None
    layer: int | None = None
    batch_size: int = 64
    cost_budget: int | None = None
    window: int | None = None
    window_bytes: int = WINDOW_BYTES
    workers: int | None = 0
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    normalise: bool = False
    item_timeout: float | None = None
    apart: bool = False
    dim: int | None = None
    columns: tuple[TargetSpec, ...] = ()
