"""Index-only operations on graphs and their dual hypergraphs."""
