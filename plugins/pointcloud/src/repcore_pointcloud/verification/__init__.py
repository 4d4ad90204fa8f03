"""Replay of golden data through the public classes."""
