"""Settings. Standard library only; every field has a help text."""
