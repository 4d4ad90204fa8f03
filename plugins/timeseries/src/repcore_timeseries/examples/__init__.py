"""Tiny inputs for the conformance checks."""
