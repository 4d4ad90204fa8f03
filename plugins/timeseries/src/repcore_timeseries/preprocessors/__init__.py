"""From series to batches."""
