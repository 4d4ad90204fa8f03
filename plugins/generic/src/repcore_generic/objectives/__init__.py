"""Losses around any encoder."""
