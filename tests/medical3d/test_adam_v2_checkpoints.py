"""Published layouts of Adam-v1 and Adam-v2: every key accounted for, the right network taken, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from repcore.checkpoints.reading import read_checkpoint
from repcore.errors import CheckpointError
from repcore.interfaces import Batch
from repcore_medical3d.checkpoints.adam_v2 import (
    NOTICES,
    convert_convnext,
    convert_resnet,
    sniff_convnext,
    sniff_resnet,
)
from repcore_medical3d.configs.adam_v2 import AdamV1Config, AdamV2Config, ResNetConfig, ViewsConfig
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.encoders.resnet import ResNetEncoder
from repcore_medical3d.objectives.adam_v1 import AdamV1
from repcore_medical3d.objectives.adam_v2 import AdamV2
from tests.medical3d.slow_adam_v2 import BOTTLENECK, DEPTHS, HIDDEN, WIDTHS, K, backbone, write_golden_folder

SOURCE = Path("checkpoint.pth")
SMALL_RESNET = ResNetConfig(
    layers=(1, 1, 1, 1), widths=(4, 4, 8, 8), input_channels=3, mean=(0.0,) * 3, deviation=(1.0,) * 3
)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """A small joint-stage ``model`` entry."""
    return load_file(write_golden_folder(tmp_path_factory.mktemp("golden") / "adam") / "weights.safetensors")


@pytest.mark.parametrize("branch", ["teacher", "student"])
def test_joint_stage_files_give_either_network(joint: dict[str, Tensor], branch: str) -> None:
    imported = convert_convnext(joint, SOURCE, {"branch": branch})
    config = imported.encoder_config
    assert (config.depths, config.widths, config.kernel, config.stem_stride, config.mlp_ratio) == (
        DEPTHS,
        WIDTHS,
        3,
        2,
        2,
    )
    encoder = ConvNextEncoder(config).eval()
    encoder.load_state_dict(imported.state)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = backbone(joint, f"module.{branch}.", encoder.standardised(images))
        assert torch.allclose(encoder.embed(images), wanted, atol=2e-5)  # float32, sums in another order
    assert imported.report.total == len(joint)
    assert imported.report.dropped == {}
    assert "non-commercial" in imported.notices
    assert "patent" in imported.notices


def test_the_teacher_is_the_default_and_the_final_norm_is_kept(joint: dict[str, Tensor]) -> None:
    imported = convert_convnext(joint, SOURCE, {})
    norm = "backbone.norm.weight"
    assert torch.equal(imported.state[norm], joint[f"module.teacher.{norm}"])
    assert not torch.equal(imported.state[norm], joint[f"module.student.{norm}"])
    assert imported.notices == NOTICES


def test_heads_are_kept_for_continued_training(joint: dict[str, Tensor]) -> None:
    imported = convert_convnext(joint, SOURCE, {"branch": "student"})
    config = AdamV2Config(
        views=ViewsConfig(branching=(3, 3)), prototypes=K, hidden_width=HIDDEN, bottleneck_width=BOTTLENECK
    )
    objective = AdamV2(config, ConvNextEncoder(imported.encoder_config))
    missing, unexpected = objective.load_state_dict(imported.heads["objective"], strict=False)
    assert not unexpected
    assert all(name.startswith(("encoder.", "centre", "watch.")) for name in missing)


@pytest.mark.parametrize("prefix", ["module.teacher.", "module.student."])
def test_localizability_stage_and_bare_files(joint: dict[str, Tensor], prefix: str) -> None:
    stage = {name.removeprefix(prefix): one for name, one in joint.items() if name.startswith(prefix)}
    imported = convert_convnext(stage, SOURCE, {})
    assert imported.report.total == len(stage)
    bare = {n.removeprefix("backbone."): one for n, one in stage.items() if n.startswith("backbone.")}
    again = convert_convnext({**bare, "head.weight": torch.zeros(2)}, SOURCE, {})
    assert all(torch.equal(one, again.state[name]) for name, one in imported.state.items())
    assert list(again.report.dropped) == ["head.weight"]


def test_files_as_the_published_code_saves_them(joint: dict[str, Tensor], tmp_path: Path) -> None:
    """The joint file holds several sets of tensors; the localizability file is read with --entry."""
    plain = {name.removeprefix("module."): one for name, one in joint.items()}
    parts = {
        word: {name.removeprefix(f"{word}."): one for name, one in plain.items() if name.startswith(word)}
        for word in ("student", "teacher")
    }
    rest: dict[str, Any] = {"epoch": 3, "localizability_loss": {"center": torch.zeros(1, K)}, "fp16_scaler": None}
    torch.save({**parts, "model": joint, **rest}, tmp_path / "lcd.pth")
    found = read_checkpoint(tmp_path / "lcd.pth")
    assert sniff_convnext(frozenset(found.state)) == 1.0
    assert convert_convnext(found.state, tmp_path / "lcd.pth", {}).report.total == len(joint)
    wrapped = {name: {f"module.{key}": one for key, one in part.items()} for name, part in parts.items()}
    torch.save({**wrapped, **rest}, tmp_path / "l.pth")
    found = read_checkpoint(tmp_path / "l.pth", entry="teacher")
    assert sniff_convnext(frozenset(found.state)) == 1.0
    assert convert_convnext(found.state, tmp_path / "l.pth", {}).report.total == len(parts["teacher"])


def first_version() -> tuple[dict[str, Tensor], AdamV1]:
    torch.manual_seed(0)
    objective = AdamV1(AdamV1Config(width=6, queue=12), ResNetEncoder(SMALL_RESNET))
    with torch.no_grad():
        for one in objective.teacher_encoder.parameters():
            one.add_(0.1)
    names = {
        "encoder.backbone.": "encoder_q.", "teacher_encoder.backbone.": "encoder_k.", "projection.": "encoder_q.fc.",
        "teacher_projection.": "encoder_k.fc.", "queue_place": "queue_ptr", "queue": "queue",
    }  # fmt: skip
    state = {}
    for name, value in objective.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        state[f"module.{names[ours]}{name.removeprefix(ours)}"] = value
    return state, objective


@pytest.mark.parametrize(
    ("branch", "part"), [(None, "encoder"), ("student", "encoder"), ("teacher", "teacher_encoder")]
)
def test_first_version_files(branch: str | None, part: str) -> None:
    state, objective = first_version()
    assert sniff_resnet(frozenset(state)) == 1.0
    imported = convert_resnet(state, SOURCE, {} if branch is None else {"branch": branch})
    encoder = ResNetEncoder(imported.encoder_config)
    encoder.load_state_dict(imported.state)
    wanted = getattr(objective, part).state_dict()
    assert all(torch.equal(one, wanted[name]) for name, one in encoder.state_dict().items())
    assert imported.report.total == len(state)
    assert imported.heads["objective"]["queue"].shape == (6, 12)
    assert (imported.encoder_config.block, imported.encoder_config.widths) == ("bottleneck", (4, 4, 8, 8))


@pytest.mark.parametrize(("name", "convert"), [("convnext_base", convert_convnext), ("resnet50", convert_resnet)])
def test_full_size_key_lists_are_accounted_for(shared: Path, name: str, convert: Any) -> None:
    """All names and shapes of the full-size joint files, without their values."""
    listed = json.loads((shared / "golden" / "adam_v2" / f"checkpoint_keys_{name}.json").read_text())
    listed |= {key.replace("student", "teacher", 1): shape for key, shape in listed.items() if ".student." in key}
    state = {
        key: torch.zeros((), dtype=torch.int64 if "num_batches" in key else None).expand(shape)
        for key, shape in listed.items()
    }
    imported = convert(state, SOURCE, {})
    assert imported.report.total == len(listed)
    assert imported.report.dropped == {}
    assert {"compose_head.0.weight", "head.last_layer.weight_v"} <= imported.heads["objective"].keys()
    if name == "resnet50":
        assert (imported.encoder_config.layers, imported.encoder_config.widths) == ((3, 4, 6, 3), (64, 128, 256, 512))
    else:
        assert imported.encoder_config.depths == (3, 3, 27, 3)


def test_imported_models_see_published_preprocessing(joint: dict[str, Tensor]) -> None:
    imported = convert_convnext(joint, SOURCE, {})
    assert (imported.preprocessor_config.edge, imported.preprocessor_config.input_channels) == (224, 3)
    assert imported.encoder_config.mean == (0.485, 0.456, 0.406)
    encoder = ConvNextEncoder(imported.encoder_config)
    assert encoder(Batch(inputs={"image": torch.rand(1, 3, 50, 50)}, size=1)).pooled.shape == (1, WIDTHS[-1])


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"module.student.backbone.extra": torch.zeros(1)}, {}, "no place"),
        ({"module.teacher.backbone.norm.weight": None}, {}, "backbone.norm.weight"),
        ({"module.teacher.backbone.norm.weight": torch.zeros(99)}, {}, "do not fit"),
        ({}, {"branch": "best"}, "branch='best'"),
        ({}, {"grid": "3"}, "no option 'grid'"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    joint: dict[str, Tensor], change: dict[str, Tensor | None], options: dict[str, str], words: str
) -> None:
    state = {name: one for name, one in {**joint, **change}.items() if one is not None}
    with pytest.raises(CheckpointError, match=words):
        convert_convnext(state, SOURCE, options)


def test_other_files_are_not_recognised() -> None:
    assert sniff_convnext(frozenset({"v.cls_token", "head.weight"})) == 0.0
    with pytest.raises(CheckpointError, match="no backbone of Adam"):
        convert_resnet({"head.weight": torch.zeros(2)}, SOURCE, {})
