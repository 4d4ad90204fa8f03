"""Label-free losses."""
