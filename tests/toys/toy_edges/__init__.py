"""PyG batches with edge tokens and masked edge attributes."""
