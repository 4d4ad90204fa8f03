"""The scripts in docs/examples: data frame in, trained model, predictions out, and what else their models take."""

from __future__ import annotations

import copy
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

import repcore
from repcore import registry
from repcore.errors import DataError
from repcore.sklearn import Embedder
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
MOST_LINES = 15
COLUMN = {"audio": "sound", "graphs": "graph", "medical3d": "scan", "molecules": "smiles", "pointcloud": "points"}
DENSE = {"audio": "token", "graphs": "node"}  # encoders whose tokens lead back to elements without a readout


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


def hear(model: repcore.Model) -> None:
    """The checks of HEAR's validator: types, sizes, devices, batches, and times in order within the sound."""
    from repcore_audio import hear as api

    loaded = api.load_model(model.folder.folder)
    assert isinstance(loaded, torch.nn.Module)
    assert loaded.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    for seconds, count in ((2.0, 1), (0.74, 3)):
        audio = torch.rand(count, int(seconds * loaded.sample_rate), generator=torch.Generator().manual_seed(0)) - 0.5
        scenes = api.get_scene_embeddings(audio, loaded)
        assert (scenes.shape, scenes.dtype) == ((count, loaded.scene_embedding_size), torch.float32)
        frames, times = api.get_timestamp_embeddings(audio, loaded)
        assert (frames.shape[0], frames.shape[2]) == (count, loaded.timestamp_embedding_size)
        assert frames.shape[:2] == times.shape
        assert frames.dtype == times.dtype == torch.float32
        steps = times.diff(dim=1)
        assert (steps > 0).all(), "times are in order"
        assert steps.max() <= 50, "at least twenty a second"
        assert times.min() >= 0
        assert times.max() <= 1000 * seconds
        alone = api.get_scene_embeddings(audio[:1], loaded)
        torch.testing.assert_close(alone, scenes[:1], atol=1e-4, rtol=1e-4)
    assert torch.isfinite(api.get_scene_embeddings(torch.zeros(1, 16_000), loaded)).all(), "silence"
    assert api.get_scene_embeddings(torch.zeros(1, 100), loaded).abs().sum() == 0, "shorter than a frame"
    with pytest.raises(repcore.RepcoreError, match=r"expected: \(n sounds, n samples\)"):
        api.get_scene_embeddings(torch.zeros(16_000), loaded)


def monai(model: repcore.Model) -> None:
    """A network among others: a tensor in, vectors and gradients out."""
    from monai.data import MetaTensor

    from repcore_medical3d.encoders.networks import EncoderNetwork

    network = torch.nn.Sequential(EncoderNetwork(model), torch.nn.Linear(int(model.encoder.dim), 2))  # type: ignore[arg-type]
    values = torch.rand(2, 1, *[model.encoder.config.crop_edge] * 3)  # type: ignore[union-attr]
    found = network(values)
    assert found.shape == (2, 2)
    torch.testing.assert_close(network(MetaTensor(values)).as_subclass(torch.Tensor), found)
    found.sum().backward()
    assert all(one.grad is not None for one in network[1].parameters())
    with pytest.raises(repcore.RepcoreError, match=r"expected: .*\(B, C, D, H, W\)"):
        network(torch.rand(2, 32, 32))


ELSEWHERE: dict[str, Callable[[repcore.Model], None]] = {"audio": hear, "medical3d": monai}


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

    embedded = run.embed(values)
    assert embedded._repr_html_().count('role="img"') == len(values), (
        "a notebook shows the rows as the domain draws them"
    )
    expected = embedded.vectors
    width = expected.shape[1]
    np.testing.assert_array_equal(copy.deepcopy(repcore.load(run.folder)).embed(values).vectors, expected)
    pooled = Embedder(run.folder, pool="mean").fit(values)
    assert pooled.transform(values).shape == (len(values), len(pooled.get_feature_names_out()))
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
    featurizer = repcore.Featurizer(run)
    assert len(featurizer) == width
    np.testing.assert_allclose(featurizer(values[0]), expected[0], atol=1e-4)
    np.testing.assert_allclose(featurizer(values), expected, atol=1e-5)
    ELSEWHERE.get(domain, lambda model: None)(run.model)
    saved = run.save(tmp_path / "saved")
    np.testing.assert_allclose(pickle.loads(pickle.dumps(saved)).embed(values).vectors, expected, atol=1e-6)
    assert isinstance(run.embed(values).to_pandas(), pd.DataFrame)
