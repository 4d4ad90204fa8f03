"""Trained models of scans and radiographs, as files."""
