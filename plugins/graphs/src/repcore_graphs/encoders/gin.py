"""GIN over structure and signals: an encoder whose input is the same for all graphs, whatever features they have.

Source: Xu et al. 2019 (arXiv 1810.00826) for the network: a node's update is a small network of its own vector plus the
sum over its neighbours. Differs: layers are residual with a layer norm (no statistics of a batch), a sum is divided by
the root of the number of its parts, messages pass a linear layer and a ReLU. A node begins as what the structure says
of it (degree, core, triangles, chances of walks to be back) beside its columns: each is read by the same small network
as a signal on the graph, and put in a place by its number; where columns share a place, each turn has an order and
signs of its own (random, the same in every run), so that what is added up can still be told apart.

Symbols: B graphs, N nodes, A arcs, T pairs of a node and a column, D width, S structure features, R readout width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_graphs.configs.gin import GraphGinConfig
from repcore_graphs.layers.readout import pool_by_graph
from repcore_graphs.ops.structure import FEATURES
from repcore_graphs.preprocessors.signals import WIDTH
from repcore_graphs.preprocessors.statistics import EDGE_PLACES, NODE_PLACES

NAME, LEVEL = "graphs/gin", "node"
POOLINGS = ("readout", "node-mean", "node-sum", "node-max")
PLACES = NODE_PLACES + EDGE_PLACES
TURNS = 32  # orders and signs; then the first come again
HIDDEN = 32  # of the network that reads a column
FULL = 16.0  # nodes: what a graph's sum is divided by, with a quarter of its own, so that it stays bounded


class GinLayer(nn.Module):
    """``h + MLP(norm(h) + sum over neighbours of relu(W norm(h)) / sqrt(1 + number of neighbours))``.

    Call:
        nodes: float (N, D). source, target: int64 (A,). scale: float (N, 1), of the sum.
    Returns:
        float (N, D).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.message = nn.Linear(width, width, bias=False)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        own = self.norm(nodes)
        message = torch.relu(self.message(own)).index_select(0, source)
        heard = torch.zeros_like(own).index_add(0, target, message.to(own.dtype))
        changed: Tensor = nodes + self.network(own + heard * scale.to(own.dtype))
        return changed


