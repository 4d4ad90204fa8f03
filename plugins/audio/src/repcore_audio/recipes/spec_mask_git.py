"""Runs of SpecMaskGIT: ``tiny`` learns something in a minute, ``small`` needs hours, ``paper`` is as published."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_audio.configs.recordings import SoundsConfig
from repcore_audio.configs.spec_mask_git import MaskedCodesConfig, SpecMaskGitConfig, SpecTokensConfig

NAME, SOUNDS, TOKENS = "audio/spec-mask-git", "audio/sounds", "audio/spec-tokens"


def tiny() -> RunConfig:
    """Short clips on a CPU: patches of 8 bins and 8 frames, 128 centres, three blocks of width 96."""
    return RunConfig(
        encoder=Part(NAME, SpecMaskGitConfig(width=96, depth=3, heads=4)),
        objective=Part(NAME, MaskedCodesConfig()),
        dataset=Part(SOUNDS, SoundsConfig()),
        preprocessor=Part(
            TOKENS, SpecTokensConfig(mel_bins=64, frames=160, patch_frequency=8, patch_time=8, codes=128)
        ),
        data=DataConfig(batch_size=16),
        optimiser=OptimiserConfig(lr=1e-3, betas=(0.9, 0.96), weight_decay=0.03, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=30),
        trainer=TrainerConfig(steps=300),
    )


def small() -> RunConfig:
    """Six blocks of width 256, 512 codes of a trained quantiser, patches of 8 bins and 4 frames."""
    short = tiny()
    tokens = SpecTokensConfig(
        mel_bins=64, frames=160, patch_frequency=8, patch_time=4, codes=512, tokeniser="vq", tokeniser_steps=5000
    )
    return replace(
        short,
        encoder=Part(NAME, SpecMaskGitConfig(width=256, depth=6, heads=8)),
        preprocessor=Part(TOKENS, tokens),
        schedule=ScheduleConfig(name="cosine", warmup_steps=500),
        trainer=TrainerConfig(steps=10_000),
    )


def paper() -> RunConfig:
    """The published sizes: ten seconds at 22.05 kHz, 5 x 53 tokens of 1,024 codes, about 170 million parameters."""
    rate = 22_050
    tokens = SpecTokensConfig(
        sample_rate_hz=rate, frame_length_ms=1000 * 1024.5 / rate, frame_shift_ms=1000 * 260.5 / rate, tokeniser="vq",
        tokeniser_steps=50_000, tokeniser_patches=500_000, code_width=256,
    )  # fmt: skip
    return replace(
        tiny(),
        encoder=Part(NAME, SpecMaskGitConfig()),
        dataset=Part(SOUNDS, SoundsConfig(seconds=10.0, sample_rate_hz=rate)),
        preprocessor=Part(TOKENS, tokens),
        data=DataConfig(batch_size=256),
        optimiser=OptimiserConfig(lr=1e-4, betas=(0.9, 0.96), weight_decay=0.03, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=5000),
        trainer=TrainerConfig(steps=500_000),
    )
