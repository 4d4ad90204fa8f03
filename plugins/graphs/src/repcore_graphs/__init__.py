"""Graphs for repcore: edges as first-class citizens, after "Edge Representation Learning with Hypergraphs" (EHGNN).

Reading order: ``ops/dht.py`` (edges become dual nodes), ``ops/dual_hypergraph_conv`` (message passing between edges),
``ops/edge_pooling.py`` and ``ops/cluster_pooling.py`` (HyperDrop and HyperCluster), ``encoders/ehgnn.py`` (the
network), ``objectives/`` (label-free losses), ``datasets/`` and ``preprocessors/`` (from files to batches).
"""
