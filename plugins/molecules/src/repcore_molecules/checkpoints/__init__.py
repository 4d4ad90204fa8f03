"""Layouts of published weights and how they become models of this plugin."""
