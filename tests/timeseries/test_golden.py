"""Parity with the published code on golden folders, and with a slow formula where no golden folder is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore.interfaces import Batch
from repcore.verification.golden import Golden
from repcore.verification.run import verify
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.objectives.autotcl_loss import mmd
from repcore_timeseries.verification import autotcl, ts2vec
from tests.timeseries import slow_formula

SYSTEMS = {"ts2vec": ts2vec.replay, "autotcl": autotcl.replay}
CLOSE = {"kind": "allclose", "rtol": 1e-4, "atol": 1e-5}  # float32 against float64


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_published_numbers_are_reproduced(shared: Path, system: str) -> None:
    folder = shared / "golden" / system
    if not folder.is_dir():
        pytest.skip(f"no golden folder of {system}")
    verdict = verify(SYSTEMS[system], folder)
    assert verdict.ok, verdict.text()
    assert verdict.run == verdict.due == len(Golden.open(folder).stages)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_an_altered_stage_fails(shared: Path, tmp_path: Path, system: str) -> None:
    """One value of one tensor of every stage moved: each of them is found."""
    folder = shared / "golden" / system
    if not folder.is_dir():
        pytest.skip(f"no golden folder of {system}")
    golden = Golden.open(folder)
    for name in ("inputs.safetensors", "weights.safetensors", "manifest.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    outputs = load_file(folder / "outputs.safetensors")
    for stage in golden.stages:
        outputs[golden.expected(stage.name)[-1]].view(-1)[-1] += 1e-2
    save_file(outputs, tmp_path / "outputs.safetensors")
    verdict = verify(SYSTEMS[system], tmp_path)
    assert {one.status for one in verdict.stages} == {"failed"}, verdict.text()


@pytest.fixture
def small_golden(tmp_path: Path) -> Path:
    """A TS2Vec folder from the slow formula, of other sizes and weights than any published one."""
    torch.manual_seed(3)
    config = DilatedConfig(channels=3, hidden=4, depth=1, width=5)
    state = {name: one.detach().clone() for name, one in DilatedEncoder(config).state_dict().items()}
    x = torch.randn(3, 11, 3)
    x[0, 2, 1] = torch.nan
    facts = {"crop_eleft": 1, "crop_left": 3, "crop_right": 8, "crop_eright": 9}
    masks = {"mask_first": torch.rand(3, 7) < 0.7, "mask_second": torch.rand(3, 6) < 0.7}
    offset = torch.tensor([0, -1, 2])
    weights = {name: one.double().numpy() for name, one in state.items()}
    crops, found = {}, {}
    for name, first, length in (("first", 1, 7), ("second", 3, 6)):
        index = offset[:, None] + first + torch.arange(length)
        crops[name] = x[torch.arange(3)[:, None], index]
        shown = masks[f"mask_{name}"] & ~crops[name].isnan().any(-1)
        found[name] = np.stack(
            [slow_formula.trunk(weights, crops[name][row].double().numpy(), shown[row].numpy()) for row in range(3)]
        )
    one, two = found["first"][:, -5:], found["second"][:, :5]
    losses = {
        f"loss.hierarchical_unit{unit}_alpha{alpha}": torch.tensor(slow_formula.hierarchical(one, two, alpha, unit))
        for unit, alpha in ((0, 0.5), (1, 0.3))
    }
    outputs = {
        **{f"crops.{name}": value.nan_to_num(0.0) for name, value in crops.items()},
        "encoder.first": torch.from_numpy(one), "encoder.second": torch.from_numpy(two), **losses,
    }  # fmt: skip
    inputs = {"x": x, "x_lengths": x.clone(), "crop_offset": offset, **masks}
    files: dict[str, Any] = {
        "weights": {f"encoder.{name}": one for name, one in state.items()}, "inputs": inputs, "outputs": outputs,
    }  # fmt: skip
    for name, tensors in files.items():
        kept = {key: (one.float() if one.dtype == torch.float64 else one).contiguous() for key, one in tensors.items()}
        save_file(kept, tmp_path / f"{name}.safetensors")
    manifest = {
        "format": 1, "system": "timeseries/ts2vec",
        "config": {"channels": 3, "hidden": 4, "depth": 1, "width": 5, "conv_kernel": 3, "dropout": 0.0, **facts},
        "stages": [
            {"name": "crops", "outputs": ["crops.*"], "compare": {"kind": "exact"}},
            {"name": "encoder", "outputs": ["encoder.*"], "compare": CLOSE},
            {"name": "loss", "outputs": ["loss.*"], "compare": CLOSE},
        ],
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


def test_the_slow_formula_is_reproduced(small_golden: Path) -> None:
    verdict = verify(ts2vec.replay, small_golden)
    assert [one.status for one in verdict.stages] == ["passed"] * 3, verdict.text()


@pytest.mark.parametrize("name", ["crops.first", "encoder.second", "loss.hierarchical_unit1_alpha0.3"])
def test_an_altered_value_fails(small_golden: Path, name: str) -> None:
    path = small_golden / "outputs.safetensors"
    outputs = load_file(path)
    outputs[name].view(-1)[-1] += 0.01
    save_file(outputs, path)
    assert not verify(ts2vec.replay, small_golden).ok


def test_kernels_and_discrepancy_are_those_of_the_slow_formula() -> None:
    torch.manual_seed(1)
    encoder = DilatedEncoder(DilatedConfig(channels=2, hidden=3, depth=1, width=4, kernels=(1, 3))).eval()
    weights = {name: one.detach().double().numpy() for name, one in encoder.state_dict().items()}
    x = torch.randn(1, 9, 2)
    with torch.no_grad():
        ours = encoder.features(encoder.steps(Batch(inputs={"values": x}, size=1)))[0]
    theirs = slow_formula.features(weights, x[0].double().numpy(), np.ones(9, bool))
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5)
    one, two = torch.randn(4, 3), torch.randn(4, 3)
    assert float(mmd(one, two)) == pytest.approx(slow_formula.mmd(one.numpy(), two.numpy(), 5, 2.0), rel=1e-4)
