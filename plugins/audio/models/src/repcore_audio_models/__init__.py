"""Trained models of recordings, as files."""
