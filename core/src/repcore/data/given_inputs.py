"""One value from Python: what it is called, whether the domain takes it as an input, and what it makes of it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.given_loaders import is_loader
from repcore.data.given_values import as_numbers, is_ragged, is_sparse, readable
from repcore.data.guard import item_guard
from repcore.data.shards.addresses import is_address
from repcore.errors import ItemError
from repcore.interfaces import Sample

LOOKED_AT = 20  # cells of a column

Convert = Callable[[Any], Any]
"""The domain's ``inputs_from``: inputs of a sample (or a sample), or None for a value that it does not know."""
_FILE_NAME = re.compile(r"\.(?![cnops]+$)[a-z][a-z0-9]{1,7}(\.gz)?$")


def kind_of(value: Any) -> str:
    """``the int 5``, ``a Mol``: what a message calls a value."""
    if isinstance(value, bool | int | float | str | bytes):
        return f"the {type(value).__name__} {str(value)[:60]!r}"
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")


def converted(value: Any, convert: Convert | None) -> Any:
    """Inputs of a value: the domain's, or without a say of the domain the value itself (tensors as arrays).

    Returns None where the domain does not know it, and for what cannot be an input in any domain.
    """
    if isinstance(value, Sample):
        return None
    value = readable(value)
    if convert is not None:
        found = convert(value)
        numbers = as_numbers(value) if found is None else None  # a list of them, as the cells of a table hold
        return found if numbers is None else convert(numbers)
    if value is None:
        return None
    if isinstance(value, tuple) and len(value) == 1 and shape_of(value[0]) != ():
        return None  # an input alone, as torch's TensorDataset gives it
    if isinstance(value, tuple) and len(value) == 2 and shape_of(value[1]) in ((), (1,)) and not _is_text(value[0]):
        return None  # an input and its label
    if isinstance(value, Mapping) and "inputs" in value:
        return None
    return plain_value(value)


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Shape of a number, array, tensor or nested lists; None for lists of different lengths, which have none."""
    plain = plain_value(value)
    try:
        return tuple(np.shape(plain))
    except Exception:  # NumPy's, or that of the __array__ of somebody's object
        return None


def is_one_input(data: Any, convert: Convert | None) -> bool:
    """Whether the domain takes this value as a whole as one input; lists are always several.

    Raises:
        DataError: it is the right kind, and the domain says what is wrong with it.
    """
    if convert is None or isinstance(data, list):
        return False
    if (
        is_sparse(data)
        or is_loader(data)
        or is_ragged(data)
        or (isinstance(data, np.ndarray) and data.dtype == object and data.ndim)
    ):
        return False
    data = readable(data)
    several = getattr(getattr(convert, "__self__", None), "holds_several", None)  # of the same preprocessor
    with item_guard(convert, "looking at the input"):
        if several is not None and several(data):
            return False
        return convert(data) is not None


def is_there(text: str) -> bool:
    """Whether a text is the path of something; what no path can be is none, nor is nothing."""
    if not text.strip():
        return False
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def names_a_file(text: str) -> bool:
    """Whether a text reads like the name of a file, so that one that does not exist is a slip and no input."""
    is_path = text.startswith(("~", "./", "../")) or text.endswith(("/", os.sep))
    return is_path or bool(_FILE_NAME.search(text)) or is_address(text)


def names_inputs(cells: Sequence[Any], convert: Convert | None) -> bool:
    """Whether cells are paths of files of which the domain makes inputs: the first that are there tell."""
    there = (cell for cell in cells[:LOOKED_AT] if isinstance(cell, str | Path) and is_there(str(cell)))
    first = next(there, None)
    if convert is None or first is None:
        return False
    try:
        with item_guard(convert, "looking at the input"):
            return convert(first) is not None
    except ItemError:  # the right kind of file, which cannot be read: a reported row
        return True


def plain_value(value: Any) -> Any:
    """A torch tensor as an array, a number of one element as itself."""
    value = readable(value)
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a graph of torch-geometric detaches, too
        value = value.detach().cpu().numpy()
    return value.item() if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0 else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def what_it_takes(convert: Convert | None) -> str:
    """What the domain says about its ``inputs_from``, in one line."""
    text = inspect.getdoc(convert) if convert is not None else None
    return (text or "").partition("\n")[0]
