"""Arrays of several axes given from Python: one input or many, by a rule that each domain states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from repcore import registry
from repcore.data.given import given_reader
from repcore.errors import RepcoreError


def rows(preprocessor: str, data: Any, names: tuple[str, ...] = ()) -> Any:
    """The reader that a model with this preprocessor has over the data."""
    entry = registry.default().preprocessor(preprocessor)
    made = entry.load()(entry.load("config")())
    if names:
        made.names = names
    return given_reader(data, lambda path, wanted: pytest.fail("no table"), made.inputs_from)


NUMBERS = np.random.default_rng(0).random((5, 40, 3)).astype(np.float32)
ONE, THREE = ("value",), ("a", "b", "c")


@pytest.mark.parametrize(
    ("data", "names", "count", "shape"),
    [
        (NUMBERS[..., 0], ONE, 5, (40, 1)),
        (torch.from_numpy(NUMBERS[..., 0]), ONE, 5, (40, 1)),
        (NUMBERS[..., 0], (), 5, (40, 1)),
        (NUMBERS[0, :, :1], ONE, 1, (40, 1)),
        (NUMBERS[0, :, 0], ONE, 1, (40, 1)),
        (NUMBERS, THREE, 5, (40, 3)),
        (NUMBERS[0], THREE, 1, (40, 3)),
        ([NUMBERS[0], NUMBERS[1]], (), 2, (40, 3)),
    ],
)
def test_series(data: Any, names: tuple[str, ...], count: int, shape: tuple[int, int]) -> None:
    found = rows("timeseries/series", data, names)
    assert (len(found), found[0].inputs.values.shape) == (count, shape)


def test_series_of_one_channel_for_a_model_of_three_are_refused() -> None:
    with pytest.raises(RepcoreError, match=r"\(5, 40\) is 5 series \(N, T\) of one channel, and the model has 3: give"):
        rows("timeseries/series", NUMBERS[..., 0], THREE)


def test_clouds_scenes_and_images() -> None:
    for name in ("pointcloud/point-set", "pointcloud/scene"):
        assert [len(rows(name, one)) for one in (NUMBERS, NUMBERS[0], torch.from_numpy(NUMBERS))] == [5, 1, 5], name
    images = np.zeros((4, 32, 30), np.uint8)
    assert [len(rows("medical3d/image", one)) for one in (images, images[0], list(images))] == [4, 1, 4]


def test_arrays_without_what_their_domain_needs_say_so() -> None:
    with pytest.raises(RepcoreError, match=r"is no input of this domain\n  expected: \(samples, rate in Hz\)"):
        rows("audio/log-mel", NUMBERS[..., 0])
    recording = rows("audio/log-mel", (NUMBERS[0].T, 16000))[0].inputs
    assert recording.samples.shape == (3, 40)
    with pytest.raises(RepcoreError, match="is no input of this domain\n  expected: A nibabel image, a pair"):
        rows("medical3d/volumes", np.zeros((2, 8, 8, 8), np.float32))
    with pytest.raises(RepcoreError, match=r"3|three"):
        rows("medical3d/volumes", (np.zeros((2, 8, 8, 8), np.float32), np.eye(4)))


def test_graphs_of_a_loader_a_batch_and_a_generator() -> None:
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    graphs = [Data(x=torch.full((3, 2), row + 0.5), edge_index=edges, y=torch.tensor([row % 2])) for row in range(5)]
    for given in (DataLoader(graphs, batch_size=2), Batch.from_data_list(graphs), (one for one in graphs)):
        found = rows("graphs/graph", given)
        assert [float(found[row].inputs.node_attributes[0, 0]) for row in range(5)] == [0.5, 1.5, 2.5, 3.5, 4.5]
        assert [one.name for one in found.targets] == ["y"]
        assert [int(found[row].targets["y"]) for row in range(5)] == [0, 1, 0, 1, 0]
