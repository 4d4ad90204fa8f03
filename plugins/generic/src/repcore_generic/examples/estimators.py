"""Settings with which an estimator is fitted in a moment."""

from __future__ import annotations

from repcore_generic.configs.estimators import LabelShiftConfig, SparseCodesConfig


def sparse_codes() -> SparseCodesConfig:
    """A small dictionary and few steps."""
    return SparseCodesConfig(features=16, k=3, steps=60, batch_size=128)


def label_shift() -> LabelShiftConfig:
    """Few starts and updates."""
    return LabelShiftConfig(starts=4, updates=200)
