"""Speed of the graph operations against what a user would otherwise run: paired, one thread, medians and spread.

Baselines: ``torch_geometric.nn.HypergraphConv`` on the published incidence list, the published HyperDrop model written
with torch-geometric's own layers, and pooling with a Python loop over graphs. The batch has 128 graphs of the size of
PROTEINS.

    python benchmarks/graphs_speed.py [--quick] [--out benchmarks/results/graphs_speed.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import facts, interleaved, spread, write_result
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, HypergraphConv, global_add_pool, global_max_pool, global_mean_pool
from torch_geometric.nn.pool.select.topk import topk

from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_graphs.configs.ehgnn import published_graph
from repcore_graphs.configs.tasks import GraphTaskConfig
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.ops.dht import dht, pair_arcs
from repcore_graphs.ops.dual_hypergraph_conv.endpoints import dual_hypergraph_conv
from repcore_graphs.ops.edge_pooling import topk_edges
from repcore_graphs.tasks.graph import GraphClassification

GRAPHS, NODES, PAIRS, WIDTH, RATIO = 128, 40, 76, 128, 0.65


def proteins_like(generator: torch.Generator, graphs: int = GRAPHS) -> GraphBatch:
    """Graphs with about the nodes and edges of PROTEINS: neighbours along a chain and some contacts."""
    made = []
    for _ in range(graphs):
        count = int(torch.randint(NODES // 2, NODES + NODES // 2, (1,), generator=generator))
        pairs = {(node, node + 1) for node in range(count - 1)}
        while len(pairs) < count * PAIRS // NODES:
            node = int(torch.randint(count, (1,), generator=generator))
            other = min(count - 1, node + 2 + int(torch.randint(8, (1,), generator=generator)))
            if other > node:
                pairs.add((node, other))
        arcs = [arc for u, v in sorted(pairs) for arc in ((u, v), (v, u))]
        x = torch.randn(count, 4, generator=generator)
        made.append(Data(x=x, edge_index=torch.tensor(arcs).t().contiguous(), y=torch.tensor([count % 2])))
    return GraphBatch.from_data_list(made)


def paired(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each, measured in turns so that noise hits all alike."""
    seconds = interleaved(runs, repeats)
    return {name: spread([1000 * value for value in values], 2) for name, values in seconds.items()}


# ------------------------------------------------------------------------------------------------ one convolution


def convolution(data: GraphBatch, width: int, repeats: int) -> dict[str, Any]:
    """Forward and backward of one dual convolution; the library's incidence list is built in each run, as it must
    be after every drop. Pairing of directions is the data loader's work and not in these times."""
    arcs, nodes = data.edge_index, data.num_nodes
    generator = torch.Generator().manual_seed(0)
    first, arc_edge = pair_arcs(arcs, nodes)
    pair_features = torch.randn(len(first), width, generator=generator)
    both = pair_features[arc_edge].clone().requires_grad_()
    once = pair_features.clone().requires_grad_()
    library = HypergraphConv(width, width)
    weight = library.lin.weight.detach().t().contiguous().requires_grad_()
    bias = library.bias.detach().clone().requires_grad_()
    stored = dht(arcs, nodes)
    half = dht(arcs, nodes, edges="once")
    up_both = torch.randn(arcs.shape[1], width, generator=generator)
    up_once = torch.randn(len(first), width, generator=generator)

    def run_library() -> None:
        incidence = stored.incidence()
        library(both, incidence, num_edges=nodes + arcs.shape[1]).backward(up_both)

    def run_stored() -> None:
        dual_hypergraph_conv(both, arcs, weight, bias, nodes).backward(up_both)

    def run_once() -> None:
        dual_hypergraph_conv(once, half.ends, weight, bias, nodes, multiplicity=half.multiplicity).backward(up_once)

    difference = (
        dual_hypergraph_conv(once, half.ends, weight, bias, nodes, multiplicity=half.multiplicity)[arc_edge]
        - library(both, stored.incidence(), num_edges=nodes + arcs.shape[1])
    ).abs().max()  # fmt: skip
    times = paired({"HypergraphConv": run_library, "as-stored": run_stored, "once": run_once}, repeats)
    base = times["HypergraphConv"]["median"]
    return {
        "width": width,
        "times": times,
        "speedup_as_stored": round(base / times["as-stored"]["median"], 2),
        "speedup_once": round(base / times["once"]["median"], 2),
        "max_difference": float(difference.detach()),
    }


