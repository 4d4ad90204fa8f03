"""From a stored graph to a batch of graphs."""
