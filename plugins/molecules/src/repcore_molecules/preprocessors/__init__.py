"""From samples to batches of token ids, saved with the model."""
