"""Fitted on frozen features, after training."""
