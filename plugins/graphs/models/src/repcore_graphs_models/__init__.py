"""Trained models of graphs, as files."""
