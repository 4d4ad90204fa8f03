"""Trained models of molecules, as files."""
