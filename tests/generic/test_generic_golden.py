"""Golden folders of the generic systems: stored numbers are reproduced, altered ones are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from repcore import registry
from repcore.verification.run import Verdict, verify

SYSTEMS = (
    "cmim", "matryoshka-2d", "mlcd", "token-alignment", "gaussian-anomaly", "label-shift", "sparse-codes",
    "rank-metrics", "core-tuning", "hydra", "metrix", "class-gaussian-contrast", "shrinkmatch",
    "stationary", "sherl", "experts", "mamba-mil",
)  # fmt: skip
ALTERED = {
    "cmim": "corrected.contrast", "matryoshka-2d": "corrected.kl", "mlcd": "cosine_margin.positive",
    "token-alignment": "corrected.alignment", "gaussian-anomaly": "corrected.total.maha",
    "label-shift": "corrected.p_y_x_d", "sparse-codes": "topk.auxiliary", "rank-metrics": "reference.map",
    "core-tuning": "corrected.signed.contrastive_loss_positives", "hydra": "corrected.after_gate.similarity",
    "metrix": "corrected.embed.capped.mixed_loss", "class-gaussian-contrast": "corrected.tau1.loss",
    "shrinkmatch": "corrected.case.items", "stationary": "corrected.train.hoc_rows",
    "sherl": "corrected.normed.theta1.out", "experts": "corrected.contrast.logits",
    "mamba-mil": "corrected.srmamba.bag_2.pooled",
}  # fmt: skip


def verified(folder: Path, system: str) -> Verdict:
    replay = registry.default().system(f"generic/{system}").load("replay")
    return verify(replay, folder, system=f"generic/{system}")


@pytest.fixture(params=SYSTEMS)
def folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "golden" / "generic" / request.param


def test_stored_numbers_are_reproduced(folder: Path) -> None:
    verdict = verified(folder, folder.name)
    assert verdict.ok, verdict.text()


def test_an_altered_value_is_found(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    path = copy / "outputs.safetensors"
    path.chmod(0o644)
    tensors = load_file(path)
    name = ALTERED[folder.name]
    tensors[name] = tensors[name] + 0.01
    copy.chmod(0o755)
    save_file(tensors, path)
    verdict = verified(copy, folder.name)
    assert not verdict.ok
    assert name in verdict.text()
