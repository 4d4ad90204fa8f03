"""Replay of golden data through this plugin's public classes."""
