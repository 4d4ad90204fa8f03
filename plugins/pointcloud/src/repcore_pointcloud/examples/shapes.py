"""Tiny settings and batches of the parts for shapes, for conformance checks and documentation."""

from __future__ import annotations

import torch

from repcore.interfaces import Batch
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig
from repcore_pointcloud.configs.shapes import GeneratedShapesConfig


def point_encoder() -> tuple[PointEncoderConfig, Batch]:
    """One block a level over clouds of 80 points."""
    config = PointEncoderConfig(
        groups=(24, 12, 6),
        neighbours=(6, 4, 3),
        widths=(12, 18, 24),
        depths=(1, 1, 1),
        heads=2,
        point_widths=(8, 12),
        joint_width=16,
        drop_path=0.0,
    )
    return config, batch()


def masked_points() -> tuple[MaskedPointsConfig, Batch]:
    """With the embedded teacher, images of 64 pixels."""
    return MaskedPointsConfig(image_size=64, mask_ratio=0.6, decoder_drop_path=0.0), batch()


def shapes() -> GeneratedShapesConfig:
    """Thirty small objects."""
    return GeneratedShapesConfig(shapes=30, points=128)


def batch() -> Batch:
    """Three clouds of 80 points within the unit ball."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 80, 3, generator=generator)
    return Batch(inputs={"points": points / points.norm(dim=2).amax(1)[:, None, None]}, size=3)
