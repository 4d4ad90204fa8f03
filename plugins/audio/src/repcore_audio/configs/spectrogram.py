"""Settings of the log-mel front end. The defaults are Kaldi's filter bank as the published models use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """From a recording to normalised log-mel frames."""

    sample_rate_hz: int = field(
        default=16_000, metadata={"help": "recordings are resampled to this", "unit": "Hz", "min": 1}
    )
    mel_bins: int = field(
        default=128, metadata={"help": "filters of the bank, from 20 Hz to half the sampling rate", "min": 1}
    )
    frame_length_ms: float = field(default=25.0, metadata={"help": "length of a frame", "unit": "ms", "above": 0})
    frame_shift_ms: float = field(default=10.0, metadata={"help": "distance between frames", "unit": "ms", "above": 0})
    frames: int = field(
        default=1024,
        metadata={
            "help": "longest clip that the encoder sees at once; longer recordings become windows",
            "unit": "frames",
            "min": 1,
        },
    )
    length: Literal["variable", "fixed"] = field(
        default="variable",
        metadata={
            "help": "variable: clips keep their length, padding is marked and never seen; fixed: every clip is padded "
            "or cut to `frames` and padding is seen, as published"
        },
    )
    frame_multiple: int = field(
        default=16,
        metadata={
            "help": "variable clips are filled up with silence to a multiple of this",
            "unit": "frames",
            "min": 1,
        },
    )
    long_recordings: Literal["windows", "cut"] = field(
        default="windows", metadata={"help": "windows: all of a long recording, `frames` at a time; cut: its beginning"}
    )
    mean: float | None = field(
        default=None, metadata={"help": "of log-mel values; from the training split when left out", "unit": "log power"}
    )
    deviation: float | None = field(
        default=None,
        metadata={"help": "of log-mel values; from the training split when left out", "unit": "log power", "above": 0},
    )
    statistics_clips: int = field(
        default=2000, metadata={"help": "most recordings that mean and standard deviation are taken from", "min": 1}
    )
    remainder: Literal["fill", "drop"] = field(
        default="fill",
        metadata={"help": "frames behind the last multiple: filled up with silence, or dropped (released W2v-BERT)"},
    )
    window: Literal["hann", "povey"] = field(
        default="hann", metadata={"help": "shape of a frame: hann, or Kaldi's povey (hann to the power of 0.85)"}
    )
    amplitude: float = field(
        default=1.0,
        metadata={"help": "factor on samples, which moves the floor of the power; Kaldi's is 32768", "above": 0},
    )
    normalisation: Literal["data", "clip"] = field(
        default="data",
        metadata={
            "help": "data: one mean and standard deviation of all training clips; clip: those of every mel bin over "
            "the window itself, padding is then 0 (released W2v-BERT)"
        },
    )
    padding: Literal["silence", "zero"] = field(
        default="silence",
        metadata={"help": "log-mel value of padding: that of digital silence, or 0, which is louder (published)"},
    )
    normalise_before_padding: bool = field(
        default=False, metadata={"help": "pad with 0 after normalising, as the published SUPERB wrapper does"}
    )
    remove_waveform_mean: bool = field(
        default=True, metadata={"help": "subtract the mean of the whole recording first"}
    )
    silence_db: float = field(
        default=-70.0,
        metadata={
            "help": "recordings whose peak is below this are marked silent",
            "unit": "dB of full scale",
            "min": -300,
            "max": 300,
        },
    )
    clipped_share: float = field(
        default=0.001,
        metadata={
            "help": "recordings with a larger share of samples at full scale are marked clipped",
            "min": 0,
            "max": 1,
        },
    )


AUDIOSET_STATISTICS = (-4.2677393, 4.5689974)
ESC50_STATISTICS = (-6.6268077, 5.358466)
SPEECH_COMMANDS_STATISTICS = (-6.845978, 5.5654526)
URBAN_SOUND_STATISTICS = (-5.138443946838379, 4.229961395263672)

PUBLISHED_LOG_MEL = replace(
    LogMelConfig(), length="fixed", padding="zero", mean=AUDIOSET_STATISTICS[0], deviation=AUDIOSET_STATISTICS[1]
)
"""What the released models were pre-trained on: 1024 frames, AudioSet and LibriSpeech statistics."""

RELEASED_FILTER_BANK = LogMelConfig(
    mel_bins=80,
    window="povey",
    amplitude=32768.0,
    normalisation="clip",
    frames=3000,
    frame_multiple=2,
    remainder="drop",
    remove_waveform_mean=False,
)
"""Front end of the released W2v-BERT encoder, up to 30 s at once."""
