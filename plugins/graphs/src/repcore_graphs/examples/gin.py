"""A tiny configuration and batch of ``graphs/gin``, for checks and documentation."""

from __future__ import annotations

from repcore.interfaces import Batch
from repcore_graphs.configs.gin import FamiliesConfig, GraphGinConfig, SignalGraphConfig
from repcore_graphs.datasets.families import Families
from repcore_graphs.preprocessors.signal_graph import SignalGraphPreprocessor


def gin() -> tuple[GraphGinConfig, Batch]:
    """Two layers of width 8, and four generated graphs."""
    reader = Families(FamiliesConfig(size=4, most_nodes=14))
    preprocessor = SignalGraphPreprocessor(SignalGraphConfig())
    items = [preprocessor.prepare(reader[index])[0] for index in range(len(reader))]
    return GraphGinConfig(width=8, signal_width=4, layers=2, readout_width=12), preprocessor.collate(items)
