"""Runs of W2v-BERT: ``tiny`` learns something in a minute, ``small`` needs hours, ``large`` is the published size."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_audio.configs.recordings import SoundsConfig
from repcore_audio.configs.spectrogram import RELEASED_FILTER_BANK, LogMelConfig
from repcore_audio.configs.w2v_bert import PUBLISHED_LARGE, CodeTargetsConfig, W2vBertConfig

NAME, SOUNDS, LOG_MEL = "audio/w2v-bert", "audio/sounds", "audio/log-mel"
# With 0.1, as published, codes collapsed on spoken digits within 500 steps (perplexity 19, 3 and 1 of 64, three seeds);
# with 0.5 on one of two seeds (7), with 1 on none of two (45 and 46 after 300 steps).
DIVERSITY = 1.0


def tiny() -> RunConfig:
    """Short clips on a CPU: two lower and two upper layers of width 96, frames of 20 ms, 64 codes."""
    encoder = W2vBertConfig(
        width=96, depth=4, heads=4, feed_forward_width=192, kernel=15, left_positions=32, front_end="stacked",
        pooling="segments",
    )  # fmt: skip
    objective = CodeTargetsConfig(
        codebook=64, code_width=64, contrast_width=64, negatives=30, diversity_weight=DIVERSITY
    )
    return RunConfig(
        encoder=Part(NAME, encoder),
        objective=Part(NAME, objective),
        dataset=Part(SOUNDS, SoundsConfig()),
        preprocessor=Part(LOG_MEL, LogMelConfig(mel_bins=64, frames=192, frame_multiple=4)),
        data=DataConfig(batch_size=16),
        optimiser=OptimiserConfig(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=30),
        trainer=TrainerConfig(steps=300),
    )


def small() -> RunConfig:
    """Four lower and four upper layers of width 256, frames of 40 ms, 256 codes."""
    short = tiny()
    return replace(
        short,
        encoder=Part(NAME, W2vBertConfig(kernel=15)),
        objective=Part(
            NAME,
            CodeTargetsConfig(
                codebook=256, code_width=256, contrast_width=64, negatives=50, diversity_weight=DIVERSITY
            ),
        ),
        preprocessor=Part(LOG_MEL, LogMelConfig(mel_bins=80, frames=1000, frame_multiple=8)),
        schedule=ScheduleConfig(name="cosine", warmup_steps=400),
        trainer=TrainerConfig(steps=5000),
    )


def large() -> RunConfig:
    """The size of the released encoder, 580 million parameters; bring your own data, or go on from its weights."""
    objective = CodeTargetsConfig(lower_layers=8, tau_end=0.1, tau_decay=0.999995)
    return replace(
        tiny(),
        encoder=Part(NAME, PUBLISHED_LARGE),
        objective=Part(NAME, objective),
        dataset=Part(SOUNDS, SoundsConfig(seconds=10.0)),
        preprocessor=Part(LOG_MEL, RELEASED_FILTER_BANK),
        data=DataConfig(batch_size=32),
        schedule=ScheduleConfig(name="cosine", warmup_steps=32_000),
        trainer=TrainerConfig(steps=400_000),
    )
