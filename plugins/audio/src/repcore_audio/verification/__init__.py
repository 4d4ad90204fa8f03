"""Replays of golden audio data."""
