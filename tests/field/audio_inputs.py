"""Recordings and tables for the field tests of audio, and how they are embedded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from repcore.data.accounting import account_of
from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.interfaces import Batch, EmbeddingRows, Features
from repcore_audio.configs.recordings import ManifestConfig, RecordingsConfig
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.datasets.folders import FolderReader
from repcore_audio.datasets.manifests import ManifestReader
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor

RATE = 16_000
FRONT = LogMelPreprocessor(LogMelConfig(frames=128, mean=-8.0, deviation=4.0))


def tone(seconds: float = 0.5, hertz: float = 440.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.2 * np.sin(2 * np.pi * hertz * t) + 0.02 * noise).astype(np.float32)


def write(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **options)
    return path


class MelMeans(torch.nn.Module):
    """An encoder of one line: the mean of each band."""

    dim = 128

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        return Features(batch.inputs["spectrogram"].mean(1))


def embed(reader: Any, **options: Any) -> EmbeddingRows:
    return embed_rows(MelMeans(), FRONT, reader, InferenceOptions(**options))


def manifest(path: Path, text: str, encoding: str = "utf-8", **config: Any) -> ManifestReader:
    path.write_text(text, encoding=encoding)
    return ManifestReader(ManifestConfig(path=str(path), **config))


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def statuses(folder: Path, **config: Any) -> dict[str, tuple[str, str]]:
    rows = embed(FolderReader(RecordingsConfig(path=str(folder), **config)))
    return {name: (status, reason) for name, status, reason in zip(rows.ids, rows.status, rows.reason, strict=True)}
