"""Models of audio under the common interface of the HEAR benchmark (Turian et al. 2022, arXiv 2203.03022).

``load_model(path)``, ``get_scene_embeddings(audio, model)`` and ``get_timestamp_embeddings(audio, model)``: audio is
float32 (n sounds, n samples) in -1 to 1, or int16, int32 or uint8, at ``model.sample_rate``; timestamps are in
milliseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from repcore.embedding.model import Model, load
from repcore.errors import ConfigError, ItemError
from repcore_audio.preprocessors.given import in_full_scale

MILLISECONDS = 1000.0
FULL_SCALE = 1.0
LEVEL = "token"  # frames, of a recording
log = logging.getLogger(__name__)


class HearModel(nn.Module):
    """A loaded model with the three figures that HEAR asks for.

    Args:
        model: of the domain audio.

    Attributes:
        sample_rate: Hz.
        scene_embedding_size / timestamp_embedding_size: D.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        if model.domain != "audio":
            raise ConfigError(f"HEAR is about audio, {model.folder.encoder_name} is of {model.domain}")
        self.encoder = model.encoder
        self.model = model
        self.sample_rate = int(model.preprocessor.config.sample_rate_hz)  # type: ignore[attr-defined]
        self.scene_embedding_size = int(model.encoder.dim)  # type: ignore[arg-type]
        self.timestamp_embedding_size = self._frame_width()

    def _frame_width(self) -> int:
        second = np.random.default_rng(0).normal(0, 0.1, self.sample_rate).astype(np.float32)
        (answer,) = self.model.tokens([(second, self.sample_rate)], LEVEL)
        assert answer is not None
        return int(answer.outputs.shape[1])

    def pairs(self, audio: Tensor) -> Sequence[tuple[np.ndarray, int]]:
        """A batch as recordings; whole numbers are scaled by their type, as in ``model.embed((samples, rate))``.

        Raises:
            ConfigError: it is no tensor, not (n sounds, n samples), or not in -1 to 1.
        """
        if not isinstance(audio, Tensor):
            raise ConfigError(f"audio is a {type(audio).__name__}", expected="a tensor: torch.from_numpy(audio)")
        if audio.ndim != 2:
            raise ConfigError(f"audio has the shape {tuple(audio.shape)}", expected="(n sounds, n samples)")
        place = str(audio.device)
        if place != self.model.device:
            self.model.to(place)
        values = audio.detach().cpu()
        try:
            scaled = in_full_scale((values.float() if values.is_floating_point() else values).numpy())
        except ItemError as error:
            raise ConfigError(f"audio: {error.reason}") from error
        peak = float(np.abs(scaled[np.isfinite(scaled)]).max(initial=0.0))
        if peak > FULL_SCALE:
            raise ConfigError(f"audio reaches {peak:g}", expected="-1 to 1", hint="divide it by its full scale")
        return [(one, self.sample_rate) for one in scaled.astype(np.float32)]


def load_model(model_file_path: Path | str = "runs/latest") -> HearModel:
    """A model from its folder, its run folder, or ``hf://owner/name``.

    Raises:
        ConfigError: it is of another domain than audio.
    """
    return HearModel(load(model_file_path)).eval()


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One vector a sound: float32 (n sounds, D), on the device of the audio; 0 where there is none (too short)."""
    found = model.model.embed(model.pairs(audio))
    return _filled(torch.from_numpy(found.vectors), list(found.reason)).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Vectors of frames float32 (n sounds, T, D), and the middle of each frame in ms (n sounds, T).

    Sounds shorter than a frame of the model have one of zeros, in their middle.
    """
    pairs = model.pairs(audio)
    answers = model.model.tokens(pairs, LEVEL)
    middle = np.full(min(len(pairs), 1), MILLISECONDS * audio.shape[1] / model.sample_rate / 2, np.float32)
    times = next((_middles(one.elements) for one in answers if one is not None), middle)
    empty = np.full((len(times), model.timestamp_embedding_size), np.nan, np.float32)
    rows = [empty if one is None else one.outputs for one in answers]
    values = torch.from_numpy(np.stack(rows).astype(np.float32)) if rows else torch.zeros(0, *empty.shape)
    stamps = torch.from_numpy(times).expand(len(rows), -1).clone()
    reasons = ["" if one is not None else "it cannot be used" for one in answers]
    return _filled(values, reasons).to(audio.device), stamps.to(audio.device)


def _middles(elements: Mapping[str, np.ndarray]) -> np.ndarray:
    middle = (np.asarray(elements["start"], np.float64) + np.asarray(elements["end"], np.float64)) / 2
    return (MILLISECONDS * middle).astype(np.float32)


def _filled(values: Tensor, reasons: Sequence[str]) -> Tensor:
    bad = ~torch.isfinite(values)
    if bad.any():
        count = int(bad.flatten(1).any(1).sum()) if values.ndim > 1 else 0
        said = next((one for one in reasons if one), "frames that no window covers")
        log.warning("%d of %d sounds have no vector, or not everywhere, and get zeros: %s", count, len(values), said)
    return torch.where(bad, torch.zeros_like(values), values).float()
