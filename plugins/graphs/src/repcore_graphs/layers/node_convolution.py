"""Node convolutions with one call form: ``conv(graph, nodes, edges, edge_weight) -> nodes``.

GCN and GIN are torch-geometric's; the third is the edge-aware GCN of the published OGB model.

Symbols: N nodes, A arcs, E edges, D features in, H features out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from repcore.errors import ConfigError
from repcore.nn.products import product
from repcore_graphs.ops.sums import are_bags_usable, weighted_sums
from repcore_graphs.tensors import GraphTensors

NodeConvolution = Literal["gcn", "gin", "gcn-edge"]


class GraphConvolution(nn.Module):
    """GCN with symmetric normalisation on weighted arcs; edge features are not used.

    Source: Kipf and Welling 2017 (arXiv 1609.02907), torch-geometric's ``GCNConv``.
    A unit self loop is added at every node that has no living self edge: also after a self edge was dropped, as in the
    published code, where torch-geometric adds the loop anew in every layer.

    Args:
        in_width / out_width: D and H.
        loops: add these loops and normalise. False is the rule of the published node classifier: no loops, weighted
            arcs are normalised, arcs without weights are summed as they are.
    """

    def __init__(self, in_width: int, out_width: int, *, loops: bool = True) -> None:
        super().__init__()
        self.conv = GCNConv(in_width, out_width, add_self_loops=False, normalize=loops)
        self.loops = loops

    def forward(self, graph: GraphTensors, nodes: Tensor, edges: Tensor | None, edge_weight: Tensor | None) -> Tensor:
        weight = graph.arc_weights(edge_weight)
        if are_bags_usable(nodes):
            return self._by_runs(graph, nodes, weight)
        if not self.loops:
            if weight is not None:
                _, weight = gcn_norm(graph.arcs, weight, graph.num_nodes, add_self_loops=False)
            return self.conv(nodes, graph.arcs, weight)
        weight = nodes.new_ones(graph.arcs.shape[1]) if weight is None else weight.to(nodes.dtype)
        everyone = torch.arange(graph.num_nodes, device=nodes.device)
        arcs = torch.cat([graph.arcs, everyone.expand(2, -1)], dim=1)  # (2, A + N)
        return self.conv(nodes, arcs, torch.cat([weight, self._loop_weights(graph, nodes)]))

    def _loop_weights(self, graph: GraphTensors, nodes: Tensor) -> Tensor:
        """(N,): 1 where a loop is added, 0 where a living self edge is one."""
        source, target = graph.arcs[0], graph.arcs[1]
        alive = (graph.multiplicity > 0)[graph.arc_edge]
        is_loop = ((source == target) & alive).to(nodes.dtype)
        return 1 - nodes.new_zeros(graph.num_nodes).scatter_reduce(0, target, is_loop, "amax", include_self=True)

    def _by_runs(self, graph: GraphTensors, nodes: Tensor, weight: Tensor | None) -> Tensor:
        """The same without a message for every arc, multiplied where rows are narrower.

        The factors of an arc are joined to one number before, so that rows are read once.
        """
        is_normalised = self.loops or weight is not None
        weight = nodes.new_ones(graph.arcs.shape[1]) if weight is None else weight.to(nodes.dtype)
        arcs, into, out_of = graph.arcs_by_node(loops=self.loops)
        if self.loops:
            weight = torch.cat([weight, self._loop_weights(graph, nodes)])
        if is_normalised:
            degree = nodes.new_zeros(graph.num_nodes).index_add(0, arcs[1], weight)
            root = torch.where(degree > 0, degree, 1.0).rsqrt().masked_fill(degree <= 0, 0.0)
            weight = weight * root.index_select(0, arcs[0]) * root.index_select(0, arcs[1])
        is_narrow = nodes.shape[1] < self.conv.out_channels
        matrix = self.conv.lin.weight
        values = weighted_sums(nodes if is_narrow else product(nodes, matrix), weight, arcs, into, out_of)
        if is_narrow:
            return product(values, matrix, self.conv.bias)
        return values if self.conv.bias is None else values.add_(self.conv.bias)  # nobody else has seen them yet


class EdgeAwareGraphConvolution(nn.Module):
    """GCN whose messages contain edge features, as in the published molecule model.

    Source: public repository harryjo97/EHGNN (OGB), after the GCN baseline of the Open Graph Benchmark.
    x = W_n x; messages norm_uv ReLU(x_u + W_e e_uv) with norm = dis_u w dis_v, dis = deg^-1/2, deg = 1 + sum of
    incoming w; plus ReLU(x + root) / deg.

    Args:
        in_width / out_width: D and H.
        edge_width: width of the edge features.
    """

    def __init__(self, in_width: int, out_width: int, *, edge_width: int) -> None:
        super().__init__()
        self.linear_node = nn.Linear(in_width, out_width)
        self.linear_edge = nn.Linear(edge_width, out_width)
        self.root = nn.Embedding(1, out_width)

    def forward(self, graph: GraphTensors, nodes: Tensor, edges: Tensor | None, edge_weight: Tensor | None) -> Tensor:
        if edges is None:
            raise ConfigError("node_conv='gcn-edge' needs edge features")
        nodes = self.linear_node(nodes)
        source, target = graph.arcs[0], graph.arcs[1]
        weight = graph.arc_weights(edge_weight)
        weight = nodes.new_ones(source.shape[0]) if weight is None else weight.to(nodes.dtype)
        degree = nodes.new_ones(graph.num_nodes).index_add(0, target, weight)  # (N,)
        inverse_root = degree.rsqrt()
        norm = inverse_root[source] * weight * inverse_root[target]
        messages = torch.relu(nodes[source] + self.linear_edge(edges)[graph.arc_edge])  # (A, H)
        summed = torch.zeros_like(nodes).index_add(0, target, norm[:, None] * messages)
        return summed + torch.relu(nodes + self.root.weight) / degree[:, None]


class _WeightedGINE(GINEConv):
    """torch-geometric's ``GINEConv`` with a factor a message, so that edge scores reach the loss."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, edge_weight: Tensor) -> Tensor:
        # propagate_type: (x: OptPairTensor, edge_attr: OptTensor, edge_weight: Tensor)
        out = self.propagate(edge_index, x=(x, x), edge_attr=edge_attr, edge_weight=edge_weight)
        return self.nn(out + (1 + self.eps) * x)

    def message(self, x_j: Tensor, edge_attr: Tensor, edge_weight: Tensor) -> Tensor:
        if self.lin is not None:
            edge_attr = self.lin(edge_attr)
        return (x_j + edge_attr).relu() * edge_weight[:, None]


