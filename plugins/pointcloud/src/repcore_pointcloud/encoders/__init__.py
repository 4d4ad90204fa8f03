"""Networks that turn clouds into features."""
