"""What repcore-pointcloud registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_pointcloud.registration import fac, i2p_mae, vbreg

plugin = Registration(
    PluginInfo(
        title="Point clouds",
        domain="pointcloud",
        api_version=API_VERSION,
        summary="Shapes and scenes: I2P-MAE with a 2D guide, FAC with region contrast; registration with VBReg",
        licence="Apache-2.0",
    ),
    parts=(i2p_mae, fac, vbreg),
)
