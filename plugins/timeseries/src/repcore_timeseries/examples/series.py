"""Tiny configurations and batches: ``(config, batch)`` of the encoder and of every objective; files for the readers."""

from __future__ import annotations

from repcore.interfaces import Batch, Item
from repcore_timeseries.configs.autotcl import AugmenterConfig, AutoTCLConfig
from repcore_timeseries.configs.encoders import ChannelwiseConfig, DilatedConfig
from repcore_timeseries.configs.series import SensorsConfig, SeriesPreprocessorConfig
from repcore_timeseries.configs.ts2vec import TS2VecConfig
from repcore_timeseries.datasets.sensors import Sensors
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.preprocessors.series import SeriesPreprocessor


def _batch() -> Batch:
    reader = Sensors(SensorsConfig(items=4, shortest=24, longest=32))
    preprocessor = SeriesPreprocessor(SeriesPreprocessorConfig())
    preprocessor.fit(reader, range(4))
    return preprocessor.collate([preprocessor.prepare(reader[row])[0] for row in range(4)])


def dilated() -> tuple[DilatedConfig, Batch]:
    """Three blocks of width 8."""
    return DilatedConfig(channels=2, hidden=8, depth=2, width=12, kernels=(1, 2)), _batch()


def channelwise() -> tuple[ChannelwiseConfig, Batch]:
    """Three blocks, one slot less than two channels need."""
    reader = Sensors(SensorsConfig(items=4, shortest=24, longest=32))
    preprocessor = SeriesPreprocessor(SeriesPreprocessorConfig(channels="any"))
    batch = preprocessor.collate([preprocessor.prepare(reader[row])[0] for row in range(4)])
    return ChannelwiseConfig(hidden=8, depth=2, width=6, slots=35, level_slots=16), batch


def ts2vec() -> tuple[TS2VecConfig, Batch]:
    """Default settings."""
    return TS2VecConfig(), _batch()


def autotcl() -> tuple[AutoTCLConfig, Batch]:
    """A small augmenter and few stretches."""
    return AutoTCLConfig(augmenter=AugmenterConfig(hidden=6, depth=1, width=4), local_segments=6), _batch()


def forecast() -> tuple[DilatedEncoder, list[list[Item]]]:
    """A small encoder and two series of 1,000 minutes."""
    reader = Sensors(SensorsConfig(items=2, shortest=1000, longest=1000))
    preprocessor = SeriesPreprocessor(SeriesPreprocessorConfig())
    preprocessor.fit(reader, range(2))
    encoder = DilatedEncoder(DilatedConfig(channels=2, hidden=4, depth=1, width=6))
    return encoder, [preprocessor.prepare(reader[row]) for row in range(2)]
