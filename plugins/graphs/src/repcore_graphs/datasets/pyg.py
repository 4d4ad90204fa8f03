"""torch-geometric data on disk: ``processed/data.pt`` of an in-memory data set, or a ``.pt`` file with ``Data``
objects.

Files are read with ``weights_only=True`` and torch-geometric's own data classes; anything else in a file is refused,
since a pickle can run code. Integer features are labels, floating ones attributes, ``y`` is the target of graphs, or
of nodes if it has a row a node. Nothing is written.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data import data as data_module
from torch_geometric.data import storage as storage_module
from torch_geometric.data.separate import separate

from repcore.data.tables import file_fingerprint
from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore.specs import TargetKind, TargetSpec
from repcore_graphs.configs.data import PyGConfig
from repcore_graphs.datasets.raw_graph import RawGraph, check_graph

MASKS = {"train_mask": "train", "val_mask": "validation", "test_mask": "test"}


def find_file(path: Path) -> Path:
    """The ``.pt`` file that a path stands for.

    Raises:
        DataError: none.
    """
    for file in (path, path / "processed" / "data.pt", path / "data.pt"):
        if file.is_file() and file.suffix in (".pt", ".pth"):
            return file
    raise DataError(f"{path} holds no torch-geometric data", expected="a .pt file, or processed/data.pt in the folder")


def sniff(path: Path) -> float:
    """0.6 for a folder with ``processed/data.pt``, 0.3 for any ``.pt`` file: it may hold weights instead."""
    try:
        return 0.6 if find_file(path).parent.name == "processed" else 0.3
    except DataError:
        return 0.0


def load_graphs(file: Path) -> list[Data]:
    """All graphs of a file.

    Raises:
        DataError: the file is damaged, unsafe, or holds something else.
    """
    allowed = [Data, data_module.DataEdgeAttr, data_module.DataTensorAttr]
    allowed += [storage_module.BaseStorage, storage_module.GlobalStorage]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{file.name} cannot be read safely as torch-geometric data",
            reason=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint="save a list of Data objects with torch.save",
        ) from error
    graphs = _unpacked(content)
    if not graphs:
        raise DataError(f"{file.name} holds no graphs", found=type(content).__name__)
    return graphs


def _unpacked(content: Any) -> list[Data]:
    """Data objects from whatever torch-geometric stores."""
    if isinstance(content, Data):
        return [content]
    if isinstance(content, list | tuple) and content and all(isinstance(one, Data) for one in content):
        return list(content)
    if not (isinstance(content, tuple) and len(content) in (2, 3)):
        return []
    stored, slices = content[0], content[1]
    whole = Data.from_dict(stored) if isinstance(stored, dict) else stored
    if not isinstance(whole, Data):
        return []
    if not slices:
        return [whole]
    count = len(next(iter(slices.values()))) - 1
    return [separate(cls=Data, batch=whole, idx=index, slice_dict=slices, decrement=False) for index in range(count)]


class PyGDataset:
    """Reader of one file.

    Args:
        config: path.

    Raises:
        DataError: see :func:`load_graphs`.
    """

    def __init__(self, config: PyGConfig) -> None:
        self.file = find_file(Path(config.path).expanduser())
        self.graphs = load_graphs(self.file)
        self._spec = _target_spec(self.graphs)

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.file)

    @property
    def targets(self) -> Sequence[TargetSpec]:
        return [] if self._spec is None else [self._spec]

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return {}

    @property
    def costs(self) -> np.ndarray:
        """Nodes of each graph."""
        return np.array([graph.num_nodes or 0 for graph in self.graphs])

    def __len__(self) -> int:
        return len(self.graphs)

    def id_of(self, index: int) -> str:
        """Row number as text."""
        return str(index)

    def by_id(self, sample_id: str) -> Sample:
        if not sample_id.isdigit() or int(sample_id) >= len(self):
            raise DataError(f"no graph {sample_id!r}", expected=f"0 .. {len(self) - 1}")
        return self[int(sample_id)]

    def __getitem__(self, index: int) -> Sample:
        data = self.graphs[index]
        edge_index = np.zeros((2, 0), np.int64) if data.edge_index is None else data.edge_index.numpy().astype(np.int64)
        graph = RawGraph(
            num_nodes=int(data.num_nodes or 0),
            edge_index=edge_index,
            **_features("node", data.x),
            **_features("edge", data.edge_attr),
            node_targets=self._node_targets(data),
        )
        check_graph(graph)
        targets: dict[str, object] = {}
        if self._spec is not None and self._spec.level == "item" and data.y is not None:
            flat = data.y.reshape(-1).double().numpy()
            targets[self._spec.name] = flat if flat.size > 1 or self._spec.kind == "multilabel" else float(flat[0])
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        return Sample(id=self.id_of(index), inputs=graph, targets=targets, meta=meta)

    def _node_targets(self, data: Data) -> dict[str, np.ndarray]:
        """Node labels, and one copy a split mask with the labels of the other parts removed."""
        if self._spec is None or self._spec.level != "node" or data.y is None:
            return {}
        labels = data.y.reshape(-1).float().numpy()
        found = {self._spec.name: labels}
        for mask, part in MASKS.items():
            chosen = data.get(mask) if hasattr(data, "get") else None
            if chosen is not None and chosen.ndim == 1:
                found[f"{self._spec.name}_{part}"] = np.where(chosen.numpy(), labels, np.nan).astype(np.float32)
        return found


def _features(kind: str, values: torch.Tensor | None) -> dict[str, Any]:  # keyword arguments of RawGraph
    if values is None:
        return {}
    table = values.reshape(len(values), -1)
    if table.is_floating_point():
        return {f"{kind}_attributes": table.float().numpy()}
    return {f"{kind}_labels": table.long().numpy()}


def _target_spec(graphs: Sequence[Data]) -> TargetSpec | None:
    """What ``y`` is, from all graphs."""
    known = [graph.y for graph in graphs if graph.y is not None]
    if not known:
        return None
    first = graphs[0]
    is_node = first.y is not None and first.y.ndim >= 1 and first.y.shape[0] == first.num_nodes and first.num_nodes != 1
    values = torch.cat([one.reshape(-1).double() for one in known])
    finite = values[~values.isnan()]
    columns = 1 if is_node else known[0].numel()
    kind: TargetKind = "regression"
    if bool((finite == finite.round()).all()) and not (known[0].is_floating_point() and columns == 1 and not is_node):
        kind = "class" if columns == 1 else "multilabel"
    count = int(finite.max()) + 1 if kind == "class" else columns
    names = () if kind == "regression" and columns == 1 else tuple(str(number) for number in range(count))
    return TargetSpec("y", kind, level="node" if is_node else "item", names=names)
