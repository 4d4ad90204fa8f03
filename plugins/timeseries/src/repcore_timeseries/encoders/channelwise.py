"""Encoder ``timeseries/channelwise``: one network reads every channel, so that it takes any number of channels.

Source: the blocks of Franceschi et al. 2019 (arXiv 1901.10738) and Yue et al. 2022 (arXiv 2106.10466), with weights
that channels share (as in PatchTST, Nie et al. 2023, arXiv 2211.14730) on values that are standardised series by
series (Kim et al. 2022, RevIN). The share of steps at which a feature is high, beside mean and maximum, is that of
ROCKET (Dempster et al. 2020, arXiv 1910.13051), as a sigmoid. Differs: level and scale, which standardising takes away,
stand beside in the vector, and channels are put together by their number (:mod:`repcore_timeseries.layers.slots`).

Symbols: B series, T steps, C channels, H hidden width, W width, D width of a vector, S slots of shapes, L of levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore_timeseries.configs.encoders import ChannelwiseConfig
from repcore_timeseries.layers.dilated import DilatedStack
from repcore_timeseries.layers.pooling import pooled_steps
from repcore_timeseries.layers.slots import in_slots

NAME = "timeseries/channelwise"
OWN, POOLINGS = "channels", ("channels", "mean", "max")
SHOWN = 2  # what the network sees of a step: its value, and whether it is known
STEEP = 4.0  # of the sigmoid that stands for the share of high steps
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEVEL_WEIGHT = 3.0  # or the few levels drown among the shapes where columns keep their own scale
CONSTANT = 1e-6  # deviation relative to the size of the values below which a channel is constant


@dataclass(frozen=True, slots=True)
class Channels:
    """What the network sees.

    Args:
        values: float (B, C, T), standardised in each channel, 0 where missing.
        known: bool (B, C, T), within the series and with a value.
        inside: bool (B, T), within the series.
        levels: float (B, C, 8), asinh of mean, deviation, deviation of differences, minimum, quartiles and maximum, in
            the units of the data; 0 for a channel without values.
    """

    values: Tensor
    known: Tensor
    inside: Tensor
    levels: Tensor


class Channelwise(nn.Module):
    """Encoder ``timeseries/channelwise``.

    Args:
        config: see :class:`ChannelwiseConfig`.

    Call:
        batch: ``inputs["values"]`` float (B, T, C); ``observed`` bool (B, T, C), ``length`` int64 (B,) and ``unit``
            float (B, C, 2), what was taken off the values and what they were then divided by, may be absent.
    Returns:
        pooled (B, S + L), level ``step`` (B, T, S + L).

    Raises:
        ShapeError: values of another shape.
    """

    poolings = POOLINGS
    depth = 0

    def __init__(self, config: ChannelwiseConfig) -> None:
        super().__init__()
        self.config, self.pooling = config, OWN
        self.dim = config.slots + config.level_slots
        self.input_fc = nn.Linear(SHOWN, config.hidden)
        self.feature_extractor = DilatedStack(config.hidden, config.depth, config.width, config.kernel, causal=False)

    def token_width(self, level: str = "step") -> int:
        """Width of steps."""
        del level  # there is one
        return self.dim

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """Vectors of series and of steps."""
        seen = self.seen(batch)
        steps = self.features(seen)
        valid = seen.known.any(1)
        levels = LEVEL_WEIGHT * in_slots(seen.levels, self.config.level_slots)
        shapes = in_slots(_pooled(steps, seen.known), self.config.slots)
        return Features(
            torch.cat([shapes, levels], 1),
            {"step": Tokens(self._steps(steps, levels, seen.known), valid=valid, position=_places(valid))},
            {},
        )

    def _steps(self, steps: Tensor, levels: Tensor, known: Tensor) -> Tensor:
        """Vectors of steps (B, T, D): features of all channels that have values, and the series' levels."""
        there = steps.masked_fill(~known.any(2)[..., None, None], 0.0)
        valid = known.any(1)
        found = in_slots(there.permute(0, 3, 1, 2), self.config.slots)
        joined = torch.cat([found, levels[:, None].expand(-1, found.shape[1], -1)], 2)
        return joined.masked_fill(~valid[..., None], 0.0)

    def seen(self, batch: Batch) -> Channels:
        """Standardised channels and their levels."""
        inputs: Mapping[str, Tensor] = batch.inputs
        values = inputs["values"]
        if values.ndim != 3:
            raise ShapeError(f"values {tuple(values.shape)} are not (B, T, C)", owner=NAME)
        observed = inputs.get("observed")
        known = ~values.isnan() if observed is None else observed
        inside = torch.ones_like(values[..., 0], dtype=torch.bool)
        if "length" in inputs:
            inside = torch.arange(values.shape[1], device=values.device)[None] < inputs["length"][:, None]
        known = (known & inside[..., None]).transpose(1, 2)
        plain = values.transpose(1, 2).masked_fill(~known, 0.0)
        count = known.sum(2).clamp(min=1)
        mean = plain.sum(2) / count
        apart = (plain - mean[..., None]).masked_fill(~known, 0.0)
        spread = (apart.square().sum(2) / count).sqrt()
        scale = torch.where(spread > CONSTANT * (1.0 + mean.abs()), spread, torch.ones_like(spread))
        unit = inputs.get("unit")
        return Channels(apart / scale[..., None], known, inside, _levels(plain, known, mean, spread, unit))

    def features(self, seen: Channels) -> Tensor:
        """Features of every step of every channel, (B, C, W, T); 0 behind the ends of series."""
        count, channels, length = seen.values.shape
        shown = torch.stack([seen.values, seen.known.to(seen.values.dtype)], 3).flatten(0, 1)
        inside = seen.inside[:, None].expand(-1, channels, -1).reshape(-1, 1, length)
        embedded = self.input_fc(shown).transpose(1, 2).masked_fill(~inside, 0.0)
        found: Tensor = self.feature_extractor(embedded, inside)
        return found.unflatten(0, (count, channels))

    def pool(self, features: Features, name: str) -> Tensor:
        """``mean`` or ``max`` of steps (B, D); ``channels`` is the vector of ``forward``.

        Raises:
            ConfigError: no such pooling.
        """
        if name == OWN:
            return features.pooled
        if name not in POOLINGS:
            raise ConfigError(f"pooling {name!r} is unknown", expected=", ".join(POOLINGS))
        tokens = features.tokens["step"]
        assert tokens.valid is not None
        return pooled_steps(tokens.values, tokens.valid, name)


