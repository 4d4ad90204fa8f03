"""Label-free losses for graphs."""
