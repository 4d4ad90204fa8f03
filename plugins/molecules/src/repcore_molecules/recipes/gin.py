"""GIN over atoms and bonds: a look within a minute, and an encoder for a laptop."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_molecules.configs.data import NciConfig
from repcore_molecules.configs.graphs import GinConfig, MaskedAtomsConfig, MoleculeGraphConfig


def tiny() -> RunConfig:
    """Hidden atoms are told from their surroundings; about a minute of one core."""
    return RunConfig(
        encoder=Part("molecules/gin", GinConfig()),
        objective=Part("molecules/masked-atoms", MaskedAtomsConfig()),
        dataset=Part("molecules/nci", NciConfig()),
        preprocessor=Part("molecules/graph", MoleculeGraphConfig()),
        data=DataConfig(batch_size=64, validation_share=0.05, validation_limit=1000),
        optimiser=OptimiserConfig(lr=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="linear", warmup_steps=100),
        trainer=TrainerConfig(steps=480),
    )


def small() -> RunConfig:
    """:func:`tiny`, whose vector predicts RDKit's descriptors of each molecule instead of hidden atoms."""
    return replace(
        tiny(),
        objective=Part("generic/computed-targets", {"targets": ["descriptors"]}),
        trainer=TrainerConfig(steps=9000, validate_every=1500),
    )
