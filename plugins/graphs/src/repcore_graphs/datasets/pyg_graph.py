"""One graph of torch-geometric: its size, edges, features and masks as arrays, whatever form they are stored in.

Symbols: N nodes, A stored columns of edges.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from repcore.errors import DataError, ItemError

MASKS = {"train_mask": "train", "val_mask": "validation", "test_mask": "test"}


def repaired(data: Data) -> str:
    """Make numbers and arrays tensors, in place; what is wrong with a graph that cannot be read, or ``""``."""
    for name in ("x", "edge_index", "edge_attr", "edge_weight", "y"):
        value = getattr(data, name, None)
        if value is not None and not isinstance(value, torch.Tensor):
            try:
                data[name] = torch.as_tensor(value)
            except (TypeError, ValueError, RuntimeError):
                return f"{name} is a {type(value).__name__}, not a tensor"
    return _odd_edges(data.edge_index) or _odd_size(data) or _odd_values(data)


def _odd_edges(edges: torch.Tensor | None) -> str:
    """What is wrong with the ends of the edges: any cast or reshape would make other edges of them."""
    if edges is None or not edges.numel():
        return ""
    if edges.ndim != 2 or edges.shape[0] != 2:
        return f"edge_index has shape {tuple(edges.shape)}; expected (2, edges)" + (
            ": transpose it" if edges.ndim == 2 and edges.shape[1] == 2 else ""
        )
    if edges.dtype == torch.bool or edges.is_complex():
        return f"edge_index holds {edges.dtype}; expected numbers of nodes"
    if edges.is_floating_point() and not bool((torch.isfinite(edges) & (edges == edges.round())).all()):
        return "edge_index holds numbers that are not whole"
    return ""


def _odd_size(data: Data) -> str:
    given = data.num_nodes if "num_nodes" in data else None
    try:
        is_whole = given is None or int(given) == float(given)
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    return "" if is_whole else f"num_nodes is {given!r}; expected a whole number"


def _odd_values(data: Data) -> str:
    for name in ("x", "edge_attr", "edge_weight"):
        value = getattr(data, name, None)
        if isinstance(value, torch.Tensor) and (value.is_complex() or not value.ndim):
            return f"{name} of {value.dtype} {tuple(value.shape)} is no table of numbers, a row a node or edge"
    return ""


def stands_for_x(data: Data) -> torch.Tensor | None:
    """Atomic numbers, where a graph stores them and no other features of its nodes."""
    found = getattr(data, "z", None)
    is_codes = isinstance(found, torch.Tensor) and found.ndim == 1 and not found.is_floating_point()
    return found if data.x is None and is_codes else None


def has_no_size(data: Data) -> bool:
    """Whether nothing but the edges tells how many nodes there are."""
    return (
        data.x is None
        and stands_for_x(data) is None
        and "num_nodes" not in data
        and getattr(data, "adj_t", None) is None
    )


def size_of(data: Data) -> int:
    """Number of nodes."""
    stands = stands_for_x(data)
    if stands is not None:
        return len(stands)
    with warnings.catch_warnings():  # said in our own words
        warnings.simplefilter("ignore")
        return int(data.num_nodes or 0)


def edges_of(data: Data) -> tuple[np.ndarray, np.ndarray | None]:
    """Stored columns int64 (2, A), and their weights where the adjacency matrix holds other values than 1."""
    if data.edge_index is not None:
        return data.edge_index.numpy().astype(np.int64).reshape(2, -1), None
    matrix = getattr(data, "adj_t", None)
    if not isinstance(matrix, torch.Tensor):
        return np.zeros((2, 0), np.int64), None
    matrix = matrix.to_sparse_coo().coalesce() if matrix.layout != torch.strided else matrix.to_sparse().coalesce()
    target, source = matrix.indices().numpy()  # the matrix is transposed: row = target
    values = matrix.values().double().numpy()
    return np.stack([source, target]).astype(np.int64), None if (values == 1).all() else values


def weights_of(data: Data) -> torch.Tensor | None:
    """``edge_weight``, where it is an array."""
    found = getattr(data, "edge_weight", None)
    return found if isinstance(found, torch.Tensor) else None


def edge_features(data: Data, matrix_values: np.ndarray | None) -> dict[str, Any]:  # keyword arguments of RawGraph
    """Attributes or labels of edges for :class:`RawGraph`, weights as the last column.

    Raises:
        ItemError: as many weights as edges were expected.
    """
    found = features_of("edge", data.edge_attr)
    weights = matrix_values if weights_of(data) is None else weights_of(data)
    if weights is None:
        return found
    column = np.asarray(weights, np.float32).reshape(-1, 1)
    known = found.get("edge_attributes")
    if known is not None and len(known) != len(column):
        raise ItemError("length_mismatch", f"{len(column)} edge weights beside {len(known)} rows of edge_attr")
    found["edge_attributes"] = column if known is None else np.concatenate([known, column], axis=1)
    return found


def features_of(kind: str, values: torch.Tensor | None) -> dict[str, Any]:  # keyword arguments of RawGraph
    """Floating features are attributes, whole ones labels; keyword arguments of :class:`RawGraph`."""
    if values is None:
        return {}
    table = values.reshape(len(values), -1)
    if table.is_floating_point():
        return {f"{kind}_attributes": table.float().numpy()}
    return {f"{kind}_labels": table.long().numpy()}


def width_of(values: Any) -> int | None:
    """Columns of a feature table; None where there is none."""
    return None if not isinstance(values, torch.Tensor) else int(values[0].numel() if len(values) else 0)


def is_one_way(data: Data) -> bool:
    """Whether some edge has no opposite."""
    edges, _ = edges_of(data)
    if not edges.shape[1]:
        return False
    stored = {(u, v) for u, v in edges.T.tolist() if u != v}
    return any((v, u) not in stored for u, v in stored)


def flat(values: Any) -> np.ndarray:
    """Any values as one row of float64.

    Raises:
        DataError: whole numbers that float64 rounds.
    """
    given = torch.as_tensor(values).reshape(-1)
    found = given.double()
    if not given.is_floating_point() and bool((rounded := found.to(given.dtype) != given).any()):
        raise DataError(
            f"y holds {given[rounded][0].item()}, and float64 tells it from no neighbour",
            hint="if these are identifiers, number the classes from 0",
        )
    return found.numpy()


def masked(data: Data, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Node labels of the parts that masks declare: name -> values, NaN outside of the part."""
    found = {}
    for mask, part in MASKS.items():
        chosen = getattr(data, mask, None)
        if isinstance(chosen, torch.Tensor) and chosen.ndim == 1 and len(chosen) == len(values):
            found[f"{name}_{part}"] = np.where(chosen.bool().numpy(), values, np.nan)
    return found
