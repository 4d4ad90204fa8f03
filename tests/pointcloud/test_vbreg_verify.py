"""Golden parity of VBReg through ``verify``: all stages pass, altered values fail, weights go through the converter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore import registry
from repcore.errors import CheckpointError
from repcore.verification.run import verify
from repcore_pointcloud.checkpoints.vbreg import KEYS, convert, sniff
from repcore_pointcloud.encoders.match_network import MatchNetwork
from repcore_pointcloud.objectives.match_consistency import MatchConsistency, MatchConsistencyConfig

SYSTEM = "pointcloud/vbreg"


def failures(folder: Path) -> set[str]:
    verdict = verify(registry.default().system(SYSTEM).load("replay"), folder, system=SYSTEM)
    return {stage.name for stage in verdict.stages if stage.status != "passed"}


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "vbreg"
    shutil.copytree(shared / "golden" / "vbreg", folder)
    return folder


def test_every_stage_passes(shared: Path) -> None:
    verdict = verify(registry.default().system(SYSTEM).load("replay"), shared / "golden" / "vbreg", system=SYSTEM)
    assert verdict.ok, verdict.text()
    assert verdict.run == verdict.due == 32


ALTERED = {
    "reference.train.loss.kl": "reference_train_losses",
    "corrected.train.grad.blocks.corr_encoder.blocks.fc_label_V.weight": "corrected_train_gradients",
    "corrected.rigid.attention_last": "corrected_rigid_encoder",
    "corrected.random.vote_score": "corrected_random_scores",
    "reference.rigid.transform": "reference_rigid_transform",
    "corrected.refine.transform": "refinement",
}


def test_altered_values_fail_their_stages_only(copied: Path) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    for tensor in ALTERED:
        flat = outputs[tensor].flatten()
        flat[flat.abs().argmax()] *= 1.01
        outputs[tensor] = flat.view(outputs[tensor].shape)
    outputs["corrected.rigid.consensus"][0, 0, 1] += 1
    outputs["reference.random.best_seed"] += 1
    save_file(outputs, copied / "outputs.safetensors")
    assert failures(copied) == {*ALTERED.values(), "corrected_rigid_selection", "reference_random_choice"}


def test_altered_inputs_and_settings_are_noticed(copied: Path) -> None:
    inputs = load_file(copied / "inputs.safetensors")
    inputs["train.noise_prior"][0, 2] += 0.1
    save_file(inputs, copied / "inputs.safetensors")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["config"]["refine_threshold_example"] = 0.02
    manifest["config"]["kl_balance"] = 0.5
    (copied / "manifest.json").write_text(json.dumps(manifest))
    found = failures(copied)
    assert {"reference_train_losses", "corrected_train", "refinement"} <= found
    assert "reference_train_latents" not in found  # of the posterior pass
    assert not any("rigid" in name for name in found)


def test_published_weights_become_a_network_and_the_rest_of_its_training(shared: Path) -> None:
    published = load_file(shared / "golden" / "vbreg" / "weights.safetensors")
    assert sniff(frozenset(f"module.{name}" for name in published)) == 1.0
    assert sniff(frozenset(("conv0p1s1.kernel", "sigma"))) == 0.0
    found = convert({f"module.{name}": value for name, value in published.items()}, Path("best.pth"), {})
    network = MatchNetwork(found.encoder_config)
    network.load_state_dict(dict(found.state))
    assert found.encoder_config.length_tolerance_m == pytest.approx(0.1)
    assert network.temperature.item() == pytest.approx(0.8)
    dropped = {name for name in found.report.dropped if "PointCN" in name}
    assert len(dropped) == 6
    assert found.report.total == len(published)
    objective = MatchConsistency(MatchConsistencyConfig(label_width=3), network)
    missing = objective.load_state_dict(found.heads["objective"], strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("encoder.") for name in missing.missing_keys)
    back = KEYS.reverse({name: value for name, value in found.state.items() if "num_batches" not in name})
    assert all(torch.equal(value.reshape(published[name].shape), published[name]) for name, value in back.items())


def test_the_setting_wins_over_the_tolerance_of_the_file(shared: Path) -> None:
    published = load_file(shared / "golden" / "vbreg" / "weights.safetensors")
    found = convert(published, Path("best.pth"), {"length_tolerance_m": "1.2"})
    assert found.encoder_config.length_tolerance_m == 1.2
    assert any("0.1, not 1.2" in note for note in found.report.notes)
    for word in ("far", "-1"):
        with pytest.raises(CheckpointError, match="length"):
            convert(published, Path("best.pth"), {"length_tolerance_m": word})
    del published["blocks.corr_encoder.blocks.rnn_K.weight_hh"]
    with pytest.raises(CheckpointError, match="lacks"):
        convert(published, Path("best.pth"), {})
