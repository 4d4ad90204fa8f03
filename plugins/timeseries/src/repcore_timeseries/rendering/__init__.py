"""Pictures of series."""
