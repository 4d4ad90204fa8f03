"""Trained models of medical images, as files."""
