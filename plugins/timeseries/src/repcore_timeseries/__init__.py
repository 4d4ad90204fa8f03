"""Timeseries for repcore; ``_plugin`` says what there is."""
