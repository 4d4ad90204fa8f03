"""Tiny inputs for the conformance checks."""

from __future__ import annotations

import torch
from repcore.interfaces import Batch

from repcore_timeseries.configs import HiddenColumnsConfig, RowEncoderConfig

COLUMNS = 6


def batch() -> Batch:
    """Four rows."""
    values = torch.randn(4, COLUMNS, generator=torch.Generator().manual_seed(0))
    return Batch(inputs={"values": values}, size=4)


def encoder() -> tuple[RowEncoderConfig, Batch]:
    """Settings of a tiny encoder and what it eats."""
    return RowEncoderConfig(columns=COLUMNS, width=8, hidden_width=16), batch()


def objective() -> tuple[HiddenColumnsConfig, Batch]:
    """Settings of the objective and what it eats."""
    return HiddenColumnsConfig(columns=COLUMNS), batch()
