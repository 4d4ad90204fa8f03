"""Reader ``timeseries/arrays``: ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.allocation import array_header, load_array, open_arrays
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, existing, rows_by
from repcore.data.groups import group_column
from repcore.data.labels import read_label
from repcore.data.misfits import HARDLY
from repcore.errors import DataError, ItemError
from repcore_timeseries.configs.series import ArraysConfig
from repcore_timeseries.datasets.described import described
from repcore_timeseries.formats.series import Series

LABEL = "y"
LABELS = ("y", "labels", "label")
FEW_STEPS = 16  # shorter rows of a table without labels may be channels
DATA = ("x", "data", "values", "series")
PARTS = {"": None, "_train": "train", "_val": "validation", "_valid": "validation", "_test": "test"}


class Arrays(CatalogueReader[Series, Series]):
    """Series of arrays (N, T), (N, T, C) or (N, C, T), with labels ``y`` (N,) and parts ``X_train``, ``X_test``.

    Args:
        config: see :class:`ArraysConfig`.

    Raises:
        DataError: not arrays of numbers, or labels of another number.
    """

    noun = "row"

    def __init__(self, config: ArraysConfig) -> None:
        path = existing(config.path, "series")
        self._config, account = config, Accounting(path.parent)
        try:
            found = _read(path)
        except ItemError as error:
            raise DataError(f"{str(path)!r}: {error.reason}") from None
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{str(path)!r} is no file of arrays: {error}", expected=".npy or .npz") from error
        rows: list[Row[Series]] = []
        labels: list[Any] = []
        parts: list[str | None] = []
        groups = _groups(path, found, account)
        for part, (values, own) in found.items():
            ordered = self._ordered(values, own, path, account)
            if own is not None and len(own) != len(ordered):
                raise DataError(f"{str(path)!r} has {len(ordered)} series and {len(own)} labels")
            if own is not None and own.ndim > 1 and own.shape[1] == ordered.shape[1]:
                why = f"{own.shape[1]} numbers a series, one a step: labels of steps are not read"
                account.guess(f"labels of part {part!r}" if part else "labels", "not used", why, is_loss=True)
                own = None
            start = len(rows)
            rows += [
                Row(
                    f"{part or path.stem}-{number:06d}",
                    Series.of(one),
                    group=groups[part][number] if part in groups else None,
                    files=(path,),
                    stamp=str(start + number),
                )
                for number, one in enumerate(ordered)
            ]
            labels += [None] * len(ordered) if own is None else own.tolist()
            parts += [part or None] * len(ordered)
        rows, targets = _labelled(rows, labels, account)
        splits = rows_by(parts) if len(set(parts)) > 1 else {}
        super().__init__(Catalogue(rows, targets, splits, account=account), path, expected="arrays (N, T) or (N, T, C)")

    def _ordered(self, values: np.ndarray, own: np.ndarray | None, path: Path, account: Accounting) -> np.ndarray:
        """(N, T) or (N, T, C).

        Raises:
            DataError: two orders of axes fit equally.
        """
        axes = self._config.axes
        if values.ndim == 1:
            return values[None]
        if values.ndim == 2:
            return self._of_two(values, own, path, account)
        if axes == "series-steps":
            raise DataError(f"axes={axes}: {str(path)!r} has three axes {values.shape}", hint="axes=steps-channels")
        steps_last = axes == "channels-steps"
        if axes == "auto":
            if values.shape[1] == values.shape[2]:
                raise DataError(
                    f"{str(path)!r} holds {values.shape}, and either of the last axes may be time",
                    hint="axes=steps-channels or axes=channels-steps",
                )
            steps_last = values.shape[2] > values.shape[1]
            chosen = "channels, steps" if steps_last else "steps, channels"
            account.guess("axes 1 and 2", chosen, "the longer one is time", "axes=steps-channels or channels-steps")
        return values.transpose(0, 2, 1) if steps_last else values

    def _of_two(self, values: np.ndarray, own: np.ndarray | None, path: Path, account: Accounting) -> np.ndarray:
        """A row a series, or one series with channels."""
        axes, (lines, width) = self._config.axes, values.shape
        if axes in ("steps-channels", "channels-steps"):
            return (values if axes == "steps-channels" else values.T)[None]
        if axes == "auto" and own is None:
            if width < FEW_STEPS and lines > width:
                raise DataError(
                    f"{str(path)!r} holds ({lines}, {width}), which may be {lines} series of {width} steps or one "
                    f"series of {lines} steps with {width} channels",
                    hint="axes=series-steps or axes=steps-channels",
                )
            account.guess("axes 0 and 1", "series, steps", "the rows are long", "axes=steps-channels or channels-steps")
        return values

    @property
    def costs(self) -> list[int]:
        """Steps of every series."""
        return [len(row.source) for row in self.rows]

    def read(self, row: Row[Series]) -> Series:
        return row.source

    def size_of(self, content: Series) -> int:
        return int(content.values.nbytes)

    def facts(self, content: Series) -> Mapping[str, Any]:
        return described(content)

    def describe(self, sample: Any) -> Mapping[str, Any]:
        """For ``inspect``."""
        return described(sample.inputs)


def sniff(path: Path) -> float:
    """By headers only: ``X`` with ``y`` is a habit of series; other arrays weakly, for other domains have them, too."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz") or not path.is_file():
        return 0.0
    try:
        if suffix == ".npy":
            with path.open("rb") as file:
                shape = array_header(file)[0]
            if len(shape) == 2 and shape[0] == shape[1]:
                return 0.0  # a matrix: of a graph, of distances
            return 0.65 if len(shape) == 2 and shape[0] > 1 and shape[1] >= FEW_STEPS else HARDLY
        with zipfile.ZipFile(path) as packed:
            names = {Path(one).stem.lower() for one in packed.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return 0.0
    if any(f"x{part}" in names for part in PARTS):
        return 0.7 if any(f"{label}{part}" in names for label in LABELS for part in PARTS) else 0.4
    return HARDLY if any(f"{one}{part}" in names for one in DATA for part in PARTS) else 0.0


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Part -> values and labels."""
    if path.suffix.lower() == ".npy":
        return {"": (_numbers(load_array(path), path), None)}
    with open_arrays(path) as archive:
        known = {name.lower(): name for name in archive.files}
        found = {}
        for suffix, part in PARTS.items():
            name = next((known[one + suffix] for one in DATA if one + suffix in known), None)
            if name is not None:
                label = next((known[one + suffix] for one in LABELS if one + suffix in known), None)
                found[part or ""] = (_numbers(archive[name], path), None if label is None else archive[label])
        if not found and len(known) == 1:
            found[""] = (_numbers(archive[archive.files[0]], path), None)
    if not found:
        raise DataError(
            f"{str(path)!r} holds {', '.join(known) or 'nothing'}", expected="X, or X_train and X_test, with y"
        )
    return found


def _groups(path: Path, found: Mapping[str, Any], account: Accounting) -> dict[str, list[str]]:
    """Part -> the group of each series, from an array called a subject, a patient, ...; tells of other arrays."""
    if path.suffix.lower() != ".npz":
        return {}
    endings = {part or "": suffix for suffix, part in PARTS.items() if (part or "") in found}
    groups: dict[str, list[str]] = {}
    with open_arrays(path) as archive:
        known = {name.lower(): name for name in archive.files}
        used = {one + suffix for suffix in endings.values() for one in (*DATA, *LABELS)}
        others = [name for name in known if name not in used and len(known) > 1]
        for part, suffix in endings.items():
            own = [one for one in others if one.endswith(suffix)] if suffix else others
            name = group_column([one.removesuffix(suffix) for one in own])
            if name is not None and archive[known[name + suffix]].shape == (len(found[part][0]),):
                groups[part] = [str(one) for one in archive[known[name + suffix]].tolist()]
                others.remove(name + suffix)
                account.guess("groups", f"array {known[name + suffix]!r}", "its name", "other names")
    for name in others:
        account.guess(f"array {known[name]!r}", "not used", "neither values nor labels nor groups", is_loss=True)
    return groups


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim not in (1, 2, 3) or not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_):
        raise DataError(
            f"{str(path)!r} holds {values.dtype} {values.shape}", expected="numbers (N, T), (N, T, C) or (N, C, T)"
        )
    return values


def _labelled(rows: list[Row[Series]], labels: list[Any], account: Accounting) -> tuple[list[Row[Series]], list[Any]]:
    """Rows with their label, which core judges as it judges a column of a table."""
    if all(one is None for one in labels):
        return rows, []
    column = read_label(LABEL, labels)
    column.tell(account)
    if column.target is None:
        return rows, []
    found = [replace(row, targets={LABEL: column.value(number)}) for number, row in enumerate(rows)]
    return found, [column.target]
