"""What core itself registers: versioned probes, fine-tuning tasks and embedding writers; their names have no domain."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import PluginInfo


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(title="Core", domain="core", api_version=API_VERSION, summary="Probes, tasks and writers")
