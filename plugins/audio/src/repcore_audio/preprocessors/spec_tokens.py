"""Preprocessor ``audio/spec-tokens``: recordings to windows of log-mel patches, patches to numbers of a codebook.

Source: method card of SpecMaskGIT, section 2. The published tokeniser is a large VQGAN without released weights; here
it is k-means of patches or a small quantiser, made from the training split and saved with the model.

Symbols: B clips, F bands, T columns, L = F x T tokens (index = band x T + column), X numbers of a patch, V codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repcore.checkpoints.reading import file_sha256
from repcore.errors import ConfigError
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_audio.configs.spec_mask_git import SpecTokensConfig
from repcore_audio.encoders.patches import patch_pixels
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.preprocessors.statistics import readable, spread
from repcore_audio.preprocessors.tokenisers import FILE, Tokeniser, load_tokeniser, make_tokeniser, save_tokeniser


class SpecTokensPreprocessor(LogMelPreprocessor):
    """Windows of waveform as items, numbers of codes as batches.

    Args:
        config: front end, patches, tokeniser; see :class:`SpecTokensConfig`.

    Raises:
        ConfigError: sizes that do not fit together.
    """

    config: SpecTokensConfig

    def __init__(self, config: SpecTokensConfig) -> None:
        for name, whole, patch in (
            ("mel_bins", config.mel_bins, config.patch_frequency),
            ("frames", config.frames, config.patch_time),
        ):
            if whole % patch:
                raise ConfigError(
                    f"{name}={whole} is not a multiple of the patch's {patch}", field=f"preprocessor.{name}"
                )
        if config.tokeniser == "import" and not config.tokeniser_file:
            raise ConfigError("tokeniser=import needs a file", field="preprocessor.tokeniser_file")
        super().__init__(replace(config, frame_multiple=config.patch_time, remainder="fill"))
        self.patch = (config.patch_frequency, config.patch_time)
        self.rows, self.columns = config.mel_bins // self.patch[0], config.frames // self.patch[1]
        self.tokeniser: Tokeniser | None = None

    @classmethod
    def load(cls, config: SpecTokensConfig, folder: Path) -> SpecTokensPreprocessor:  # type: ignore[override]
        """The fitted preprocessor of a saved model.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        loaded = super().load(config, folder)
        assert isinstance(loaded, cls)
        loaded.tokeniser = load_tokeniser(folder / FILE, config)
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Mean and standard deviation, then the tokeniser, from the training split."""
        super().fit(reader, indices)
        self.tokeniser = make_tokeniser(self.config, self._training_patches(reader, indices))

    def _training_patches(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> Tensor:
        """At most ``tokeniser_patches`` of them, (N, X), evenly spaced over the clips that can be read."""
        found, count = [], 0
        rows = spread(indices, self.config.statistics_clips)
        for sample in readable(reader, np.random.default_rng(self.config.tokeniser_seed).permutation(rows)):
            for values in self.seen(sample):
                whole = -(-len(values) // self.patch[1]) * self.patch[1]
                found.append(self.patches_of(self.normalised(values, whole)[None])[0])
                count += len(found[-1])
            if count >= self.config.tokeniser_patches:
                break
        every = torch.cat(found) if found else torch.zeros(0, self.patch[0] * self.patch[1])
        return every[: self.config.tokeniser_patches]

    def patches_of(self, spectrogram: Tensor) -> Tensor:
        """Patches of normalised spectrograms (B, frames, mel bins), (B, L, X), lowest band first."""
        return patch_pixels(spectrogram, self.patch, self.patch)

    def facts(self) -> Mapping[str, Any]:
        return {
            "rows": self.rows,
            "columns": self.columns,
            "codes": self.config.codes,
            "patch_size": self.patch[0] * self.patch[1],
        }

    def collate(self, items: Sequence[Item]) -> Batch:
        """Inputs ``ids`` int64 (B, L), ``valid`` bool (B, L) where lengths differ, and ``front_end`` (B, 7), numbers
        that turn log-mel values back into sound (see :mod:`repcore_audio.preprocessors.inversion`).

        Raises:
            ConfigError: the tokeniser is not fitted.
        """
        if self.tokeniser is None:
            raise ConfigError("the tokeniser is not known", hint="fit the preprocessor, or load a model")
        batch = super().collate(items)
        spectrogram: Tensor = batch.inputs["spectrogram"]
        patches = self.patches_of(spectrogram)
        ids = self.tokeniser.encode(patches.flatten(0, 1)).view(patches.shape[:2])
        inputs = {"ids": ids, "front_end": self.front_end().expand(len(ids), -1).clone()}
        if "frames" in batch.inputs:
            columns = torch.arange(ids.shape[1]) % (ids.shape[1] // self.rows)
            inputs["valid"] = columns < (batch.inputs["frames"] // self.patch[1])[:, None]
            inputs["ids"] = ids.masked_fill(~inputs["valid"], 0)
        return Batch(inputs=inputs, size=batch.size)

    def front_end(self) -> Tensor:
        """Rate, mel bins, frame length and shift in ms, amplitude, mean and scale of normalisation: float64 (7,)."""
        mean, deviation = self._statistics()
        config = self.config
        return torch.tensor(
            [config.sample_rate_hz, config.mel_bins, config.frame_length_ms, config.frame_shift_ms, config.amplitude,
             mean, 2 * deviation], dtype=torch.float64,
        )  # fmt: skip

    def code_counts(self, reader: DatasetReader, rows: Sequence[int] | np.ndarray) -> Tensor:
        """How often each code stands at each place of the grid, float (F x T, V)."""
        counts = torch.zeros(self.rows * self.columns, self.config.codes)
        for sample in readable(reader, rows):
            for ids, place in self._tokens(self.prepare(sample)):
                counts.index_put_((place, ids), torch.ones(len(ids)), accumulate=True)
        return counts

    def _tokens(self, items: Iterable[Item]) -> Iterable[tuple[Tensor, Tensor]]:
        """Codes of each item and their places in the whole grid."""
        for item in items:
            ids = self.collate([item]).inputs["ids"][0]
            own = len(ids) // self.rows
            number = torch.arange(len(ids))
            yield ids, number // own * self.columns + number % own

    def save(self, folder: Path) -> Mapping[str, Any]:
        state = dict(super().save(folder))
        if self.tokeniser is not None:
            save_tokeniser(self.tokeniser, folder / FILE)
            state |= {"tokeniser_sha256": file_sha256(folder / FILE), "explained": self.tokeniser.explained}
        return state


def token_histogram(preprocessor: SpecTokensPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """Baseline: how often each code occurs in a recording, (N, V)."""
    rows = []
    for sample in samples:
        counts = torch.zeros(preprocessor.config.codes)
        for ids, _ in preprocessor._tokens(preprocessor.prepare(sample)):
            counts += torch.bincount(ids, minlength=len(counts))
        rows.append((counts / counts.sum().clamp(min=1)).numpy())
    return np.stack(rows)
