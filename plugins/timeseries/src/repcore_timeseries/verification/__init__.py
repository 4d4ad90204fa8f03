"""Replays of golden data."""
