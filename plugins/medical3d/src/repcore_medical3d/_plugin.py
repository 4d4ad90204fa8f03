"""What repcore-medical3d registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_medical3d.registration import adam_v2, alice, edges_and_places, images, restore, volumes

plugin = Registration(
    PluginInfo(
        title="Medical images",
        domain="medical3d",
        api_version=API_VERSION,
        summary="CT and MR volumes and radiographs: Alice and Adam-v2, in two and three dimensions",
        licence="Apache-2.0",
    ),
    parts=(images, volumes, adam_v2, alice, restore, edges_and_places),
)
