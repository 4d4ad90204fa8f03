"""What repcore-audio registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_audio.registration import recordings, spec_mask_git, ssamba, w2v_bert

plugin = Registration(
    PluginInfo(
        title="Audio",
        domain="audio",
        api_version=API_VERSION,
        summary="Recordings: SSAMBA (state space), W2v-BERT (learned codes), SpecMaskGIT (generation)",
        licence="Apache-2.0",
    ),
    parts=(recordings, ssamba, w2v_bert, spec_mask_git),
)
