"""Supervised tasks on graphs and on nodes."""
