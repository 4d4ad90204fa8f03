"""Random views of graphs for objectives of any kind."""
