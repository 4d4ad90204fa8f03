"""Label-free losses on spectrograms."""
