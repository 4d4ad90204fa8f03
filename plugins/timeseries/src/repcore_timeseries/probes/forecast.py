"""Probe ``timeseries/forecast@1``: ridge from the features of a moment to all values of the next H steps.

Source of the protocol: Yue et al. 2022 (arXiv 2106.10466), section 4.2. Features of step t see [t - context, t]
and nothing later, whatever the encoder; values are standardised by the train part; the strength is chosen on the
validation part.

Beside it, always: the last value, the same step of the last day, ridge on the raw last steps; by core, untrained twins.

Symbols: M moments, H steps ahead, C channels that are forecast, D features, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from repcore.errors import DataError
from repcore.interfaces import Batch, Encoder, Item
from repcore_timeseries.configs.probes import ForecastConfig
from repcore_timeseries.formats.parts import PARTS, borders
from repcore_timeseries.probes.regression import Ridge, errors, fit_ridge
from repcore_timeseries.rendering.forecasts import Forecast, forecast_svg

DAY_S = 86_400.0
USUAL_DAY = 24
ENCODED_TOGETHER = 256
LEAST_MOMENTS = 4  # of a part and horizon
INTERVAL = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class Known:
    """One series.

    Args:
        inputs: float32 (T, C'), as the encoder sees it, NaN where missing.
        values: float64 (T, C), standardised by the train part.
        scale: (C,), the size of its standard deviation in the units of the data.
        parts: first step and step behind the last of each part.
        day: steps.
    """

    inputs: np.ndarray
    values: np.ndarray
    scale: np.ndarray
    parts: Sequence[tuple[int, int]]
    day: int


@dataclass(frozen=True, slots=True)
class Material:
    """Series, horizons that fit, and the figures that need no encoder."""

    series: Sequence[Known]
    horizons: Sequence[int]
    floors: Mapping[str, float]


class ForecastProbe:
    """A :class:`repcore.interfaces.ModelProbe`; rows are whole series.

    Args:
        config: see :class:`ForecastConfig`.
    """

    most_rows = 64

    def __init__(self, config: ForecastConfig) -> None:
        self.config = config
        self.shown: Sequence[str] = ()
        self.lower_is_better: Sequence[str] = ()

    def constants(self) -> Mapping[str, Any]:
        """Everything that fixes the protocol."""
        fixed = self.config
        return {
            "context": fixed.context, "raw_steps": fixed.raw_steps, "parts": list(fixed.parts),
            "strengths": list(fixed.strengths), "most_moments": fixed.most_moments,
            "skill": "1 - mse / smaller mse of the naive forecasts",
        }  # fmt: skip

    # ---------------------------------------------------------------------------------------- material

    def material(self, rows: Sequence[Sequence[Item]]) -> Material:
        """Series in their parts, and the naive forecasts.

        Raises:
            DataError: no series is long enough for any horizon.
        """
        series = [self._known(items) for items in rows if sum(len(one.values) for one in items) > self.config.context]
        horizons = [one for one in self.config.horizons if self._fits(series, one)]
        if not horizons:
            longest = max((sum(len(one.values) for one in items) for items in rows), default=0)
            raise DataError(
                f"no series has {min(self.config.horizons)} steps to forecast behind {self.config.context} known "
                "ones in every part of time",
                longest=f"{longest} steps",
                hint="whole series as rows: --read window=0",
            )
        floors: dict[str, float] = {}
        raw = [self._raw(one) for one in series]
        for ahead in horizons:
            tests = list(self._moments(series, "test", ahead))
            truth = np.concatenate([future(one, at, ahead) for one, at in tests])
            scale = series[0].scale
            for name, guess in (("last", last_value), ("day", last_day)):
                said = np.concatenate([guess(one, at, ahead) for one, at in tests])
                floors |= {f"{name}-{key}-{ahead}": value for key, value in errors(said, truth, scale).items()}
            ridge, features = self._fitted(series, raw, ahead)
            guesses = self._guesses(ridge, series, features, ahead)
            floors |= {f"raw-{key}-{ahead}": value for key, value in errors(guesses, truth, scale).items()}
        self.shown = [f"skill-{ahead}" for ahead in horizons]
        kinds = ("", "last-", "day-", "raw-")
        self.lower_is_better = [
            f"{kind}{key}-{ahead}" for ahead in horizons for kind in kinds
            for key in ("mse", "mae", "mse-units", "mae-units")
        ]  # fmt: skip
        return Material(series, horizons, floors)

    def _known(self, items: Sequence[Item]) -> Known:
        inputs = np.concatenate([np.asarray(one.values, np.float32) for one in items])
        meta = items[0].meta
        count = int(meta["channels"])
        values = inputs[:, list(self.config.channels) or list(range(count))].astype(np.float64)
        parts = borders(len(values), self.config.parts)
        train = values[: parts[0][1]]
        known = np.isfinite(train).any(0)
        mean = np.where(known, np.nan_to_num(_quiet(np.nanmean, train)), 0.0)
        spread = np.where(known, np.nan_to_num(_quiet(np.nanstd, train)), 1.0)
        spread = np.where(spread > 1e-8, spread, 1.0)
        stored = np.asarray(meta["scale"], np.float64)[list(self.config.channels) or list(range(count))]
        step = float(meta.get("step_s", 0.0))
        day = self.config.day or (round(DAY_S / step) if 0 < step <= DAY_S / 2 else USUAL_DAY)
        return Known(inputs, (values - mean) / spread, spread * stored, parts, max(1, day))

    def _fits(self, series: Sequence[Known], ahead: int) -> bool:
        return all(
            sum(len(moments) for _, moments in self._moments(series, part, ahead)) >= LEAST_MOMENTS for part in PARTS
        )

    def _moments(self, series: Sequence[Known], part: str, ahead: int) -> Iterator[tuple[Known, np.ndarray]]:
        """Steps t of a part whose future t + 1 ... t + H lies in it, too; they may look back across its border."""
        for one in series:
            start, stop = one.parts[PARTS.index(part)]
            moments = np.arange(max(start, self.config.context), stop - ahead)
            most = max(1, self.config.most_moments // len(series))
            if len(moments) > most:
                moments = moments[np.linspace(0, len(moments) - 1, most).round().astype(int)]
            if len(moments):
                yield one, moments

    # ----------------------------------------------------------------------------------------- features

    def _raw(self, one: Known) -> np.ndarray:
        """The last ``raw_steps`` values of every step, (T, raw_steps C); missing ones and those before the start 0."""
        steps, filled = self.config.raw_steps, np.nan_to_num(one.values)
        padded = np.concatenate([np.zeros((steps - 1, filled.shape[1])), filled])
        windows = np.lib.stride_tricks.sliding_window_view(padded, steps, axis=0)
        return windows.reshape(len(filled), -1)

    @torch.inference_mode()
    def _encoded(self, encoder: Encoder, one: Known, needed: np.ndarray) -> np.ndarray:
        """Features of the steps that are needed, each encoded from its own window, (T, D); the others 0."""
        device = next(iter(cast(Any, encoder).parameters())).device
        inputs = torch.from_numpy(one.inputs).to(device)
        found = np.zeros((len(one.inputs), encoder.dim), np.float32)
        back = torch.arange(-self.config.context, 1, device=device)
        for first in range(0, len(needed), ENCODED_TOGETHER):
            moments = needed[first : first + ENCODED_TOGETHER]
            values = inputs[torch.from_numpy(moments).to(device)[:, None] + back]
            observed = values.isfinite()
            batch = Batch(
                inputs={"values": values.masked_fill(~observed, 0.0), "observed": observed}, size=len(moments)
            )
            tokens = next(iter(encoder.forward(batch).tokens.values()))
            found[moments] = tokens.values[:, -1].float().cpu().numpy()
        return found

    def _fitted(
        self, series: Sequence[Known], features: Sequence[np.ndarray], ahead: int
    ) -> tuple[Ridge, list[np.ndarray]]:
        pairs = []
        of = {id(one): own for one, own in zip(series, features, strict=True)}
        for part in PARTS[:2]:
            found = list(self._moments(series, part, ahead))
            known = np.concatenate([of[id(one)][at] for one, at in found])
            wanted = np.concatenate([future(one, at, ahead) for one, at in found])
            wanted = wanted.reshape(len(wanted), -1)
            whole = np.isfinite(wanted).all(1)
            if whole.sum() < LEAST_MOMENTS:  # gaps everywhere: they are taken as the mean, 0
                wanted, whole = np.nan_to_num(wanted), np.ones(len(wanted), bool)
            pairs.append((known[whole], wanted[whole]))
        return fit_ridge(pairs[0], pairs[1], self.config.strengths), [of[id(one)] for one in series]

    def _guesses(self, ridge: Ridge, series: Sequence[Known], features: Sequence[np.ndarray], ahead: int) -> np.ndarray:
        """Forecasts of the test moments, (M, H, C)."""
        of = {id(one): own for one, own in zip(series, features, strict=True)}
        found = [ridge.predict(of[id(one)][at]) for one, at in self._moments(series, "test", ahead)]
        return np.concatenate(found).reshape(-1, ahead, series[0].values.shape[1])

    def _needed(self, material: Material, one: Known) -> np.ndarray:
        """Steps of a series at which any horizon and part needs features."""
        found = [
            at
            for ahead in material.horizons
            for part in PARTS
            for own, at in self._moments(material.series, part, ahead)
            if own is one
        ]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    # -------------------------------------------------------------------------------------------- scores

    def score(self, encoder: Encoder, material: Material, seed: int) -> Mapping[str, float]:
        """Errors of the ridge on features, the floors beside them, and the skill over the better naive forecast."""
        del seed  # nothing is drawn
        features = [self._encoded(encoder, one, self._needed(material, one)) for one in material.series]
        figures: dict[str, float] = {}
        for ahead in material.horizons:
            ridge, _ = self._fitted(material.series, features, ahead)
            guesses = self._guesses(ridge, material.series, features, ahead)
            tests = self._moments(material.series, "test", ahead)
            truth = np.concatenate([future(one, at, ahead) for one, at in tests])
            found = errors(guesses, truth, material.series[0].scale)
            naive = min(material.floors[f"{name}-mse-{ahead}"] for name in ("last", "day"))
            figures[f"skill-{ahead}"] = 1.0 - found["mse"] / max(naive, 1e-12)
            figures |= {f"{name}-{ahead}": value for name, value in found.items()}
        return {**figures, **material.floors}

    def pictures(self, encoder: Encoder, material: Material) -> Mapping[str, bytes]:
        """One forecast of the first series with an interval from the errors on the validation part."""
        ahead, one = material.horizons[0], material.series[0]
        features = [self._encoded(encoder, each, self._needed(material, each)) for each in material.series]
        ridge, _ = self._fitted(material.series, features, ahead)
        own, at = next(self._moments([one], "validation", ahead))
        apart = future(own, at, ahead) - ridge.predict(features[0][at]).reshape(len(at), ahead, -1)
        low, high = (np.nan_to_num(_quiet(np.nanquantile, apart, share)) for share in INTERVAL)
        _, tests = next(self._moments([one], "test", ahead))
        moment = tests[[len(tests) // 2]]
        guess = ridge.predict(features[0][moment]).reshape(ahead, -1)[:, 0]
        before = one.values[max(0, int(moment[0]) - 3 * ahead + 1) : int(moment[0]) + 1, 0]
        shown = Forecast(
            before, future(one, moment, ahead)[0, :, 0], guess, guess + low[:, 0], guess + high[:, 0],
            last_day(one, moment, ahead)[0, :, 0],
        )  # fmt: skip
        return {f"forecast-{ahead}.svg": forecast_svg(shown).encode()}


def future(one: Known, moments: np.ndarray, ahead: int) -> np.ndarray:
    """Values of the next steps, (M, H, C)."""
    found: np.ndarray = one.values[moments[:, None] + np.arange(1, ahead + 1)]
    return found


def last_value(one: Known, moments: np.ndarray, ahead: int) -> np.ndarray:
    """The last known value of each channel, again and again, (M, H, C); 0, the mean, where none is known yet."""
    steps = np.arange(len(one.values))[:, None]
    place = np.maximum.accumulate(np.where(np.isfinite(one.values), steps, -1), axis=0)
    known = np.where(place >= 0, np.take_along_axis(one.values, np.maximum(place, 0), 0), 0.0)
    return np.repeat(known[moments][:, None], ahead, axis=1)


def last_day(one: Known, moments: np.ndarray, ahead: int) -> np.ndarray:
    """The value of the same step of the last known day, (M, H, C); the last value where that is missing."""
    back = one.day - 1 - (np.arange(ahead) % one.day)
    place = moments[:, None] - back
    found = np.where((place >= 0)[..., None], one.values[np.maximum(place, 0)], np.nan)
    return np.where(np.isfinite(found), found, last_value(one, moments, ahead))


def _quiet(of: Any, values: np.ndarray, *rest: Any) -> np.ndarray:  # a numpy function that leaves NaN out
    """Over the first axis, without the warning about columns that hold nothing."""
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found: np.ndarray = np.asarray(of(values, *rest, axis=0))
            return found
