"""Trained models of point clouds, as files."""
