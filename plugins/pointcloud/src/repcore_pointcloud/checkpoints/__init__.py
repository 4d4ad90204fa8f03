"""Layouts of published weights."""
