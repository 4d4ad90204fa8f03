"""Readers of recordings in the layouts people use, and a generated set of sounds."""
