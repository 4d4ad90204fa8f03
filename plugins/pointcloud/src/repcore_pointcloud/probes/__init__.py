"""Evaluation protocols of the domain that core has no place for."""
