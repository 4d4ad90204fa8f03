"""Alice against golden numbers; an altered value or a missing part must fail its stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore.checkpoints.reading import read_checkpoint
from repcore.errors import CheckpointError
from repcore.interfaces import Batch
from repcore.verification.run import Verdict, verify
from repcore_medical3d.checkpoints.alice import KEYS, convert, sniff
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.encoders.nnformer_blocks import relative_index
from repcore_medical3d.verification.alice import replay
from tests.medical3d.slow_alice_folder import write_golden_folder


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "alice"


def run(folder: Path) -> Verdict:
    return verify(replay, folder, system="medical3d/alice")


def test_the_authors_numbers_are_reproduced(folder: Path) -> None:
    verdict = run(folder)
    assert verdict.ok, verdict.text()
    assert verdict.due == verdict.passed == 18


def test_a_folder_of_other_sizes_passes(tmp_path: Path) -> None:
    verdict = run(write_golden_folder(tmp_path / "made", seed=6))
    assert verdict.ok, verdict.text()
    assert verdict.passed == 18  # the losses twice: end to end, and fed


def altered(tensor: str, file: str = "outputs.safetensors") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / file)
        flat = tensors[tensor].reshape(-1)
        flat[len(flat) // 2] += 0.05
        save_file(tensors, folder / file)

    return change


def altered_norm(folder: Path) -> None:
    path = folder / "grad_norms.json"
    norms = json.loads(path.read_text())
    norms[next(iter(norms))] *= 1.1
    path.write_text(json.dumps(norms))


ALTERATIONS = {
    "crops": altered("crop.key"),
    "encoder": altered("teacher.skip2"),
    "heads": altered("student.out.de"),
    "casa": altered("casa.attn_student"),
    "centers": altered("center2.new"),
    "gradients": altered("grad.casa.w_qs"),
    "gradient_norms": altered_norm,
    "ema": altered("ema.head.last_layer.weight_v"),
    "schedules": altered("sched.wd"),
    "match_points": altered("sam.match_xyz"),
}


def test_altered_values_fail_their_stages(tmp_path: Path) -> None:
    """All at once: every altered stage fails, every other one passes."""
    copy = write_golden_folder(tmp_path / "altered")
    for change in ALTERATIONS.values():
        change(copy)
    verdict = run(copy)
    assert {one.name for one in verdict.stages if one.status == "failed"} == set(ALTERATIONS)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("backbone", "windows", [4, 4, 4, 2]), ("head", "activation", "relu"), ("casa", "value_width", 16)],
)
def test_a_config_that_does_not_fit_is_named(
    folder: Path, tmp_path: Path, section: str, key: str, value: object
) -> None:
    copy = tmp_path / "altered"
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["config"][section][key] = value
    (copy / "manifest.json").write_text(json.dumps(manifest))
    verdict = run(copy)
    assert not verdict.ok
    assert f"{section}.{key}" in verdict.error


# ---------------------------------------------------------------------------------------------- checkpoints


def published(width: int = 4) -> dict[str, torch.Tensor]:
    """Random weights under the published names of a student's backbone."""
    torch.manual_seed(0)
    encoder = NnFormer(NnFormerConfig(crop_edge=32, width=width, heads=(1, 2, 2, 4), windows=(2, 4, 4, 2)))
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items() if name != "positions"}
    names = KEYS.reverse(state)
    for stage in (1, 2):
        names[f"backbone.final.{stage}.up.weight"] = torch.zeros(width * 2**stage, 1, 2, 2, 2)
        names[f"backbone.final.{stage}.up.bias"] = torch.zeros(1)
    return {name: value.clone() for name, value in names.items()}


LAYOUTS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "training": lambda s: {"student": {f"module.{k}": v for k, v in s.items()}, "teacher": s, "epoch": 3},
    "student": lambda s: {k.removeprefix("backbone."): v for k, v in s.items() if "final" not in k},
    "teacher": lambda s: {"state_dict": s},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_give_the_same_encoder(tmp_path: Path, layout: str) -> None:
    state = published()
    torch.save(LAYOUTS[layout](state), tmp_path / "alice.pth")
    read = read_checkpoint(tmp_path / "alice.pth", entry="student" if layout == "training" else None)
    assert sniff(frozenset(read.state)) == 1.0
    found = convert(read.state, tmp_path / "alice.pth", {})
    assert found.encoder_config.crop_edge == 32
    assert found.report.total == len(read.state)
    assert any("position table" in note for note in found.report.notes)
    encoder = NnFormer(found.encoder_config)
    encoder.load_state_dict(found.state)
    weight = state["backbone.model_down.layers.2.blocks.1.attn.qkv.weight"]
    assert torch.equal(encoder.stages[2][1].attention.project_in.weight, weight)  # type: ignore[index, union-attr]


def test_a_key_without_a_place_is_named(tmp_path: Path) -> None:
    state = {**published(), "backbone.model_down.surprise.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="surprise"):
        convert(state, tmp_path / "alice.pth", {})
    less = published()
    del less["backbone.model_down.norm2.bias"]
    with pytest.raises(CheckpointError, match=r"norms\.2\.bias"):
        convert(less, tmp_path / "alice.pth", {})


# -------------------------------------------------------------------------------------------------- blocks


def test_the_published_relative_index_shares_entries_and_ours_does_not() -> None:
    assert int(relative_index(4, legacy=True).max()) == 114
    right = relative_index(4)
    assert (int(right.min()), int(right.max())) == (0, 342)
    places = torch.stack(torch.meshgrid(*[torch.arange(4)] * 3, indexing="ij")).flatten(1).T
    offsets = (places[:, None] - places[None]).reshape(-1, 3)
    pairs = {tuple(one): int(index) for one, index in zip(offsets.tolist(), right.flatten().tolist(), strict=True)}
    assert len(set(pairs.values())) == len(pairs) == 343


def test_float32_stays_near_float64_and_batch_mates_do_not_matter() -> None:
    torch.manual_seed(0)
    encoder = NnFormer(NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1))).eval()
    volume = torch.rand(3, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        single = encoder(Batch(inputs={"volume": volume}, size=3)).pooled
        alone = encoder(Batch(inputs={"volume": volume[1:2]}, size=1)).pooled
        double = encoder.double()(Batch(inputs={"volume": volume.double()}, size=3)).pooled
    torch.testing.assert_close(single[1:2], alone, atol=1e-4, rtol=1e-4)  # other summation orders in float32
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)
