"""Seconds and peak memory of training steps on one random graph; called by peers.py, a size in each process.

python benchmarks/graphs_random.py 300000 [--steps 3]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch_geometric.data import Data

from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_graphs.configs.ehgnn import published_graph
from repcore_graphs.configs.tasks import GraphTaskConfig
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.ops.dht import pair_arcs
from repcore_graphs.tasks.graph import GraphClassification

WIDTH, EDGES_A_NODE = 128, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("nodes", type=int)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(options.nodes, (2, EDGES_A_NODE * options.nodes), generator=generator)
    arcs = torch.cat([ends, ends.flip(0)], dim=1)
    graph = Data(x=torch.randn(options.nodes, 4, generator=generator), edge_index=arcs)
    graph.batch, graph.num_graphs = torch.zeros(options.nodes, dtype=torch.long), 1
    graph.pair_first, graph.arc_edge = pair_arcs(arcs, options.nodes)
    config = published_graph(node_width=4, edge_width=0, hidden_width=WIDTH, edge_ratio=0.65, edges="once")
    task = GraphClassification(GraphTaskConfig(), EHGNN(config), TargetSpec("y", "class", names=("0", "1"))).train()
    batch = Batch(inputs=graph, size=1)

    def step() -> None:
        task.zero_grad(set_to_none=True)
        task.loss(task(batch), torch.ones(1)).backward()

    step()
    seconds = []
    for _ in range(options.steps):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    print(json.dumps({"seconds": seconds, "peak_mib": kib("VmHWM") / 1024}))


def kib(name: str) -> int:
    """Of this process, from Linux."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(one for one in lines if one.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
