"""Tiny settings and batches of W2v-BERT, for conformance checks and documentation."""

from __future__ import annotations

from repcore.interfaces import Batch
from repcore_audio.configs.w2v_bert import CodeTargetsConfig, W2vBertConfig
from repcore_audio.examples.ssamba import MEL_BINS, batch


def w2v_bert() -> tuple[W2vBertConfig, Batch]:
    """Two layers behind convolutions over three clips of different lengths."""
    config = W2vBertConfig(
        width=16, depth=2, heads=2, feed_forward_width=32, kernel=5, left_positions=4, right_positions=2, channels=4,
        mel_bins=MEL_BINS,
    )  # fmt: skip
    return config, batch()


def code_targets() -> tuple[CodeTargetsConfig, Batch]:
    """Two groups of eight codes."""
    return CodeTargetsConfig(groups=2, codebook=8, code_width=16, contrast_width=8, negatives=4, span=3), batch()
