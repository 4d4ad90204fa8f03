"""W2v-BERT: log-mel frames through convolutions or in pairs, then a stack of Conformer layers.

Source: Chung et al. 2021 (arXiv 2108.06209); the released encoder `facebook/w2v-bert-2.0` for the route in pairs. The
authors published no code.

Symbols: B clips, T log-mel frames, F mel bins, N frames of the encoder, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore_audio.configs.w2v_bert import W2vBertConfig
from repcore_audio.encoders.conformer import ConformerLayer
from repcore_audio.encoders.patches import PatchLayout, column_of_frames, grid_size, plan_patches
from repcore_audio.encoders.pooling import mean_tokens, pool_segments
from repcore_audio.encoders.spectrograms import spectrogram_inputs

NAME = "audio/w2v-bert"
LEVEL = "frame"
POOLINGS = ("default", "mean", "max", "segments")
SEGMENTS = 4


class ConvolutionalFrontEnd(nn.Module):
    """Two 3 x 3 convolutions with stride 2, no padding, ReLU; channels and remaining bins side by side to D.

    A frame sees ``span`` log-mel frames and lies ``stride`` behind the one before.
    """

    span, stride = 7, 4

    def __init__(self, config: W2vBertConfig, mel_bins: int) -> None:
        super().__init__()
        if grid_size(mel_bins, self.span, self.stride) < 1:
            raise ConfigError(f"{mel_bins} mel bins are too few for two convolutions", expected=f"{self.span} or more")
        self.conv1 = nn.Conv2d(1, config.channels, 3, stride=2)
        self.conv2 = nn.Conv2d(config.channels, config.channels, 3, stride=2)
        self.out = nn.Linear(config.channels * grid_size(mel_bins, self.span, self.stride), config.width)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, T, F) to (B, N, D)."""
        maps = F.relu(self.conv2(F.relu(self.conv1(spectrogram[:, None]))))  # (B, c, N, F')
        out: Tensor = self.out(maps.transpose(1, 2).flatten(2))
        return out