# ---------------------------------------------------------------------------------------------------- full model


class LibraryHyperDrop(nn.Module):
    """The published classifier with torch-geometric's layers: incidence lists, top-k, both directions."""

    def __init__(self, node_width: int, hidden: int, classes: int, layers: int, ratio: float) -> None:
        super().__init__()
        widths = [node_width] + [hidden] * layers
        self.convs = nn.ModuleList(GCNConv(widths[layer], hidden) for layer in range(layers))
        self.edge_convs = nn.ModuleList(HypergraphConv(hidden if layer else 1, hidden) for layer in range(layers - 1))
        self.score_convs = nn.ModuleList(HypergraphConv(hidden, 1) for _ in range(layers - 1))
        self.head = nn.Sequential(
            nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden // 2, classes),
        )  # fmt: skip
        self.ratio = ratio

    def forward(self, data: GraphBatch) -> Tensor:
        x, arcs, batch = data.x, data.edge_index, data.batch
        edges, weight = torch.ones(arcs.shape[1], 1), None
        readout: Any = 0.0
        for layer, conv in enumerate(self.convs):
            x = F.relu(conv(x, arcs, weight))
            readout = readout + torch.cat(
                [global_max_pool(x, batch), global_mean_pool(x, batch), global_add_pool(x, batch)], dim=1
            )
            if layer == len(self.convs) - 1:
                break
            incidence = dht(arcs, data.num_nodes).incidence()
            hyperedges = int(incidence[1].max()) + 1
            edges = F.relu(self.edge_convs[layer](edges, incidence, num_edges=hyperedges))
            score = torch.tanh(self.score_convs[layer](edges, incidence, num_edges=hyperedges).squeeze(-1))
            kept = topk(score, self.ratio, batch[arcs[0]])
            arcs, edges, weight = arcs[:, kept], edges[kept], score[kept].clamp(0, 1)
        return F.log_softmax(self.head(readout), dim=-1)


def full_model(data: GraphBatch, repeats: int) -> dict[str, Any]:
    """Training step (forward, loss, backward) of the published settings, H = 128."""
    library = LibraryHyperDrop(4, WIDTH, 2, 3, RATIO)
    target = TargetSpec("y", "class", names=("0", "1"))

    def ours(**changes: Any) -> GraphClassification:
        config = published_graph(node_width=4, edge_width=0, hidden_width=WIDTH, edge_ratio=RATIO, **changes)
        return GraphClassification(GraphTaskConfig(), EHGNN(config), target)

    collated = data.clone()
    collated.pair_first, collated.arc_edge = pair_arcs(data.edge_index, data.num_nodes)  # done by the data loader
    batch, labels = Batch(inputs=collated, size=GRAPHS), data.y.float()
    models = {
        "as-stored": ours(),
        "once": ours(edges="once"),
        "once, end points": ours(edges="once", edge_init="endpoints"),
    }

    def run_library() -> None:
        F.nll_loss(library(data), data.y).backward()

    def step(model: GraphClassification) -> Callable[[], None]:
        return lambda: model.loss(model(batch), labels).backward()

    runs = {"library": run_library} | {name: step(model) for name, model in models.items()}
    times = paired(runs, repeats)
    base = times["library"]["median"]
    speedups = {name: round(base / times[name]["median"], 2) for name in models}
    return {"times": times, "speedup": speedups}


