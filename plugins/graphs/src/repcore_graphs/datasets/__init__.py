"""Readers of graph files, and the generated default data set."""
