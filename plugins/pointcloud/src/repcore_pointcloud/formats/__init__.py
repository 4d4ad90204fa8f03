"""File formats: one file in, values out."""