def _places(valid: Tensor) -> Tensor:
    """Number of every step, float (B, T, 1)."""
    steps = torch.arange(valid.shape[1], device=valid.device, dtype=torch.float32)
    return steps[None, :, None].expand(len(valid), -1, 1)


def _pooled(steps: Tensor, known: Tensor) -> Tensor:
    """Mean, maximum and share of high steps of each feature over the known steps, (B, C, 3 W); 0 without any."""
    there = known[:, :, None]
    count = there.sum(3).clamp(min=1)
    mean = steps.masked_fill(~there, 0.0).sum(3) / count
    share = torch.sigmoid(STEEP * steps).masked_fill(~there, 0.0).sum(3) / count
    some = there.any(3)
    most = torch.where(some, steps.masked_fill(~there, -torch.inf).amax(3), torch.zeros_like(mean))
    return torch.cat([mean, most, share], 2)


def _levels(plain: Tensor, known: Tensor, mean: Tensor, spread: Tensor, unit: Tensor | None) -> Tensor:
    """asinh of what standardising takes away, (B, C, 8); differences are those between neighbours that are known."""
    both = known[..., 1:] & known[..., :-1]
    change = (plain[..., 1:] - plain[..., :-1]).masked_fill(~both, 0.0)
    pairs = both.sum(2).clamp(min=1)
    rough = (change.square().sum(2) / pairs - (change.sum(2) / pairs).square()).clamp(min=0).sqrt()
    count = known.sum(2)
    ranked = plain.masked_fill(~known, torch.inf).sort(2).values
    at = torch.tensor(QUANTILES, device=plain.device)[None, None] * (count - 1).clamp(min=0)[..., None]
    low = ranked.gather(2, at.floor().long())
    high = ranked.gather(2, at.ceil().long())
    places = low + (high - low) * (at - at.floor())
    origin, scale = (0.0, 1.0) if unit is None else (unit[..., :1], unit[..., 1:])
    of_place = torch.cat([mean[..., None], places], 2) * scale + origin
    of_size = torch.stack([spread, rough], 2) * scale
    found = torch.asinh(torch.cat([of_place[..., :1], of_size, of_place[..., 1:]], 2))
    return torch.where((count > 0)[..., None], found, torch.zeros_like(found))
