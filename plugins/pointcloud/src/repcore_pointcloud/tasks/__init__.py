"""Supervised heads for fine-tuning."""
