"""Trained models of sounds, as files."""
