"""Readers of users' files and generated shapes."""
