"""Tiny settings and batches of volumes, for conformance checks and documentation."""

from __future__ import annotations

import torch

from repcore.interfaces import Batch
from repcore_medical3d.configs.volumes import PhantomsConfig

EDGE = 16


def phantoms() -> PhantomsConfig:
    """Six small torsos."""
    return PhantomsConfig(volumes=6, edge=24, spacing_mm=16.0)


def cubes(count: int = 3, edge: int = EDGE) -> Batch:
    """Random cubes, values 0 to 1."""
    generator = torch.Generator().manual_seed(0)
    return Batch(inputs={"volume": torch.rand(count, 1, edge, edge, edge, generator=generator)}, size=count)
