"""What repcore-graphs registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_graphs.registration import ehgnn, gin, graphs

plugin = Registration(
    PluginInfo(
        title="Graphs",
        domain="graphs",
        api_version=API_VERSION,
        summary="Edge representation learning with dual hypergraphs (EHGNN)",
        docs="README.md",
        licence="Apache-2.0",
    ),
    parts=(graphs, ehgnn, gin),
)
