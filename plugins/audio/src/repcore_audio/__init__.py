"""Audio for repcore: SSAMBA, a bidirectional state-space encoder of log-mel spectrograms, with its data and training.

Reading path: ``_plugin`` (what exists), ``configs`` (every setting), ``encoders/ssamba`` (how it works),
``ops/selective_scan`` (why it is fast), ``objectives/ssamba`` (how it learns).
"""
