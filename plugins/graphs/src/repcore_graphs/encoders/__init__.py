"""Networks that turn a batch of graphs into node, edge and graph embeddings."""
