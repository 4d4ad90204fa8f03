"""Converters of weights trained with the published code."""
