"""Readers of molecule tables and the guessing of their columns."""