class GraphGin(nn.Module):
    """Encoder ``graphs/gin``.

    Args:
        config: see :class:`GraphGinConfig`.

    Call:
        batch.inputs: as :class:`repcore_graphs.preprocessors.signal_graph.SignalGraphPreprocessor` collates
            them.
    Returns:
        pooled (B, R); level ``node``, float (N, D), ragged.

    Raises:
        ShapeError: wrong shapes, or numbers of nodes or graphs that are not there.
    """

    poolings = POOLINGS
    orders: Tensor  # int64 (TURNS, signal width)
    signs: Tensor  # float (TURNS, signal width)

    def __init__(self, config: GraphGinConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.readout_width
        width, column = config.width, config.signal_width
        self.signal = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, column))
        self.embedding = nn.Linear(FEATURES + PLACES * column, width)
        self.layers = nn.ModuleList(GinLayer(width) for _ in range(config.layers))
        self.readout_norm = nn.LayerNorm(6 * width)
        self.readout = nn.Sequential(
            nn.Linear(6 * width, self.dim), nn.GELU(), nn.Linear(self.dim, self.dim)
        )  # fmt: skip
        self.readout_skip = nn.Linear(6 * width, self.dim)
        orders, signs = _turns(column)
        self.register_buffer("orders", orders, persistent=False)
        self.register_buffer("signs", signs, persistent=False)

    def token_width(self, level: str = LEVEL) -> int:
        """Width of nodes."""
        del level  # there is one
        return self.config.width

    def forward(self, batch: Batch) -> Features:
        inputs = self._checked(batch)
        structure = inputs["structure"]
        source, target = inputs["edge_index"]
        first = self.embedding(torch.cat([structure, self.read_columns(inputs)], 1))
        count = structure.new_zeros(len(structure)).index_add(0, target, torch.ones_like(target, dtype=structure.dtype))
        nodes, scale = first, torch.rsqrt(1 + count)[:, None]
        for layer in self.layers:
            nodes = layer(nodes, source, target, scale)
        pooled = self._read(torch.cat([first, nodes], 1), inputs["graph"], batch.size)
        return Features(
            pooled=pooled, tokens={LEVEL: Tokens(nodes, owner=inputs["graph"])}, extras={"graphs": batch.size}
        )

    def read_columns(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """All columns of each node, float (N, PLACES * signal width)."""
        number, count = inputs["signal_column"], len(inputs["structure"])
        read = self.signal(inputs["signals"])
        of_edges = number < 0
        number = torch.where(of_edges, -1 - number, number)
        places = torch.where(of_edges, EDGE_PLACES, NODE_PLACES)
        turn = torch.div(number, places, rounding_mode="floor") % TURNS
        read = read.gather(1, self.orders[turn]) * self.signs[turn].to(read.dtype)
        place = number % places + torch.where(of_edges, NODE_PLACES, 0)
        joined = read.new_zeros(count * PLACES, read.shape[1])
        return joined.index_add(0, inputs["signal_node"] * PLACES + place, read).view(count, -1)

    def _read(self, nodes: Tensor, graph: Tensor, count: int) -> Tensor:
        """(N, 2 D) -> (B, R)."""
        nodes = nodes.to(torch.promote_types(nodes.dtype, torch.float32))
        mean, total, largest = pool_by_graph(nodes, graph, count, how=("mean", "sum", "max")).chunk(3, 1)
        sizes = nodes.new_zeros(count, 1).index_add(0, graph, torch.ones_like(nodes[:, :1]))
        normed = self.readout_norm(torch.cat([mean, total / (FULL + sizes / 4), largest], 1))
        pooled: Tensor = self.readout(normed) + self.readout_skip(normed)
        return pooled

    def pool(self, features: Features, name: str) -> Tensor:
        """``readout``, or mean, sum or maximum of nodes, float (B, D).

        Raises:
            ConfigError: unknown name.
        """
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        if name == "readout":
            return features.pooled
        tokens = features.tokens[LEVEL]
        assert tokens.owner is not None
        how = name.removeprefix("node-")
        return pool_by_graph(tokens.values, tokens.owner, features.extras["graphs"], how=(how,))

    def _checked(self, batch: Batch) -> Mapping[str, Tensor]:
        inputs = batch.inputs
        names = ("structure", "edge_index", "graph", "signals", "signal_node", "signal_column")
        if not isinstance(inputs, Mapping) or any(name not in inputs for name in names):
            raise ShapeError(f"{NAME} expects batch.inputs with {', '.join(names)}", got=type(inputs).__name__)
        sizes = check_shape(inputs["structure"], f"N {FEATURES}", name="structure", owner=NAME)
        check_shape(inputs["edge_index"], "2 A", name="edge_index", owner=NAME, bound=sizes)
        check_shape(inputs["graph"], "N", name="graph", owner=NAME, bound=sizes)
        check_shape(inputs["signals"], f"T {WIDTH}", name="signals", owner=NAME, bound=sizes)
        check_shape(inputs["signal_node"], "T", name="signal_node", owner=NAME, bound=sizes)
        check_shape(inputs["signal_column"], "T", name="signal_column", owner=NAME, bound=sizes)
        if inputs["structure"].device.type == "cpu" and not torch.compiler.is_compiling():
            for name, count in (("edge_index", sizes["N"]), ("signal_node", sizes["N"]), ("graph", batch.size)):
                _check_places(name, inputs[name], count)
        return inputs


def _check_places(name: str, numbers: Tensor, count: int) -> None:
    """Refuse numbers of nodes or graphs that are not there."""
    if not numbers.numel():
        return
    low, high = (int(one) for one in torch.aminmax(numbers))
    if low < 0 or high >= count:
        raise ShapeError(
            f"{name} holds numbers from {low} to {high}; the batch has {count}",
            hint="numbers run through the batch from 0, as SignalGraphPreprocessor.collate makes them",
        )


def _turns(width: int) -> tuple[Tensor, Tensor]:
    """Order and signs of a column's numbers by turn (TURNS, width): those of the first are as they come."""
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(width, generator=generator) for _ in range(TURNS)])
    signs = torch.randint(2, (TURNS, width), generator=generator) * 2.0 - 1
    orders[0], signs[0] = torch.arange(width), 1.0
    return orders, signs
