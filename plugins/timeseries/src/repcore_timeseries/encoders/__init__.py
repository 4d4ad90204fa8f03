"""Encoders of series."""
