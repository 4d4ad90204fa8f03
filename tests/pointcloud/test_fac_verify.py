"""Golden parity of FAC through ``verify``: all stages pass, and altered values fail where they should."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore import registry
from repcore.verification.run import verify

SYSTEM = "pointcloud/fac"


def statuses(folder: Path) -> dict[str, str]:
    verdict = verify(registry.default().system(SYSTEM).load("replay"), folder, system=SYSTEM)
    return {stage.name: stage.status for stage in verdict.stages}


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "fac"
    shutil.copytree(shared / "golden" / "fac", folder)
    return folder


def test_every_stage_passes(shared: Path) -> None:
    verdict = verify(registry.default().system(SYSTEM).load("replay"), shared / "golden" / "fac", system=SYSTEM)
    assert verdict.ok, verdict.text()
    assert verdict.run == verdict.due == 25


@pytest.mark.parametrize(
    ("tensor", "stage"),
    [
        ("geo.terms", "geometric_loss"),
        ("grad.D_a", "gradients"),
        ("moco_joint.parts", "moco_losses"),
        ("cluster.center_after", "cluster_state"),
        ("spunet.dec.0.features", "spunet_features"),
        ("res16unet.block5.features", "res16unet_features"),
    ],
)
def test_an_altered_value_fails_its_stage_only(copied: Path, tensor: str, stage: str) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    flat = outputs[tensor].flatten()
    flat[flat.abs().argmax()] *= 1.01
    outputs[tensor] = flat.view(outputs[tensor].shape)
    save_file(outputs, copied / "outputs.safetensors")
    assert [name for name, status in statuses(copied).items() if status != "passed"] == [stage]


def test_an_altered_share_of_a_region_fails(copied: Path) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    outputs["fg.region_stats"][0, 0] *= 1.01
    save_file(outputs, copied / "outputs.safetensors")
    assert statuses(copied)["region_statistics"] == "failed"


def test_settings_come_from_the_manifest(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["config"]["geometric_loss"]["temperature"] = 0.2
    manifest["config"]["unet"]["res16unet"]["kernel_order"] = "z_fastest"
    (copied / "manifest.json").write_text(json.dumps(manifest))
    failed = {name for name, status in statuses(copied).items() if status != "passed"}
    assert failed == {"geometric_loss", "total_loss", "gradients", "res16unet_features"}


def test_altered_weights_are_noticed(copied: Path) -> None:
    weights = load_file(copied / "weights.safetensors")
    weights["spunet.down.1.0.weight"] *= 1.001
    weights["scn.projector.0.bias"] += 0.01
    save_file(weights, copied / "weights.safetensors")
    failed = {name for name, status in statuses(copied).items() if status != "passed"}
    assert {"spunet_features", "spunet_gradients", "projector", "feature_loss"} <= failed
    assert "res16unet_features" not in failed


def test_a_stage_that_nobody_replays_fails(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    outputs = load_file(copied / "outputs.safetensors")
    outputs["new.tensor"] = torch.zeros(2)
    save_file(outputs, copied / "outputs.safetensors")
    manifest["stages"].append({"name": "new", "outputs": ["new.*"], "compare": {"kind": "exact"}})
    (copied / "manifest.json").write_text(json.dumps(manifest))
    assert statuses(copied)["new"] == "not run"
