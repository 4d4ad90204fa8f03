"""Preprocessor ``timeseries/series``: standardised channels with their gaps, calendar, windows of long series.

Symbols: N series, T steps, C channels of the data, B items.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from repcore.errors import ConfigError, DataError, ItemError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample, Window
from repcore_timeseries.configs.series import SeriesPreprocessorConfig
from repcore_timeseries.formats.series import Series, numbered
from repcore_timeseries.preprocessors.calendar import CALENDAR, calendar_of
from repcore_timeseries.preprocessors.given import holds_several, series_from
from repcore_timeseries.preprocessors.own_scale import by_itself, units_of

FITTED_FILE = "channels.json"


class SeriesPreprocessor:
    """Items are float32 (T, C) with NaN where a value is missing.

    Args:
        config: see :class:`SeriesPreprocessorConfig`.

    Attributes:
        names: channels of the training data; empty before :meth:`fit`.
        mean / deviation: float64 (C,) of the training rows; a constant channel has deviation 1.
        longest: steps of the longest training row.
    """

    def __init__(self, config: SeriesPreprocessorConfig) -> None:
        self.config = config
        self.names: tuple[str, ...] = ()
        self.mean, self.deviation = np.zeros(0), np.ones(0)
        self.longest = 0
        self.covers = False

    @classmethod
    def load(cls, config: SeriesPreprocessorConfig, folder: Path) -> Self:
        """The fitted preprocessor of a saved model.

        Raises:
            CheckpointError: its file is missing or damaged.
        """
        loaded = cls(config)
        saved = read_object(folder / FITTED_FILE, ("names", "mean", "deviation", "longest"))
        loaded.names = tuple(saved["names"])
        loaded.mean, loaded.deviation = np.asarray(saved["mean"], float), np.asarray(saved["deviation"], float)
        loaded.longest = int(saved["longest"])
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Names, mean and standard deviation of the channels over the known values of the training rows.

        Raises:
            DataError: no training row can be read.
        """
        counts = sums = squares = origin = np.zeros(0)
        for index in indices:
            try:
                series: Series = reader[int(index)].inputs
            except ItemError:
                continue
            if self.config.channels == "any":
                self.longest = max(self.longest, min(len(series), self.config.longest))
                continue
            if not self.names:
                self.names = series.names
                counts, sums, squares = (np.zeros(len(self.names)) for _ in range(3))
                known = np.isfinite(series.values)
                origin = np.where(known, series.values.astype(np.float64), 0.0).sum(0) / np.maximum(known.sum(0), 1)
            if self._differs(series.names):
                continue  # its row says so when it is prepared
            known = np.isfinite(series.values)
            moved = np.where(known, series.values.astype(np.float64) - origin, 0.0)  # or squares cancel
            counts, sums, squares = counts + known.sum(0), sums + moved.sum(0), squares + np.square(moved).sum(0)
            self.longest = max(self.longest, min(len(series), self.config.longest))
        if not self.longest:
            raise DataError("no training row is a series that can be read")
        if self.config.channels == "any":
            return
        mean = sums / np.maximum(counts, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(counts, 1) - mean**2, 0.0))
        self.mean = mean + origin
        self.deviation = np.where(spread > 1e-8 * np.maximum(1.0, np.abs(self.mean)), spread, 1.0)

    def facts(self) -> Mapping[str, Any]:
        """``channels``, those of the calendar included; nothing where they may be any."""
        if self.config.channels == "any":
            return {}
        return {"channels": len(self.names) + (len(CALENDAR) if self.config.calendar else 0)}

    def inputs_from(self, value: Any) -> Any:
        """an array (T,) or (T, C), a tensor, or a data frame of one series with a column a channel"""
        return series_from(value, self.names)

    def holds_several(self, value: Any) -> bool:
        """Whether an array given as a whole is several series; see :func:`given.holds_several`."""
        return holds_several(value, self.names)

    def prepare(self, sample: Sample) -> list[Item]:
        """One item, or one a window of ``longest`` steps.

        Raises:
            ItemError: ``other_channels``, ``no_value``, ``too_short``.
        """
        series: Series = sample.inputs
        self._check(series)
        values, about = self.scaled(series, sample.id)
        apart = 0.0 if series.times is None or len(series) < 2 else float(np.median(np.diff(series.times))) / 1e9
        starts = list(range(0, len(values), self.config.longest))
        if len(starts) > 1 and len(values) - starts[-1] < self.config.shortest:
            starts.pop()  # a rest too short to be an item joins no window
            starts += [len(values) - self.config.longest] if self.covers else []
        items = []
        for start in starts:
            part = values[start : start + self.config.longest]
            if np.isfinite(part[:, : len(series.names)]).any():
                meta = {
                    "steps": len(part),
                    "first": start,
                    "channels": len(series.names),
                    "step_s": apart,
                    **about,
                }
                items.append(Item(part, meta, weight=len(part) / len(values), window=_window(series, start, len(part))))
        return items

    def scaled(self, series: Series, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What an encoder sees of a series, float32 (T, C'), and what items say about it: ``scale`` (C,), the size of 1
        in the units of the data; with any channels ``unit``, too, as :func:`by_itself`."""
        if self.config.channels == "any":
            return by_itself(series)
        values = series.values
        if self.config.standardise:
            values = (values - self.mean) / self.deviation
        values = values.astype(np.float32, copy=False)
        if self.config.calendar:
            values = np.concatenate([values, calendar_of(series, name)], axis=1)
        return values, {"scale": self.deviation if self.config.standardise else np.ones(len(series.names))}

    def plain(self, sample: Sample) -> np.ndarray:
        """Values (T, C) that baselines read: the standardised ones, without the calendar; with any channels, whose
        standardised ones know no level, those of the data."""
        if self.config.channels == "any":
            self._check(sample.inputs)
            return np.asarray(sample.inputs.values)
        return np.concatenate([item.values for item in self.prepare(sample)])[:, : max(1, len(self.names))]

    def covering(self) -> Self:
        """The same with a window that ends with the series where the rest behind the last one is too short for one."""
        found = copy.copy(self)
        found.covers = True
        return found

    def _check(self, series: Series) -> None:
        if said := self._differs(series.names):
            raise ItemError("other_channels", said)
        known = np.isfinite(series.values).any(1)
        if not known.any():
            raise ItemError("no_value", f"none of {len(series)} steps has a value")
        if known.sum() < self.config.shortest:
            raise ItemError("too_short", f"{known.sum()} steps have a value, {self.config.shortest} are needed")

    def _differs(self, names: tuple[str, ...]) -> str:
        """What is wrong with the channels of a series, in words; empty where they are the model's, or where both have
        one channel and one of the two has no name."""
        wanted, nameless = self.names, numbered(1)
        if not wanted or names == wanted or (len(names) == len(wanted) == 1 and nameless in (names, wanted)):
            return ""
        known = f"the model knows {', '.join(wanted[:8])}{', ...' if len(wanted) > 8 else ''} in this order"
        missing = [name for name in wanted if name not in names]
        more = [name for name in names if name not in wanted]
        if missing and len(names) == len(wanted):
            as_array = " or give an array, whose channels have no names" if wanted == numbered(len(wanted)) else ""
            return f"the series has {more[0]!r} where {known}: rename it to {missing[0]!r} if it is that{as_array}"
        if missing:
            return f"the series has {len(names)} of {len(wanted)} channels, without {missing[0]!r}; {known}"
        if more:
            return f"the series has {len(more)} channels more, such as {more[0]!r}: leave them out; {known}"
        return f"the series has its channels in another order ({', '.join(names[:8])}); {known}"

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``values`` float32 (B, T, C), 0 where missing, ``observed`` bool (B, T, C), ``length`` int64 (B,)
        where lengths differ, and with any channels ``unit`` float32 (B, C, 2), their means and deviations."""
        lengths = [len(item.values) for item in items]
        longest, channels = max(lengths, default=0), max((item.values.shape[1] for item in items), default=0)
        values = torch.full((len(items), longest, channels), torch.nan)
        for row, item in enumerate(items):
            own = torch.from_numpy(np.ascontiguousarray(item.values))
            values[row, : len(own), : own.shape[1]] = own
        observed = values.isfinite()
        inputs = {"values": values.masked_fill(~observed, 0.0), "observed": observed}
        if self.config.channels == "any":
            inputs["unit"] = units_of(items, channels)
        if len(set(lengths)) > 1:
            inputs["length"] = torch.tensor(lengths)
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Steps of the item."""
        return int(meta["steps"])

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Facts for ``inspect``."""
        series: Series = sample.inputs
        gone = np.isnan(series.values)
        return {"missing share": float(gone.mean()) if gone.size else 0.0, "longest gap (steps)": longest_gap(gone)}

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the steps of the whole series (T, K); NaN where no item lies and where a step has no value.

        Raises:
            ItemError: ``other_level``: a series has steps (level token) only.
        """
        if level != "token":
            raise ItemError("other_level", f"a series has steps (level token), no level {level!r}")
        found = np.full((len(sample.inputs), outputs[0].shape[1]), np.nan, np.float32)
        for item, values in zip(items, outputs, strict=True):
            places = int(item.meta["first"]) + _answered(np.asarray(item.values), len(values))
            new = np.isnan(found[places]).all(1)  # of a window that reaches back, what no other has answered
            found[places[new]] = values[new]
        return found

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """``step`` of every element, and its ``time`` where the data has times."""
        series: Series = sample.inputs
        columns: dict[str, np.ndarray] = {"step": np.arange(len(series))}
        if series.times is not None:
            unit: Literal["s", "ns"] = "ns" if (series.times % 10**9).any() else "s"
            columns["time"] = np.datetime_as_string(series.times.astype("datetime64[ns]"), unit=unit)
        return columns

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write what was fitted."""
        state = {
            "names": list(self.names), "mean": self.mean.tolist(), "deviation": self.deviation.tolist(),
            "longest": self.longest,
        }  # fmt: skip
        (folder / FITTED_FILE).write_text(json.dumps(state), encoding="utf-8")
        return {"channels": list(self.names), "longest": self.longest}

    def fitted(self) -> Self:
        """Itself, if it knows its channels.

        Raises:
            ConfigError: it was never fitted.
        """
        if not self.names and self.config.channels != "any":
            raise ConfigError("the channels are not known: the preprocessor was never fitted")
        return self


def _answered(values: np.ndarray, count: int) -> np.ndarray:
    """Steps of an item (T, C) that ``count`` answers stand for: all, or those with any or with every value.

    Raises:
        ItemError: ``other_level``: it is none of these.
    """
    known = np.isfinite(values)
    for steps in (np.arange(len(values)), np.flatnonzero(known.any(1)), np.flatnonzero(known.all(1))):
        if len(steps) == count:
            return steps
    raise ItemError(
        "other_level", f"{count} answers are not one for each of {len(values)} steps or of those with values"
    )


def longest_gap(gone: np.ndarray) -> int:
    """Most steps in a row without a value in a channel of (T, C)."""
    longest = 0
    for channel in gone.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], channel.astype(np.int8), [0]])))
        if len(edges):
            longest = max(longest, int((edges[1::2] - edges[::2]).max()))
    return longest


def _window(series: Series, start: int, steps: int) -> Window:
    """In steps, or in seconds since the first time."""
    if series.times is None:
        return Window(float(start), float(start + steps))
    seconds = (series.times - series.times[0]) / 1e9
    return Window(float(seconds[start]), float(seconds[min(start + steps, len(series)) - 1]))
