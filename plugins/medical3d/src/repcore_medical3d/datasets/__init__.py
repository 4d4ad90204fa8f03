"""Readers of users' files and generated data sets."""
