"""Replays of golden folders."""
