"""The one place where an exception of plugin code becomes a row with a reason, or a named problem.

Readers, preprocessors, sniffers, renderers, probes and writers are other people's code on other people's data. One odd
item must not end a run: inside :func:`item_guard` whatever is raised becomes an :class:`repcore.errors.ItemError` with
type, message and owner; inside :func:`named_guard` it becomes a ``PluginError`` that says whose code failed at what.
``REPCORE_STRICT=1`` lets the original exception through, for authors who want the traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from repcore.errors import ItemError, PluginError, RepcoreError
from repcore.interfaces import DatasetReader, Item, Preprocessor, Sample

FAILED = "failed"  # status of a row on which plugin code raised something unforeseen


def is_strict() -> bool:
    """Whether exceptions of plugin code go through as they are (``REPCORE_STRICT=1``)."""
    return os.environ.get("REPCORE_STRICT", "") not in ("", "0")


def owner_of(code: Any) -> str:  # any object of a plugin
    """Whose code an object is, for messages: its module and class."""
    kind = code if isinstance(code, type) or hasattr(code, "__qualname__") else type(code)
    return f"{getattr(kind, '__module__', '?')}.{getattr(kind, '__qualname__', '?')}"


def error_in_words(error: BaseException) -> str:
    """``ValueError: cannot reshape``: one line, however long and however broken the exception's own text."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a broken __str__ must not hide the error itself
        text = ""
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name


def as_item_error(error: Exception, owner: Any, doing: str) -> ItemError:  # owner: any object of a plugin
    """An exception as the row that it becomes; an ``ItemError`` stays what it is.

    Raises:
        the error itself, where ``REPCORE_STRICT`` is set and it is not the plugin's own refusal.
    """
    if isinstance(error, ItemError):
        return error
    if isinstance(error, RepcoreError):
        return ItemError("refused", " ".join(str(error).split()))
    if is_strict():
        raise error
    if _is_out_of_memory(error):
        return ItemError(
            "too_large", f"{doing} needs more memory than there is ({owner_of(owner)}, {error_in_words(error)})"
        )
    return ItemError(FAILED, f"{doing}: {error_in_words(error)} (in {owner_of(owner)})")


def _is_out_of_memory(error: Exception) -> bool:
    """Torch says it in the words of a ``RuntimeError``."""
    is_torchs = isinstance(error, RuntimeError) and "not enough memory" in str(error)
    return isinstance(error, MemoryError) or is_torchs


@contextmanager
def item_guard(owner: Any, doing: str) -> Iterator[None]:  # owner: any object of a plugin
    """Inside, anything raised about one item becomes an ``ItemError``: a row with status and reason.

    Args:
        owner: reader, preprocessor, ...: whose code runs.
        doing: for the reason: ``"reading"``, ``"preparing"``.

    Raises:
        ItemError: for every ``Exception`` (out of memory and too deep a recursion included) but ``IndexError`` raised
            with ``doing="reading"`` by a row number outside the data set is the caller's business.
    """
    try:
        yield
    except Exception as error:
        converted = as_item_error(error, owner, doing)
        if converted is error:
            raise
        raise converted from error


def read_sample(reader: DatasetReader, row: int) -> Sample:
    """One row of a reader.

    Raises:
        ItemError: it cannot be read, for whatever reason.
    """
    with item_guard(reader, "reading"):
        return reader[row]


def prepare_sample(preprocessor: Preprocessor, sample: Sample) -> list[Item]:
    """Items of a sample, at least one.

    Raises:
        ItemError: it cannot be used, for whatever reason.
    """
    with item_guard(preprocessor, "preparing"):
        items = preprocessor.prepare(sample)
        if not items:
            raise ItemError("empty", "preparation gave no item")
        return items


@contextmanager
def named_guard(owner: Any, doing: str) -> Iterator[None]:  # owner: any object of a plugin
    """Inside, anything unforeseen becomes a ``PluginError`` that names whose code failed, at what, and with what."""
    try:
        yield
    except RepcoreError:
        raise
    except Exception as error:
        if is_strict():
            raise
        raise PluginError(
            f"{doing} failed: {error_in_words(error)}", code=owner_of(owner), hint="REPCORE_STRICT=1 shows where"
        ) from error
