"""The scripts in docs/examples: data frame in, trained model, predictions out, and what else their models take."""

from __future__ import annotations

import pickle
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from repcore import registry
from repcore.errors import DataError
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
MOST_LINES = 15
COLUMN = {"audio": "sound", "graphs": "graph", "medical3d": "scan", "molecules": "smiles", "pointcloud": "points"}
DENSE = {"audio": "token", "graphs": "node", "pointcloud": "point"}


class Rows(Dataset[Any]):
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Any:
        return self.values[row]


def others(domain: str, value: Any, tmp_path: Path) -> list[Any]:
    """The same input as other libraries hold it."""
    if domain == "audio":
        samples, rate = value
        return [(rate, samples), (torch.from_numpy(samples), rate), {"array": samples, "sampling_rate": rate}]
    if domain == "molecules":
        from rdkit.Chem import MolFromSmiles

        return [MolFromSmiles(value)]
    if domain == "medical3d":
        import nibabel

        nibabel.save(value, tmp_path / "one.nii.gz")
        return [(np.asarray(value.dataobj), value.affine), str(tmp_path / "one.nii.gz"), tmp_path / "one.nii.gz"]
    if domain == "pointcloud":
        return [torch.from_numpy(value)]
    return []


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_data_frame_in_trained_model_predictions_out(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    domain = example.stem
    if domain not in registry.default().domains():
        pytest.skip(f"the plugin {domain} is not installed")
    text = example.read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) and not line.startswith("#") for line in text) <= MOST_LINES
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(example))
    assert "status" in capsys.readouterr().out
    run, tuned, frame = made["run"], made["tuned"], made["frame"]
    values = list(frame[COLUMN[domain]][:2])

    expected = run.embed(values).vectors
    width = expected.shape[1]
    assert np.isfinite(expected).all()
    given: dict[str, Callable[[], Any]] = {
        "tuple": lambda: tuple(values),
        "series": lambda: frame[COLUMN[domain]][:2],
        "data frame": lambda: frame[:2],
        "data set": lambda: Rows(values),
        "loader": lambda: DataLoader(Rows(values), batch_size=1, collate_fn=list),
        "generator": lambda: iter(values),
        "callable": lambda: lambda: values,
        "dict": lambda: {COLUMN[domain]: values},
    }
    for name, make in given.items():
        found = run.embed(make())
        assert found.status == ["ok", "ok"], (name, found.reason)
        np.testing.assert_allclose(found.vectors, expected, atol=1e-5, err_msg=name)
    for one in [values[0], *others(domain, values[0], tmp_path)]:
        found = run.embed(one)
        assert len(found) == 1, type(one)
        np.testing.assert_allclose(found.vectors[0], expected[0], atol=1e-4, err_msg=str(type(one)))

    assert run.embed([]).vectors.shape == (0, width)
    assert len(tuned.predict([])) == 0
    with pytest.raises(DataError, match="the int '5' is no input of this domain\n  expected: "):
        run.embed([5])
    with pytest.raises(DataError, match="the int '5' is no data to read"):
        tuned.predict(5)
    answers = tuned.predict(values[0])
    assert answers.to_pandas().shape[0] == 1
    assert isinstance(run.module, torch.nn.Module)
    assert run.to("cpu") is run
    if domain in DENSE:
        (answer,) = run.tokens(values[:1], DENSE[domain])
        assert answer is not None
        assert answer.outputs.ndim == 2
        assert np.isfinite(answer.outputs).all()
    saved = run.save(tmp_path / "saved")
    np.testing.assert_allclose(pickle.loads(pickle.dumps(saved)).embed(values).vectors, expected, atol=1e-6)
    assert isinstance(run.embed(values).to_pandas(), pd.DataFrame)
