"""Golden folders: the authors' numbers, and a folder from an independent slow implementation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore import registry
from repcore.nn.compiled_loops import numba_unusable
from repcore.verification.run import verify
from tests.audio.slow_ssamba import write_golden_folder


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_golden_folder(tmp_path_factory.mktemp("golden") / "ssamba")


def replay() -> object:
    return registry.default().system("audio/ssamba").load("replay")


def statuses(folder: Path) -> dict[str, str]:
    verdict = verify(replay(), folder, system="audio/ssamba")  # type: ignore[arg-type]
    return {stage.name: stage.status for stage in verdict.stages}


def test_every_stage_equals_the_slow_implementation(own_folder: Path) -> None:
    verdict = verify(replay(), own_folder, system="audio/ssamba")  # type: ignore[arg-type]
    assert verdict.ok, verdict.text()
    assert verdict.due == 21


@pytest.mark.parametrize("op", ["torch", "chunked", "compiled"])
def test_parity_holds_for_each_implementation_of_the_scan(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    if op == "compiled" and numba_unusable():
        pytest.skip("the compiled form needs numba")
    monkeypatch.setenv("REPCORE_OPS", f"selective-scan={op}")
    assert set(statuses(own_folder).values()) == {"passed"}


@pytest.mark.parametrize(
    ("tensor", "stage"),
    [
        ("scan.reverse.out_z", "scan"),
        ("block.bwd.last_state", "block_directions"),
        ("pretrain.mpc.layer3.residual", "mpc_features"),
        ("pretrain.grad.v.layers.2.mixer.A_b_log", "pretrain_gradients"),
        ("ftA.logits_cls", "finetune"),
        ("fbank.superb_variant", "fbank"),
    ],
)
def test_an_altered_value_fails_its_stage_only(own_folder: Path, tmp_path: Path, tensor: str, stage: str) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(own_folder, folder)
    outputs = load_file(folder / "outputs.safetensors")
    flat = outputs[tensor].flatten()
    flat[flat.abs().argmax()] *= 1.01
    save_file(outputs, folder / "outputs.safetensors")
    found = statuses(folder)
    assert [name for name, status in found.items() if status != "passed"] == [stage]


def test_an_altered_weight_is_noticed(own_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(own_folder, folder)
    weights = load_file(folder / "weights.safetensors")
    weights["module.v.layers.3.mixer.D_b"] *= 1.001
    save_file(weights, folder / "weights.safetensors")
    failed = {name for name, status in statuses(folder).items() if status == "failed"}
    assert {"mpc_features", "features", "finetune", "pretrain_gradients"} <= failed
    assert "block" not in failed


def test_a_stage_that_nobody_replays_fails(own_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    shutil.copytree(own_folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    outputs = load_file(folder / "outputs.safetensors")
    outputs["new.tensor"] = torch.zeros(2)
    save_file(outputs, folder / "outputs.safetensors")
    manifest["stages"].append({"name": "new", "outputs": ["new.*"], "compare": {"kind": "exact"}})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert statuses(folder)["new"] == "not run"


# The cross-entropy does not change when one vector is added to all predictions of a clip, so the exact gradient of
# this bias is 0 and the golden file stores rounding noise (largest value 1.6e-8): no relative tolerance can hold.
NOISE_IN_THE_GOLDEN_FILE = {"pretrain.grad.cpredlayer.2.bias": 1e-6}


def test_the_authors_numbers(shared: Path) -> None:
    verdict = verify(replay(), shared / "golden" / "ssamba", system="audio/ssamba")  # type: ignore[arg-type]
    failed = {row.name: row.max_absolute for stage in verdict.stages for row in stage.rows if not row.passed}
    assert failed.keys() <= NOISE_IN_THE_GOLDEN_FILE.keys(), verdict.text()
    assert all(error < NOISE_IN_THE_GOLDEN_FILE[name] for name, error in failed.items()), verdict.text()
    assert verdict.run == verdict.due, verdict.text()


def test_the_noise_in_the_golden_file_is_noise(shared: Path) -> None:
    """From the file's own predictions: 0 in float64; in float32, clip by clip as the reference does, what it stores."""
    folder = shared / "golden" / "ssamba"
    inputs, outputs = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    stored = outputs["pretrain.grad.cpredlayer.2.bias"]

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        bias = torch.zeros(stored.shape, dtype=dtype, requires_grad=True)
        total = torch.zeros((), dtype=dtype)
        index = inputs["pretrain.mask_index_mpc"]
        for clip, hidden in enumerate(index):
            predicted = outputs["pretrain.mpc.pred"][clip].to(dtype) + bias
            logits = outputs["pretrain.patches"][clip, hidden].to(dtype) @ predicted.T
            total = total + logits.log_softmax(-1).diagonal().sum()
        (total / -index.numel()).backward()
        assert bias.grad is not None
        return bias.grad

    assert gradient(torch.float64).abs().max() < 1e-15
    # bit by bit on the machine that made the file; another order of summing gives other noise of the same size
    assert (gradient(torch.float32) - stored).abs().max() < 4 * stored.abs().max() < 1e-7
