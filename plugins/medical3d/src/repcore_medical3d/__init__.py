"""Medical images for repcore: Alice on volumes, Adam-v2 on radiographs and volumes, with their data and training.

Reading path: ``_plugin`` and ``registration`` (what exists), ``configs`` (every setting), ``encoders`` (the networks),
``objectives`` (how they learn), ``data`` (readers, spacing, intensities), ``verification`` (parity with the papers).
"""
