"""Readers of series, and generated sensors."""
