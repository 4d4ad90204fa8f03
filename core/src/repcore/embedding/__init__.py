"""From data to vectors: loading a model folder, batched inference that keeps every row, and file writers."""
