"""Replay of golden folders."""