# ------------------------------------------------------------------------------------------------------- pooling


def pooling(data: GraphBatch, repeats: int) -> dict[str, Any]:
    """Top-k of all graphs at once against a loop."""
    owner = data.batch[data.edge_index[0]]
    score = torch.randn(owner.numel(), generator=torch.Generator().manual_seed(0))

    def loop() -> Tensor:
        parts = []
        for graph in range(data.num_graphs):
            mine = (owner == graph).nonzero().flatten()
            parts.append(mine[score[mine].sort(descending=True, stable=True).indices[: -int(-RATIO * len(mine) // 1)]])
        return torch.cat(parts)

    def ours() -> Tensor:
        return topk_edges(score, owner, RATIO, num_graphs=data.num_graphs).kept()

    assert torch.equal(loop(), ours())
    times = paired({"loop": lambda: _discard(loop()), "ours": lambda: _discard(ours())}, repeats)
    return {"times": times, "speedup": round(times["loop"]["median"] / times["ours"]["median"], 2)}


def _discard(value: Tensor) -> None:
    del value


# -------------------------------------------------------------------------------------------------------- growth

_GROWTH = """
import sys, time, torch
from pathlib import Path
from repcore_graphs.ops.dual_hypergraph_conv.endpoints import dual_hypergraph_conv, edge_scales
torch.set_num_threads(1)
edges, width = int(sys.argv[1]), int(sys.argv[2])
generator = torch.Generator().manual_seed(0)
nodes = edges // 2
start = torch.randint(nodes, (edges,), generator=generator).sort().values  # local, as in a batch
ends = torch.stack([start, (start + torch.randint(1, 20, (edges,), generator=generator)) % nodes])
features = torch.randn(edges, width, generator=generator, requires_grad=True)
weight = torch.randn(width, width, generator=generator, requires_grad=True)
scales = edge_scales(ends, nodes, None, torch.float32)

def kib(name):  # of this process, from Linux
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(name)).split()[1])

def step():
    dual_hypergraph_conv(features, ends, weight, None, nodes, scales=scales).sum().backward()
    features.grad = weight.grad = None

step()
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = kib("VmRSS")
step()
peak = kib("VmHWM") - before
times = []
for _ in range(5):
    started = time.perf_counter()
    step()
    times.append(time.perf_counter() - started)
print(sorted(times)[2] * 1e3, peak / 1024)
"""


def growth(sizes: tuple[int, ...], width: int = 64) -> list[dict[str, float]]:
    """Time and added peak memory of forward and backward, each size in a process of its own."""
    rows = []
    for edges in sizes:
        command = [sys.executable, "-c", _GROWTH, str(edges), str(width)]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        ms, mib = float(words[0]), float(words[1])
        rows.append(
            {
                "edges": edges,
                "ms": round(ms, 1),
                "ns_an_edge": round(1e6 * ms / edges, 1),
                "peak_mib": round(mib, 1),
                "bytes_an_edge": round(mib * 2**20 / edges, 1),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats and small sizes")
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/graphs_speed.json)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats = 5 if options.quick else 25
    data = proteins_like(torch.Generator().manual_seed(0))
    sizes = (10_000, 100_000) if options.quick else (10_000, 30_000, 100_000, 300_000, 1_000_000)
    result = {
        **facts(("repcore", "torch", "torch-geometric")),
        "threads": 1,
        "batch": {"graphs": data.num_graphs, "nodes": data.num_nodes, "arcs": data.edge_index.shape[1]},
        "dual_convolution": [convolution(data, width, repeats) for width in (WIDTH, 32)],
        "full_model": full_model(data, repeats),
        "pooling": pooling(data, repeats),
        "growth": growth(sizes),
    }
    print(json.dumps(result, indent=1))
    if not options.quick or options.out is not None:
        print(f"written to {write_result('graphs_speed', result, options.out)}")


if __name__ == "__main__":
    main()
