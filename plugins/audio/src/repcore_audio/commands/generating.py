"""The work behind ``repcore audio generate``: tokens, their spectrograms and sounds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repcore import load
from repcore.data.seeds import mix
from repcore.errors import ConfigError
from repcore.files import write_text
from repcore.interfaces import Sample
from repcore_audio.configs.spec_mask_git import DecodingConfig
from repcore_audio.encoders.spec_mask_git import NAME, SpecMaskGit
from repcore_audio.layers.token_decoding import decode
from repcore_audio.preprocessors.given import recording_from
from repcore_audio.preprocessors.spec_tokens import SpecTokensPreprocessor
from repcore_audio.rendering.recordings import coloured, png, wav
from repcore_audio.rendering.tokens import sound_of_image, token_image

AT_ONCE = 16  # sounds decoded side by side; the result does not depend on it
TINY = 1e-20


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was asked for; see its options."""

    like: str | None
    keep_bands: int | None
    keep_seconds: float | None
    seconds: float | None
    count: int
    steps: int
    temperature: float
    choice_noise: float
    seed: int


@dataclass(frozen=True, slots=True)
class Written:
    """Number of sounds, tokens of one, how many of them were kept, and windows of the recording that were not used."""

    sounds: int
    tokens: int
    known: int
    windows_left_out: int


def generate(model: str, output: Path, asked: Asked) -> Written:
    """Write ``00.wav``, ``00.png``, ... and ``tokens.json``.

    Raises:
        ConfigError: the model is of another kind, options that do not go together, or options that leave nothing to
            generate.
    """
    loaded = load(model)
    encoder, preprocessor = loaded.encoder, loaded.preprocessor
    if not isinstance(encoder, SpecMaskGit) or not isinstance(preprocessor, SpecTokensPreprocessor):
        raise ConfigError(f"{model} is no model of {NAME}", hint="repcore audio train spec-mask-git")
    start, left_out = starting_tokens(encoder, preprocessor, asked)
    config = DecodingConfig(
        steps=asked.steps, temperature=asked.temperature, choice_noise=asked.choice_noise, guidance=1.0
    )
    ids = sample_tokens(encoder, start.expand(asked.count, -1), config, asked.seed)
    output.mkdir(parents=True, exist_ok=True)
    assert preprocessor.tokeniser is not None
    patches, front_end = preprocessor.tokeniser.patches(), preprocessor.front_end()
    for number, one in enumerate(ids):
        image = token_image(one, patches, encoder.rows, preprocessor.patch)
        (output / f"{number:02d}.wav").write_bytes(wav(*sound_of_image(image, front_end)))
        shown = image.flip(0).numpy()
        picture = png(coloured(np.asarray(shown), (float(patches.min()), float(patches.max()))))
        (output / f"{number:02d}.png").write_bytes(picture)
    record = {"model": model, "rows": encoder.rows, "columns": ids.shape[1] // encoder.rows, "start": start.tolist(),
              "hidden": encoder.mask_id, "tokens": ids.tolist(), "seed": asked.seed, "steps": asked.steps}  # fmt: skip
    write_text(output / "tokens.json", json.dumps(record))
    return Written(len(ids), ids.shape[1], int((start != encoder.mask_id).sum()), left_out)


def starting_tokens(encoder: SpecMaskGit, preprocessor: SpecTokensPreprocessor, asked: Asked) -> tuple[Tensor, int]:
    """Known tokens of a given recording's first window, all others hidden: int64 (L,); and the number of its other
    windows, which are not used.

    Raises:
        ConfigError: options that do not go together, that are beyond the grid, or that keep everything.
    """
    if asked.like is None:
        if asked.keep_bands is not None or asked.keep_seconds is not None:
            raise ConfigError("--keep-bands and --keep-seconds keep parts of a recording", hint="--like FILE")
        columns = encoder.grid_columns
        if asked.seconds is not None:
            columns = max(1, round(1000 * asked.seconds / _column_ms(preprocessor)))
            if columns > encoder.grid_columns:
                most = encoder.grid_columns * _column_ms(preprocessor) / 1000
                raise ConfigError(
                    f"--seconds {asked.seconds:g} is longer than the model's grid", expected=f"at most {most:g} s"
                )
        return torch.full((encoder.rows * columns,), encoder.mask_id), 0
    if asked.seconds is not None:
        raise ConfigError("--seconds is the length of new sounds; with --like they are as long as the recording")
    given = recording_from(asked.like)
    sample = given if isinstance(given, Sample) else Sample(asked.like, given)
    windows = preprocessor.prepare(sample)
    ids = preprocessor.collate(windows[:1]).inputs["ids"][0]
    place = torch.arange(len(ids))
    columns = len(ids) // encoder.rows
    kept = torch.zeros(len(ids), dtype=torch.bool)
    if asked.keep_bands is not None:
        kept |= place // columns < asked.keep_bands
    if asked.keep_seconds is not None:
        kept |= (place % columns + 1) * _column_ms(preprocessor) <= 1000 * asked.keep_seconds
    if kept.all():
        lasts = columns * _column_ms(preprocessor) / 1000
        raise ConfigError(
            "everything is kept, so that nothing is left to generate",
            got=" ".join(
                f"{name} {value:g}"
                for name, value in (("--keep-bands", asked.keep_bands), ("--keep-seconds", asked.keep_seconds))
                if value is not None
            ),
            limits=f"the grid has {encoder.rows} bands; the window of the recording lasts {lasts:g} s",
            hint=f"--keep-bands below {encoder.rows}, --keep-seconds below {lasts:g}",
        )
    return ids.masked_fill(~kept, encoder.mask_id), len(windows) - 1


def _column_ms(preprocessor: SpecTokensPreprocessor) -> float:
    return preprocessor.patch[1] * preprocessor.config.frame_shift_ms


def sample_tokens(encoder: SpecMaskGit, start: Tensor, config: DecodingConfig, seed: int) -> Tensor:
    """Tokens (N, L) from their start (N, L); clip n depends on ``seed`` and n alone, not on its batch mates."""
    found = []
    for first in range(0, len(start), AT_ONCE):
        part = start[first : first + AT_ONCE]
        generators = [torch.Generator().manual_seed(mix(seed, "generate", first + row)) for row in range(len(part))]
        found.append(_decoded(encoder, part, config, generators))
    return torch.cat(found)


@torch.no_grad()
def _decoded(encoder: SpecMaskGit, start: Tensor, config: DecodingConfig, generators: list[torch.Generator]) -> Tensor:
    """Tokens of one batch, with a generator a clip."""
    condition = encoder.null.expand(len(start), -1)

    def predict(ids: Tensor) -> Tensor:
        return encoder.predict(ids, None, condition)

    def noise(number: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        del number
        drawn = torch.stack([gumbel(shape[1:], one) for one in generators])
        return drawn, torch.stack([gumbel(shape[1:2], one) for one in generators])

    tokens = start
    for step in decode(start, encoder.mask_id, config, predict, noise):
        tokens = step.sampled
    return tokens


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of a Gumbel distribution."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64).clamp(min=TINY)
    return -(-uniform.log()).clamp(min=TINY).log().float()
