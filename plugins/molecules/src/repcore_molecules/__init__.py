"""The molecules plugin of repcore."""
