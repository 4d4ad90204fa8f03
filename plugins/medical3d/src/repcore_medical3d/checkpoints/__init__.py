"""Layouts of the authors' weights."""
