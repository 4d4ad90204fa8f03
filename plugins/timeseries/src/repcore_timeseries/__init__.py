"""Time series for repcore: AutoTCL and TS2Vec, with readers, a forecast probe and generated sensors.

Reading path: ``_plugin`` (what exists), ``configs`` (every setting), ``layers/dilated`` and ``encoders/dilated`` (the
network), ``objectives/ts2vec`` and ``objectives/autotcl`` (how it learns), ``formats`` and ``datasets`` (files).
"""