class StackedFrontEnd(nn.Module):
    """Pairs of log-mel frames side by side, LN, linear; names of the released checkpoint."""

    span, stride = 2, 2

    def __init__(self, config: W2vBertConfig, mel_bins: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(self.span * mel_bins, eps=config.norm_epsilon)
        self.projection = nn.Linear(self.span * mel_bins, config.width)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, T, F) to (B, T // 2, D)."""
        whole = spectrogram[:, : spectrogram.shape[1] // self.span * self.span]
        out: Tensor = self.projection(self.layer_norm(whole.unflatten(1, (-1, self.span)).flatten(2)))
        return out


FRONT_ENDS: dict[str, type[ConvolutionalFrontEnd] | type[StackedFrontEnd]] = {
    "conv": ConvolutionalFrontEnd,
    "stacked": StackedFrontEnd,
}


class W2vBert(nn.Module):
    """Encoder ``audio/w2v-bert``.

    Args:
        config: see :class:`W2vBertConfig`.

    Call:
        batch.inputs: ``spectrogram`` float (B, T, F), normalised; ``frames`` int64 (B,), real frames of each clip,
            which may be left out when all are real.
        layers: numbers of hidden states to return; 0 is the front end's output, ``depth`` the last layer.
        until: last layer to run; None = all.
    Returns:
        pooled (B, D), or (B, 4D) with ``pooling="segments"``; token level ``frame`` (B, N, D) with the token of every
        log-mel frame as ``source``.

    Raises:
        ConfigError: sizes that do not fit together, or a layer that does not exist.
        ShapeError: wrong shapes, or a clip too short for one frame.
    """

    poolings = POOLINGS

    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        if config.mel_bins is None:
            raise ConfigError(
                "the number of mel bins is not known", field="encoder.mel_bins", hint="fit a preprocessor, or set it"
            )
        self.config = config
        self.dim = config.width * (SEGMENTS if config.pooling == "segments" else 1)
        self.pooling = config.pooling
        kind = FRONT_ENDS[config.front_end]
        self.span, self.stride = int(kind.span), int(kind.stride)
        self.front_end = kind(config, config.mel_bins)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.depth))

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.layers)

    def token_width(self, level: str = LEVEL) -> int:
        """Width of the tokens, the same at every layer and level."""
        del level
        return self.config.width

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        """Both feed-forward parts of every layer."""
        names = [f"layers.{number}.{part}" for number in range(self.depth) for part in ("ffn1", "ffn2")]
        return {name: self.get_submodule(name) for name in names}

    def layout(self, batch: Batch) -> PatchLayout:
        """Frames of each clip as a grid of one row; reads the lengths back to the host when there are any."""
        spectrogram, frames = self._inputs(batch)
        lengths = [spectrogram.shape[1]] * len(spectrogram) if frames is None else frames.tolist()
        columns = tuple(grid_size(length, self.span, self.stride) for length in lengths)
        if min(columns, default=1) < 1 or max(lengths, default=0) > spectrogram.shape[1]:
            raise ShapeError(
                f"clips of {min(lengths)} to {max(lengths)} frames in a spectrogram of {spectrogram.shape[1]}",
                expected=f"{self.span} frames or more, and no more than the spectrogram has",
                hint=f"preprocessor.frame_multiple={self.span + 1} fills shorter clips up",
            )
        return plan_patches(1, columns, spectrogram.device, tuple(lengths))

    def embed_tokens(self, batch: Batch) -> Tokens:
        """What the front end makes of the clips, (B, N, D); 0 at the padding."""
        layout = self.layout(batch)
        return Tokens(self._embedded(batch, layout), valid=layout.valid)

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of frames, some of which may have been replaced."""
        return self._encode(tokens.values, self.layout(batch), 0, layers, until)

    def run_from(self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """The layers behind ``layer``, from its tokens."""
        return self._encode(hidden.values, self.layout(batch), layer, layers, None)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        layout = self.layout(batch)
        return self._encode(self._embedded(batch, layout), layout, 0, layers, until)

    def _embedded(self, batch: Batch, layout: PatchLayout) -> Tensor:
        spectrogram, _ = self._inputs(batch)
        values: Tensor = self.front_end(spectrogram)[:, : max(layout.columns, default=0)]
        return values if layout.valid is None else values.masked_fill(~layout.valid[..., None], 0.0)

    def _encode(
        self, hidden: Tensor, layout: PatchLayout, first: int, layers: Sequence[int], until: int | None
    ) -> Features:
        last = self.depth if until is None else until
        wrong = [number for number in (*layers, last) if not first <= number <= min(last, self.depth)]
        if wrong:
            raise ConfigError(f"{NAME} has no layer {wrong[0]}", expected=f"{first} to {min(last, self.depth)}")
        valid = layout.valid
        if valid is not None and first == 0:
            hidden = hidden.masked_fill(~valid[..., None], 0.0)
        visible = None if valid is None else valid[:, None, None]
        states = {first: hidden} if first in layers else {}
        for number in range(first + 1, last + 1):
            hidden = self.layers[number - 1](hidden, visible)
            if number in layers:
                states[number] = hidden
        tokens = Tokens(hidden, valid=valid)
        features = Features(
            pooled=self._pooled(tokens, self.config.pooling),
            layers={number: replace(tokens, values=state) for number, state in states.items()},
        )
        source = column_of_frames(layout, self.span, self.stride, hidden.device)
        features.tokens = {LEVEL: replace(tokens, source=source)}
        return features

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a clip: ``default`` as configured, ``mean``, ``max``, or ``segments`` (B, 4D).

        Raises:
            ConfigError: unknown name.
        """
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        return features.pooled if name == "default" else self._pooled(features.tokens[LEVEL], name)

    @staticmethod
    def _pooled(tokens: Tokens, name: str) -> Tensor:
        if name == "segments":
            return pool_segments(tokens, SEGMENTS)
        if name == "mean":
            return mean_tokens(tokens)
        values = tokens.values
        return (values if tokens.valid is None else values.masked_fill(~tokens.valid[..., None], -torch.inf)).amax(1)

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        return spectrogram_inputs(batch, NAME, self.config.mel_bins)
