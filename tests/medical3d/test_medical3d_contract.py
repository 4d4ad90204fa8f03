"""The plugin keeps core's contract: one test for each check of the conformance kit."""

from __future__ import annotations

import pytest
import torch

from repcore.testing.checkpoint_checks import CheckpointSample
from repcore.testing.pytest_plugin import BoundCheck, parametrize_checks
from tests.medical3d.slow_adam_v2 import weights

JOINT_STAGE = {
    name.removeprefix("module."): one for name, one in weights(torch.Generator().manual_seed(0)).items()
}  # as the reader hands it over
SAMPLES = {"medical3d/adam-convnext": CheckpointSample(JOINT_STAGE)}


@pytest.mark.slow
@parametrize_checks("medical3d", checkpoints=SAMPLES)
def test_contract(check: BoundCheck) -> None:
    check()
