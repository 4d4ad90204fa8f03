"""Random views of series."""
