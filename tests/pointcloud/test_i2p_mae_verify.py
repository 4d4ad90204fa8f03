"""I2P-MAE against golden numbers: all stages pass, and altered or missing values fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from repcore.verification.run import Verdict, verify
from repcore_pointcloud.verification.i2p_mae import replay

SYSTEM = "pointcloud/i2p-mae"


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "i2p_mae"


def run(folder: Path) -> Verdict:
    return verify(replay, folder, system=SYSTEM)


def test_the_authors_numbers_are_reproduced(folder: Path) -> None:
    verdict = run(folder)
    assert verdict.ok, verdict.text()
    assert verdict.due == verdict.run == verdict.passed == 20


def change_tensors(file: str, *names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / file)
        for name in names:
            flat = tensors[name].reshape(-1)
            flat[0] += 1 if not flat.is_floating_point() else 0.05
            assert flat.data_ptr() == tensors[name].data_ptr()
        save_file(tensors, folder / file)

    return change


def change_config(part: str, name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["config"][part][name] = value
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (
            change_tensors(
                "outputs.safetensors", "group.2.knn_idx", "proj.view1.grid_size", "clip.cls_attention",
                "pretrain.eval_bn.rec_3d", "pretrain.train_bn.loss_2d", "svm.feature", "finetune.logits",
            ),
            {"grouping", "projection_parameters", "teacher_attention", "encoder_decoder", "pretrain_losses",
             "svm_feature", "finetune"},
        ),
        (change_tensors("weights.safetensors", "clip_model.visual.proj"), {"teacher_features"}),
        (change_config("masking", "mask_used_by_losses", "corrected"), {"masks", "token_counts", "pretrain_losses"}),
        (change_config("grouping", "farthest_point_skips_squared_norm_up_to", -1.0), {"grouping", "svm_feature"}),
        (change_config("losses", "weight_2d", 2.0), {"gradient_norms"}),
    ],
)  # fmt: skip
def test_altered_values_fail(folder: Path, tmp_path: Path, change: Callable[[Path], None], failing: set[str]) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(folder, altered, copy_function=shutil.copyfile)
    change(altered)
    verdict = run(altered)
    failed = {stage.name for stage in verdict.stages if stage.status != "passed"}
    assert not verdict.ok
    assert failing <= failed, failed
    assert "chamfer" not in failed  # what was not touched still passes
