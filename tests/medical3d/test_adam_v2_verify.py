"""Adam-v2 against golden numbers: the shared folder, and a folder made by an independent slow formula."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from repcore.verification.run import Verdict, verify
from repcore_medical3d.verification.adam_v2 import replay
from tests.medical3d.slow_adam_v2 import write_golden_folder

SYSTEM = "medical3d/adam-v2"


def run(folder: Path) -> Verdict:
    return verify(replay, folder, system=SYSTEM)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_golden_folder(tmp_path_factory.mktemp("golden") / "adam_v2")


def test_the_authors_numbers_are_reproduced(shared: Path) -> None:
    verdict = run(shared / "golden" / "adam_v2")
    assert verdict.ok, verdict.text()
    assert verdict.due == verdict.run == verdict.passed == 16


def test_a_folder_of_other_sizes_passes(made: Path, tmp_path: Path) -> None:
    for folder in (made, write_golden_folder(tmp_path / "other", seed=8)):
        verdict = run(folder)
        assert verdict.ok, verdict.text()
        assert verdict.passed == 16


ALTERED = {
    "embeddings": "lcd.teacher.embed_view_07",
    "logits": "l.teacher_logits",
    "centers": "l.center_after",
    "losses": "l.loss_localizability",
    "part_losses": "lcd.loss_decomposability",
    "gradients": "step.grad_norms_before_clip",
    "optimizer_step": "step.after.teacher.head.mlp.2.weight",
    "schedules": "sched.wd",
    "integer_data": "design3d.octants",
    "center_boxes": "data.center_box_y_x_h_w",
    "center_crops": "data.center_crop_bicubic_uint8",
    "resized_whole": "data.whole_resized_normalised",
    "pruner_mask": "v1.keep_mask",
    "pruner_losses": "v1.loss_unpruned",
}


@pytest.mark.parametrize("stage", ALTERED)
def test_one_altered_value_fails_its_stage_only(made: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made, folder)
    tensors = load_file(folder / "outputs.safetensors")
    flat = tensors[ALTERED[stage]].reshape(-1)
    flat[0] = flat[0] + 1 if not flat.is_floating_point() else flat[0] * 1.01 + 1e-4
    save_file(tensors, folder / "outputs.safetensors")
    verdict = run(folder)
    assert [one.name for one in verdict.stages if one.status == "failed"] == [stage], verdict.text()


def change(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        edit(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return apply


@pytest.mark.parametrize(
    ("edit", "failing"),
    [
        (lambda m: m["config"]["loss"].update(student_temperature=0.2), "losses"),
        (lambda m: m["config"]["loss"].update(decomposed_parts_normalised="separately"), "part_losses"),
        (lambda m: m["config"]["step"].update(per_tensor_clip_norm=10.0, epsilon=0.1), "optimizer_step"),
        (lambda m: m["config"]["step"].update(ema_momentum=0.5), "optimizer_step"),
        (lambda m: m["config"]["pruner"].update(threshold=0.1), "pruner_mask"),
        (lambda m: m["config"]["octants"].update(branching_zyx=[2, 2, 4]), "integer_data"),
        (lambda m: m["config"]["backbone"].update(norm_epsilon=0.1), "embeddings"),
    ],
)
def test_other_settings_fail(made: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], failing: str) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made, folder)
    change(edit)(folder)
    verdict = run(folder)
    assert failing in [one.name for one in verdict.stages if one.status == "failed"], verdict.text()


def test_a_part_count_that_is_no_square_is_named(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made, folder)
    change(lambda m: m["config"]["part_heads"].update(parts=8))(folder)
    verdict = run(folder)
    assert not verdict.ok
    assert "parts=8 cannot be split evenly along 2 axes" in verdict.error


def test_an_unknown_weight_is_named(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made, folder)
    weights = load_file(folder / "weights.safetensors")
    weights["module.student.backbone.extra.weight"] = weights["module.compose_head.0.bias"].clone()
    save_file(weights, folder / "weights.safetensors")
    verdict = run(folder)
    assert "student.backbone.extra.weight" in verdict.error
    assert verdict.run == 0
