"""Weights on disk: safe reading of published files, key maps with a load report, and this project's model folders."""
