"""Runs of Alice: ``tiny`` and ``small`` for a CPU, ``scratch`` corrected at full size, ``paper`` and ``figure`` as
published."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_medical3d.configs.alice import FIGURE_ALICE, PUBLISHED_ALICE, AliceConfig, AlicePairsConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig

ENCODER, OBJECTIVE, VIEWS = "medical3d/nnformer", "medical3d/alice", "medical3d/alice-pairs"
PHANTOMS, VOLUMES = "medical3d/phantoms", "medical3d/volumes"


def tiny() -> RunConfig:
    """Cubes of 16 voxels, 0.6 M parameters in the encoder; pairs by place, which is right for crops of one organ.

    Small cubes buy more steps in the same minutes. Distillation rises over the whole run, so that its targets come from
    features that tell places apart.
    """
    objective = AliceConfig(
        output_width=64, hidden_width=256, bottleneck_width=64, alignment_heads=4, alignment_key_width=16,
        alignment_hidden_width=256, mask_patch=4, mask_ratio=0.6, ema_start=0.99, distillation_ramp=1.0,
    )  # fmt: skip
    encoder = NnFormerConfig(width=12, heads=(1, 2, 4, 8), windows=(4, 4, 2, 1), drop_path=0.0)
    return RunConfig(
        encoder=Part(ENCODER, encoder),
        objective=Part(OBJECTIVE, objective),
        dataset=Part(PHANTOMS, PhantomsConfig()),
        preprocessor=Part(VOLUMES, VolumeConfig(crop_edge=16)),
        views=Part(VIEWS, AlicePairsConfig(jitter=0.1)),
        data=DataConfig(batch_size=8),
        optimiser=OptimiserConfig(lr=1e-3, weight_decay=0.04, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=30, final_share=0.01),
        trainer=TrainerConfig(steps=400),
    )


def small() -> RunConfig:
    """Reconstruction alone, in cubes of 32 voxels that show where in an organ they lie; 0.6 M parameters.

    Chosen on training scans (docs/learning.md): distillation at this length adds time, and nothing to features of
    voxels. The mean vector of a scan is not what this preset learns; read voxels, with place beside them.
    """
    base = tiny()
    objective = replace(
        cast(AliceConfig, base.objective.config), mask_patch=8, inter_volume_weight=0.0, intra_volume_weight=0.0
    )
    encoder = NnFormerConfig(
        width=12, depths=(1, 1, 2, 2), heads=(1, 2, 4, 8), windows=(4, 4, 4, 2), drop_path=0.0
    )  # deep stages see the surroundings, and shallow ones take the time
    return replace(
        base,
        encoder=Part(ENCODER, encoder),
        objective=Part(OBJECTIVE, objective),
        preprocessor=Part(VOLUMES, VolumeConfig(crop_edge=32)),
        data=DataConfig(batch_size=2),
        trainer=TrainerConfig(steps=1500),
    )


def scratch() -> RunConfig:
    """The corrected defaults at the published size, for one GPU: 1.5 mm voxels, affine correspondence."""
    return RunConfig(
        encoder=Part(ENCODER, NnFormerConfig()),
        objective=Part(OBJECTIVE, AliceConfig()),
        dataset=Part(PHANTOMS, PhantomsConfig(edge=48, spacing_mm=3.0)),
        preprocessor=Part(VOLUMES, VolumeConfig(spacing="fixed", spacing_mm=(1.5, 1.5, 1.5))),
        views=Part(VIEWS, AlicePairsConfig(correspondence="registration")),
        data=DataConfig(batch_size=8),
        optimiser=OptimiserConfig(lr=2e-4, weight_decay=0.04, final_weight_decay=0.4, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=1000, final_share=0.01),
        trainer=TrainerConfig(steps=50_000, precision="bf16-mixed"),
    )


def paper() -> RunConfig:
    """The authors' code and command: batch 8, native spacing, 1000 epochs with 50 of warm-up.

    Differs: their learning rate floor lies above the peak, so that the rate rises; here it falls to the end. Their
    correspondence needs the published network: set
    ``views.correspondence=checkpoint views.network=SAM.pth``.
    """
    base = scratch()
    encoder = NnFormerConfig(legacy_relative_index=True)
    return replace(
        base,
        encoder=Part(ENCODER, encoder),
        objective=Part(OBJECTIVE, PUBLISHED_ALICE),
        preprocessor=Part(VOLUMES, VolumeConfig(spacing="native", intensity="hu-window")),
        views=Part(VIEWS, AlicePairsConfig(correspondence="registration", tries=101, jitter=0.0, overhang=1.0)),
        optimiser=OptimiserConfig(lr=1.25e-5, weight_decay=0.04, final_weight_decay=0.4, clip_norm=None),
        trainer=TrainerConfig(epochs=1000.0),
    )


def figure() -> RunConfig:
    """The variant of the architecture figures at the published size."""
    return replace(scratch(), objective=Part(OBJECTIVE, FIGURE_ALICE))
