"""What repcore-timeseries registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_timeseries.registration import any_series, autotcl, series, ts2vec

plugin = Registration(
    PluginInfo(
        title="Time series",
        domain="timeseries",
        api_version=API_VERSION,
        summary="Sensor data: TS2Vec and AutoTCL, readers of archives and tables with time stamps, a forecast probe",
        licence="Apache-2.0",
    ),
    parts=(series, any_series, ts2vec, autotcl),
)
