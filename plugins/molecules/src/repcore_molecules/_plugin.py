"""What repcore-molecules registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_molecules.registration import gin, molecules, selformer

plugin = Registration(
    PluginInfo(
        title="Molecules",
        domain="molecules",
        api_version=API_VERSION,
        summary="SMILES and SELFIES: SELFormer, GIN",
        docs="README.md",
        licence="Apache-2.0",
    ),
    parts=(molecules, selformer, gin),
)
