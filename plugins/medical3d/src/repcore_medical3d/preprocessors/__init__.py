"""From a sample to a batch; saved with the model."""
