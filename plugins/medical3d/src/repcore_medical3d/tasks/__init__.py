"""Supervised tasks for fine-tuning."""
