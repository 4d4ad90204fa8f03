"""Networks over molecules."""
