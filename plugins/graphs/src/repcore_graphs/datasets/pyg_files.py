"""Files of torch-geometric: reading them without running code, and the graphs inside.

Files are read with ``weights_only=True`` and torch-geometric's own data classes; anything else in a file is refused,
since a pickle can run code.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.data import data as data_module
from torch_geometric.data import storage as storage_module
from torch_geometric.data.separate import separate

from repcore.errors import DataError

_ALLOWED = [Data, HeteroData, data_module.DataEdgeAttr, data_module.DataTensorAttr]
_ALLOWED += [
    getattr(storage_module, name) for name in ("BaseStorage", "GlobalStorage", "NodeStorage", "EdgeStorage", "AttrType")
]
_NAMES = {f"{one.__module__}.{one.__qualname__}" for one in _ALLOWED} | {
    "collections.OrderedDict", "collections.defaultdict", "builtins.dict", "builtins.list", "builtins.set",
    "__builtin__.set", "torch.Size",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_sparse_tensor", "torch.serialization._get_layout",
}  # fmt: skip


def load_graphs(file: Path) -> list[Data]:
    """All graphs of a file.

    Raises:
        DataError: the file is damaged, unsafe, or holds something else; several types of nodes or edges are refused.
    """
    try:
        content = _read(file)
    except Exception as error:  # a file that is no pickle makes the reader raise anything
        raise DataError(
            f"{file.name} cannot be read safely as torch-geometric data", reason=_reason(error), hint=_remedy(error)
        ) from error
    _refuse_types(file, content)
    graphs = _unpacked(content)
    if not graphs:
        raise DataError(f"{file.name} holds no graphs", found=type(content).__name__)
    return graphs


def _read(file: Path) -> Any:  # whatever the file holds
    # sparse matrices of a damaged file would otherwise be followed out of bounds
    with (
        torch.serialization.safe_globals(_ALLOWED),
        torch.sparse.check_sparse_tensor_invariants(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)  # torch calls its compressed matrices beta
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "defaultdict" not in str(error):
                raise
        # graphs that were sorted keep a defaultdict, which torch's restricted reader cannot fill; ours can
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_RestrictedPickle)


class _RestrictedUnpickler(pickle.Unpickler):
    """Finds the named classes and nothing else, so that no code of a file is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _NAMES and not (module == "torch" and name.endswith("Storage")):
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name}")
        return super().find_class(module, name)


class _RestrictedPickle:
    """What :func:`torch.load` wants of a pickle module."""

    Unpickler = _RestrictedUnpickler


def _reason(error: Exception) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return f"it holds {named[1]}, which is code"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _remedy(error: Exception) -> str:
    if "torch_sparse" in str(error) or "SparseTensor" in str(error):
        return "store edge_index instead of adj_t: data.edge_index = torch.stack(data.adj_t.t().coo()[:2])"
    return "save a list of Data objects with torch.save"


def _refuse_types(file: Path, content: Any) -> None:
    held = content if isinstance(content, list | tuple) else [content]
    mixed = next((one for one in held if isinstance(one, HeteroData)), None)
    if mixed is not None:
        raise DataError(
            f"{file.name} holds HeteroData: several types of nodes or edges",
            node_types=", ".join(map(str, mixed.node_types)),
            edge_types=", ".join(" ".join(one) for one in mixed.edge_types),
            hint="the encoders take one type: save [data.to_homogeneous() for data in graphs]",
        )


def _unpacked(content: Any) -> list[Data]:
    """Data objects from whatever torch-geometric stores."""
    if isinstance(content, Data):
        return [content]
    if isinstance(content, list | tuple) and content and all(isinstance(one, Data) for one in content):
        return list(content)
    if isinstance(content, Mapping) and "edge_index" in content:
        return [Data.from_dict(dict(content))]
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
