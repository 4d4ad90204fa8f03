"""Training runs on Lightning: the only package that imports it.

Reading order: ``run`` (from settings to a finished run folder), ``module`` (one optimiser step), ``loaders`` (the
endless stream), ``callbacks`` (metrics, validation, diagnostics, checkpoints, interruption), ``run_folder``.
"""
