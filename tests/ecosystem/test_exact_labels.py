"""Labels of elements are in every domain what the data says: 1e9 and a quarter is not 1e9, as float32 has it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from repcore import registry
from repcore.data.batching import collated
from repcore.data.divided import DividedReader
from repcore.data.label_numbers import as_floating
from repcore.embedding.dense import dense_row
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.windows import PreparedRow
from repcore.interfaces import Batch, DatasetReader, Item, Preprocessor, Sample
from repcore.specs import TargetSpec
from repcore_audio.datasets.frame_labels import frame_values
from repcore_audio.datasets.recordings import Recording
from repcore_audio.preprocessors.frames import labels_of_window
from repcore_audio.preprocessors.log_mel import LogMel
from repcore_graphs.configs.data import EdgeListConfig, GraphPreprocessorConfig
from repcore_graphs.datasets.edge_list import EdgeListDataset
from repcore_graphs.preprocessors.graph import GraphPreprocessor
from repcore_medical3d.datasets.volume_labels import LabelIds, OnGrid
from repcore_medical3d.formats.volumes import Volume
from repcore_medical3d.preprocessors.image_dense import labels_on_grid as image_labels
from repcore_medical3d.preprocessors.volume_dense import labels_on_grid
from tests.ecosystem.planting import wrap
from tests.ecosystem.test_element_checks import ELEMENTS, results
from tests.toys.toy_pairs import code

FAR = 1e9
DEPTH = TargetSpec("depth", "regression", "point")


def far(count: int) -> np.ndarray:
    return FAR + 0.25 * np.arange(count)


@pytest.mark.parametrize(
    ("kind", "found"),
    [("uint8", "float32"), ("int16", "float32"), ("float32", "float32"), ("int32", "float64"), ("int64", "float64"),
     ("float64", "float64"), ("bool", "float32"), ("float16", "float32")],
)  # fmt: skip
def test_the_format_holds_every_number(kind: str, found: str) -> None:
    assert as_floating(np.zeros(3, kind)).dtype == found


class Plain:
    """A preprocessor of points that keeps everything."""

    def collate(self, items: list[Item]) -> Batch:
        return Batch({"x": torch.from_numpy(np.concatenate([one.values for one in items]))}, len(items))

    def restore(self, sample: Sample, items: list[Item], outputs: list[np.ndarray], level: str) -> np.ndarray:
        return np.mean(np.asarray(outputs, np.float32), axis=0)  # as plugins write it: in float32


@pytest.mark.parametrize("values", [far(6), np.arange(6) + 2**24 + 1])
def test_batches_and_groups_hold_labels_as_they_are(values: np.ndarray) -> None:
    item = Item(np.zeros(6, np.float32), {}, targets={"depth": values})
    batch = collated(cast(Preprocessor, Plain()), [item, item])
    np.testing.assert_array_equal(batch.targets["depth"].numpy(), np.tile(values, 2))

    class One:
        fingerprint, splits, targets = "one", {"train": [0]}, (DEPTH,)
        __len__ = lambda self: 1  # noqa: E731
        id_of = lambda self, row: "a"  # noqa: E731
        __getitem__ = lambda self, row: Sample("a", None, {"depth": values})  # noqa: E731

    halves = DividedReader(cast(DatasetReader, One()), DEPTH, lambda sample: np.asarray([0, 0, 0, 1, 1, 1]), "half")
    np.testing.assert_array_equal(halves[0].targets["depth"][:3], values[:3])
    assert np.isnan(halves[0].targets["depth"][3:]).all()


@pytest.mark.parametrize("windows", [1, 3])
def test_answers_in_the_units_of_labels_come_back_to_elements_as_they_are(windows: int) -> None:
    item = Item(np.zeros(6, np.float32), {})
    row = PreparedRow(Sample("a", None), "a", [item] * windows)

    def answer(batch: Batch) -> Tensor:
        return torch.from_numpy(far(6))[:, None]

    found = dense_row(answer, cast(Preprocessor, Plain()), row, InferenceOptions(device="cpu"), "point", "x", DEPTH)
    assert found.answer is not None
    assert found.answer.outputs.dtype == np.float64
    np.testing.assert_array_equal(found.answer.outputs[:, 0], far(6))
    half = dense_row(
        lambda batch: answer(batch).float() - FAR, cast(Preprocessor, Plain()), row, InferenceOptions(device="cpu"),
        "point", "x",
    )  # fmt: skip
    assert half.answer is not None
    assert half.answer.outputs.dtype == np.float32  # features and probabilities are what they were


def test_edges_and_nodes(tmp_path: Path) -> None:
    lines = [f"a{one},a{(one + 1) % 9},{FAR + 0.25 * one:.2f}" for one in range(9)]
    (tmp_path / "edges.csv").write_text("source,target,edge_label\n" + "\n".join(lines) + "\n")
    nodes = [f"a{one},{FAR + 0.25 * one:.2f}" for one in range(9)]
    (tmp_path / "nodes.csv").write_text("node,label\n" + "\n".join(nodes) + "\n")
    reader = EdgeListDataset(EdgeListConfig(path=str(tmp_path), directed=True))
    sample = reader[0]
    dense = [one.name for one in reader.targets if one.level != "item"]
    assert dense
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(cast(DatasetReader, reader), np.arange(1))
    batch = preprocessor.collate(preprocessor.prepare(sample))
    for name in dense:
        np.testing.assert_array_equal(np.sort(sample.targets[name]), far(9))
        np.testing.assert_array_equal(np.sort(batch.targets[name].numpy()), far(9))


def test_frames() -> None:
    sound = Recording(np.zeros((1, 16_000), np.float32), 16_000)
    found = frame_values(sound, [(0.0, 0.5, FAR + 0.25), (0.5, float("nan"), FAR + 0.5)], float("nan"))
    assert set(found) == {FAR + 0.25, FAR + 0.5}
    sample = Sample("s", dataclasses.replace(sound, frame_labels=("pitch",)), {"pitch": found})
    window = {"first_frame": 0, "sound_frames": 90, "frames": 100}
    labels = labels_of_window(sample, window, LogMel())["pitch"]
    assert set(labels[:90]) == {FAR + 0.25, FAR + 0.5}
    assert np.isnan(labels[90:]).all()


def test_pixels_and_voxels() -> None:
    values = far(16).reshape(4, 4)
    picture: Any = type("Picture", (), {"pixels": np.zeros((4, 4))})()
    found = image_labels(Sample("p", picture, {"depth": values}), {"scale": (1.0, 1.0), "first": (0.0, 0.0)}, 4)
    np.testing.assert_array_equal(found["depth"], values)
    ids = (2**24 + 1 + np.arange(27, dtype=np.int32)).reshape(3, 3, 3)
    scan = Volume(np.zeros((3, 3, 3), np.float32), np.eye(4))
    stored = Volume(ids, np.eye(4))
    np.testing.assert_array_equal(labels_on_grid(Sample("v", scan, {"seg": stored}), scan.grid)["seg"], ids)
    np.testing.assert_array_equal(labels_on_grid(Sample("v", scan, {"seg": ids}), scan.grid)["seg"], ids)
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = 2.0
    flipped = OnGrid(Volume(ids[::-1], turned), scan.grid)[(slice(None), slice(None), slice(None))]
    np.testing.assert_array_equal(flipped, ids)
    oblique = Volume(ids, np.diag([1.25, 1.25, 1.25, 1.0]))
    moved = labels_on_grid(Sample("v", scan, {"seg": oblique}), scan.grid)["seg"]
    assert set(np.unique(moved)) <= set(ids.reshape(-1))
    assert LabelIds.found_in([stored]).ids == (0, *ids.reshape(-1).tolist())
    np.testing.assert_array_equal(np.asarray(stored, np.float64), ids)


@pytest.fixture
def only_elements(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REPCORE_PLUGINS", "toy_pairs,elements")
    registry.default.cache_clear()
    yield
    registry.default.cache_clear()


def test_a_plugin_that_rounds_labels_is_caught(only_elements: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(original: Any, self: Any, sample: Sample) -> list[Item]:
        labels = {name: np.asarray(one, np.float32) for name, one in sample.targets.items()}
        found: list[Item] = original(self, dataclasses.replace(sample, targets=labels))
        return found

    (before,) = results(ELEMENTS, {"element-labels-unrounded"})
    assert before.status == "passed", before
    wrap(monkeypatch, code.Sets, "prepare", rounded)
    (found,) = results(ELEMENTS, {"element-labels-unrounded"})
    assert found.status == "failed"
    assert "keep labels float64" in found.message
