"""The one place where an exception of plugin code becomes a row with a reason, or a named problem.

Readers, preprocessors, sniffers, renderers, probes and writers are other people's code on other people's data. One odd
item must not end a run: inside :func:`item_guard` whatever is raised becomes an :class:`repcore.errors.ItemError` with
type, message and owner; inside :func:`named_guard` it becomes a ``PluginError`` that says whose code failed at what.
``REPCORE_STRICT=1`` lets the original exception through, for authors who want the traceback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from repcore.devices import not_on_device
from repcore.errors import (
    CheckpointError,
    ConfigError,
    ItemError,
    PluginError,
    RegistryError,
    RepcoreError,
    RunError,
)
from repcore.interfaces import DatasetReader, Item, Picture, Preprocessor, Sample
from repcore.memory import is_out_of_memory

FAILED = "failed"  # status of a row on which plugin code raised something unforeseen
_OF_THE_CALL = (ConfigError, RegistryError, PluginError, CheckpointError, RunError)


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
        return ItemError("refused", error.in_one_line())
    if is_strict():
        raise error
    if is_out_of_memory(error):
        return ItemError(
            "too_large", f"{doing} needs more memory than there is ({owner_of(owner)}, {error_in_words(error)})"
        )
    return ItemError(FAILED, f"{doing}: {error_in_words(error)} (in {owner_of(owner)})")


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


def row_id(reader: DatasetReader, row: int) -> str:
    """Id of a row whose sample cannot be read; readers may offer ``id_of(row)``."""
    named = getattr(reader, "id_of", None)
    if named is None:
        return str(row)
    try:
        with item_guard(reader, "naming a row"):
            return str(named(row))
    except ItemError:
        return str(row)


def prepare_sample(preprocessor: Preprocessor, sample: Sample) -> list[Item]:
    """Items of a sample, at least one.

    Raises:
        ItemError: it cannot be used, for whatever reason.
    """
    with item_guard(preprocessor, "preparing"):
        items = preprocessor.prepare(sample)
        if not items:
            raise ItemError("empty", "preparation gave no item")
        for item in items:  # whoever batches by cost later must not stumble over one item
            preprocessor.cost(item.meta)
        return items


def concerns_item(error: Exception) -> bool:
    """Whether an error can be one item's own, so that the others go on without it.

    Settings, names, versions, interruptions and what a device lacks concern the whole call: they fail for every item.
    """
    return not isinstance(error, _OF_THE_CALL) and not_on_device(error) is None


def draw_sample(render: Callable[[Sample], object], sample: Sample) -> Picture:
    """A sample drawn by the domain's renderer.

    Raises:
        ItemError: it cannot be drawn, for whatever reason.
    """
    with item_guard(render, "drawing"):
        picture = render(sample)
        if not isinstance(picture, Picture):
            raise ItemError("no_picture", f"{owner_of(render)} returned {type(picture).__name__}, not a Picture")
        return picture


@contextmanager
def named_guard(
    owner: Any,  # any object of a plugin
    doing: str,
    *,
    passing: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Inside, anything unforeseen becomes a ``PluginError`` that names whose code failed, at what, and with what.

    Args:
        passing: errors that say enough as they are (of the disk, for writers).
    """
    try:
        yield
    except Exception as error:
        if is_strict() or isinstance(error, (RepcoreError, *passing)):
            raise
        raise PluginError(
            f"{doing} failed: {error_in_words(error)}", code=owner_of(owner), hint="REPCORE_STRICT=1 shows where"
        ) from error
