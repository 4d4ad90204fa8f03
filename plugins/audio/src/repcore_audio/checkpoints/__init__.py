"""Layouts of published audio weights."""