class GraphIsomorphismConvolution(nn.Module):
    """GIN with edge features: MLP((1 + eps) x_v + sum of w ReLU(x_u + W_e e_uv)), eps learned.

    Source: Xu et al. 2019 (arXiv 1810.00826), with edges Hu et al. 2020 (arXiv 1905.12265), torch-geometric's
    ``GINEConv``.

    Args:
        in_width / out_width: D and H.
        edge_width: width of the edge features.
    """

    def __init__(self, in_width: int, out_width: int, *, edge_width: int) -> None:
        super().__init__()
        network = nn.Sequential(nn.Linear(in_width, out_width), nn.ReLU(), nn.Linear(out_width, out_width))
        self.conv = _WeightedGINE(network, train_eps=True)
        self.edge_map = nn.Linear(edge_width, in_width)

    def forward(self, graph: GraphTensors, nodes: Tensor, edges: Tensor | None, edge_weight: Tensor | None) -> Tensor:
        if edges is None:
            raise ConfigError("node_conv='gin' needs edge features")
        weight = graph.arc_weights(edge_weight)
        weight = nodes.new_ones(graph.arcs.shape[1]) if weight is None else weight.to(nodes.dtype)
        # mapped once an edge, then gathered to its arcs
        return self.conv(nodes, graph.arcs, self.edge_map(edges)[graph.arc_edge], weight)


def build_node_convolution(kind: NodeConvolution, in_width: int, out_width: int, *, edge_width: int) -> nn.Module:
    """A node convolution by name.

    Raises:
        ConfigError: unknown name.
    """
    if kind == "gcn":
        return GraphConvolution(in_width, out_width)
    if kind == "gin":
        return GraphIsomorphismConvolution(in_width, out_width, edge_width=edge_width)
    if kind == "gcn-edge":
        return EdgeAwareGraphConvolution(in_width, out_width, edge_width=edge_width)
    raise ConfigError(f"node_conv={kind!r} is not known", expected="'gcn', 'gin' or 'gcn-edge'")
