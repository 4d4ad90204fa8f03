"""What repcore-timeseries-models registers: every model folder beside this file."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import ModelSpec, PluginInfo, models_in


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Time series: trained models",
        domain="timeseries",
        api_version=API_VERSION,
        summary="Small trained models of time series",
        docs="README.md",
        licence="each model's card says its own",
    )


@hookimpl
def repcore_models() -> list[ModelSpec]:
    return models_in("repcore_timeseries_models")
