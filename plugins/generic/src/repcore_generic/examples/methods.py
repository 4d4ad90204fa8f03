"""Settings under which a method of fine-tuning learns three classes a, b and c from plain batches, for checks."""

from __future__ import annotations

from repcore.interfaces import Batch
from repcore_generic.configs.experts import ExpertsConfig
from repcore_generic.configs.sherl import SherlConfig
from repcore_generic.configs.shrinkmatch import ShrinkMatchConfig
from repcore_generic.configs.stationary import StationaryConfig

NO_BATCH = Batch(inputs=None, size=0)  # checks take those of a recipe


def shrinkmatch() -> tuple[ShrinkMatchConfig, Batch]:
    """Without the domain's views."""
    return ShrinkMatchConfig(strong="features"), NO_BATCH


def stationary() -> tuple[StationaryConfig, Batch]:
    """Eight slots, three of them taken."""
    return StationaryConfig(slots=8, classes=("a", "b", "c")), NO_BATCH


def sherl() -> tuple[SherlConfig, Batch]:
    """For any encoder with layers."""
    return SherlConfig(form="pooled"), NO_BATCH


def experts() -> tuple[ExpertsConfig, Batch]:
    """Two domains, which the rows do not name."""
    return ExpertsConfig(domain="site", domains=("x", "y")), NO_BATCH
