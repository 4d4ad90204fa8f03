"""Evaluation protocols of the domain."""
