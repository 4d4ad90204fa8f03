"""Encoder ``timeseries/dilated``: series of any length, with missing values, to one vector a step and one a series.

Source: Yue et al. 2022 (TS2Vec, arXiv 2106.10466), `zhihanyue/ts2vec`; with ``kernels`` Zheng et al. 2024 (AutoTCL,
arXiv 2402.10434).

Differs: a missing value hides its channel only (``missing="step"`` hides the step), padding has no influence, and time
masks work. The published AutoTCL encoder multiplies NaN by 0, which is NaN, and ignores its masks.

Symbols: B series, T steps, C channels, H hidden width, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.layers.dilated import DilatedStack, causal_mean, within
from repcore_timeseries.layers.pooling import pooled_steps


@dataclass(frozen=True, slots=True)
class Steps:
    """What the network sees of a batch.

    Args:
        values: float (B, T, C), finite, 0 where missing.
        shown: bool (B, T), steps whose input is not hidden.
        seen: bool (B, T), steps with a value.
        inside: bool (B, T), False behind the end of a series; None = all series are equally long.
    """

    values: Tensor
    shown: Tensor
    seen: Tensor
    inside: Tensor | None


class DilatedEncoder(nn.Module):
    """Input layer, dilated residual convolutions, and causal convolutions of several sizes where asked for.

    Args:
        config: see :class:`DilatedConfig`.

    Raises:
        ConfigError: the number of channels is not known.

    Call:
        batch: ``inputs["values"]`` float (B, T, C); ``observed`` bool (B, T, C), ``length`` int64 (B,) and ``visible``
            bool (B, T), a mask of an objective, may be absent.
    """

    def __init__(self, config: DilatedConfig) -> None:
        super().__init__()
        if config.channels is None:
            raise ConfigError("encoder.channels is not known", hint="encoder.channels=NUMBER, or train with data")
        self.config, self.dim, self.depth = config, config.width, config.depth
        self.pooling = config.pooling
        self.input_fc = nn.Linear(config.channels, config.hidden)
        self.feature_extractor = DilatedStack(
            config.hidden, config.depth, config.width, config.kernel, causal=config.causal
        )
        self.tfd = nn.ModuleList(nn.Conv1d(config.width, config.width, size) for size in config.kernels)
        self.repr_dropout = nn.Dropout(config.dropout)

    def token_width(self, level: str = "") -> int:
        """``hidden`` for the embedding and for layers 0 to ``depth``, else ``width``."""
        return self.config.width if level == "step" else self.config.hidden

    def steps(self, batch: Batch) -> Steps:
        """Values with masks of every step.

        Raises:
            ShapeError: another number of channels.
        """
        values = batch.inputs["values"]
        if values.ndim != 3 or values.shape[-1] != self.config.channels:
            raise ShapeError(f"values {tuple(values.shape)} are not (B, T, {self.config.channels})")
        observed = batch.inputs.get("observed")
        known = ~values.isnan() if observed is None else observed
        seen = known.all(-1) if self.config.missing == "step" else known.any(-1)
        inside = None
        if "length" in batch.inputs:
            steps = torch.arange(values.shape[1], device=values.device)
            inside = steps[None] < batch.inputs["length"][:, None]
        visible = batch.inputs.get("visible")
        shown = seen if visible is None else seen & visible
        return Steps(torch.where(known, values, torch.zeros_like(values)), shown, seen, inside)

    def embedded(self, steps: Steps) -> Tensor:
        """Input layer, (B, T, H); 0 where a step is hidden or has no value."""
        return self.input_fc(steps.values).masked_fill(~steps.shown[..., None], 0.0)

    def trunk(self, steps: Steps) -> Tensor:
        """Output of the dilated blocks at every step, (B, T, D), before the kernels."""
        return self._blocks(self.embedded(steps), steps.inside, 0, ())[0]

    def features(self, steps: Steps) -> Tensor:
        """Features of every step, those without a value included, (B, T, D)."""
        return self._finished(self.trunk(steps))

    def _finished(self, trunk: Tensor) -> Tensor:
        if len(self.tfd):
            trunk = causal_mean(trunk.transpose(1, 2), self.tfd, self.config.kernels).transpose(1, 2)
        found: Tensor = self.repr_dropout(trunk)
        return found

    def _blocks(
        self, embedded: Tensor, inside: Tensor | None, first: int, wanted: Sequence[int], until: int | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Blocks from one on; inner layers that are wanted, (B, T, H) each."""
        mask = None if inside is None else inside[:, None]
        hidden = within(embedded.transpose(1, 2), mask)
        inner = {0: hidden.transpose(1, 2)} if first == 0 and 0 in wanted else {}
        for number, block in enumerate(self.feature_extractor.net[first:], start=first + 1):
            if until is not None and number > until:
                break
            hidden = block(hidden, mask)
            if number in wanted and number <= self.depth:
                inner[number] = hidden.transpose(1, 2)
        return hidden.transpose(1, 2), inner

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Output of the input layer."""
        steps = self.steps(batch)
        return Tokens(self.embedded(steps), self._valid(steps))

    def encode_tokens(self, tokens: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """From the output of the input layer on."""
        return self._encoded(tokens.values, self.steps(batch), layers, 0, None)

    def run_from(self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """From the tokens of a layer on."""
        return self._encoded(hidden.values, self.steps(batch), layers, layer, None)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """Tokens ``step`` (B, T, D), valid where a step has a value, and their pooled vector (B, D)."""
        steps = self.steps(batch)
        return self._encoded(self.embedded(steps), steps, layers, 0, until)

    def _encoded(
        self, embedded: Tensor, steps: Steps, layers: Sequence[int], first: int, until: int | None
    ) -> Features:
        values, inner = self._blocks(embedded, steps.inside, first, layers, until)
        if until is None or until > self.depth:
            values = self._finished(values)
        valid = self._valid(steps)
        values = values.masked_fill(~valid[..., None], 0.0)
        tokens = {number: Tokens(one, valid=valid) for number, one in inner.items()}
        place = torch.arange(values.shape[1], device=values.device, dtype=values.dtype)[None, :, None]
        last = Tokens(values, valid=valid, position=place.expand(len(values), -1, -1))
        return Features(pooled_steps(values, valid, self.pooling), {"step": last}, tokens)

    def _valid(self, steps: Steps) -> Tensor:
        return steps.seen if steps.inside is None else steps.seen & steps.inside

    def pool(self, features: Features, name: str) -> Tensor:
        """Poolings that core does not compute: ``last``, the last step with a value.

        Raises:
            ConfigError: no such pooling.
        """
        if name not in ("max", "mean", "last"):
            raise ConfigError(f"pooling {name!r} is unknown", expected="max, mean, last")
        tokens = features.tokens["step"]
        valid = tokens.valid if tokens.valid is not None else torch.ones_like(tokens.values[..., 0], dtype=torch.bool)
        return pooled_steps(tokens.values, valid, name)
