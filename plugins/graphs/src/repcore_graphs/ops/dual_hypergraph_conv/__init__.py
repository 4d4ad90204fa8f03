"""Dual hypergraph convolution: the definition on incidence lists, and the form that uses two end points an edge."""
