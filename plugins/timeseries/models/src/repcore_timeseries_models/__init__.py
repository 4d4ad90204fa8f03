"""Trained models of time series, as files."""
