"""From recordings to normalised log-mel spectrograms and batches."""
