"""File formats of molecules that are no tables."""
