"""What repcore-audio registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import PluginInfo
from repcore_audio.registration import recordings, ssamba, w2v_bert

plugin = Registration(
    PluginInfo(
        title="Audio",
        domain="audio",
        api_version=API_VERSION,
        summary="Recordings: SSAMBA (state space, linear cost) and W2v-BERT (Conformer with learned codes)",
        licence="Apache-2.0",
    ),
    parts=(recordings, ssamba, w2v_bert),
)
