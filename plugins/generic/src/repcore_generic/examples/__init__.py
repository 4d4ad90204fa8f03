"""Tiny settings and batches of every part, for conformance checks and documentation."""
