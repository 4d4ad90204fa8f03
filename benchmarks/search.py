"""Search in large indexes: time to build, recall at 10, and time of a query on one core.

    python benchmarks/search.py --rows 100000 1000000

Vectors are made here: clusters on a curved surface of 24 dimensions in 256, with noise, as embeddings tend to lie; and
independent Gaussian numbers, which have no structure and are the hardest case for any index: in 256 dimensions all rows
are nearly equally far from a query, so that no list may be left out and every row is compared.
Queries are new rows of the same kind, one after the other on one core; building takes all cores. Recall is against
comparing every row.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from repcore.explore.index import VectorIndex, build_index
from repcore.explore.nearest import BLOCK, exact
from repcore.explore.rows import Gathered, Origin, unit

WIDTH, INNER, CLUSTERS, QUERIES, NEIGHBOURS = 256, 24, 200, 200, 10
RESULTS = Path(__file__).parent / "results" / "search.md"


def embedded(rows: int, seed: int) -> np.ndarray:
    """Vectors (rows, WIDTH) with the structure of embeddings."""
    fixed = np.random.default_rng(1)
    first = fixed.normal(size=(INNER, WIDTH)).astype(np.float32) / INNER**0.5
    second = fixed.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
    centres = fixed.normal(size=(CLUSTERS, INNER)).astype(np.float32)
    draw = np.random.default_rng(seed)
    out = np.empty((rows, WIDTH), np.float32)
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        inner = centres[draw.integers(0, CLUSTERS, count)] + 0.7 * draw.normal(size=(count, INNER)).astype(np.float32)
        noise = 0.05 * draw.normal(size=(count, WIDTH)).astype(np.float32)
        out[start : start + count] = np.tanh(inner @ first) @ second + noise
    return out


def gaussian(rows: int, seed: int) -> np.ndarray:
    """Vectors (rows, WIDTH) without structure."""
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def measured(name: str, vectors: np.ndarray, queries: np.ndarray, approximate: bool) -> str:
    """A line of the table."""
    count = len(vectors)
    origin = Origin(identity="benchmark")
    rows = Gathered([str(row) for row in range(count)], vectors, [""] * count, {}, origin, None, np.full(count, -1))
    with tempfile.TemporaryDirectory() as folder:
        started, worked = time.perf_counter(), time.process_time()
        build_index(Path(folder) / "index", rows, approximate=approximate)
        build, work = time.perf_counter() - started, time.process_time() - worked
        index = VectorIndex(Path(folder) / "index")
        size = sum(path.stat().st_size for path in index.folder.iterdir()) / 1e6
        true, _ = exact(index.parts, unit(queries), NEIGHBOURS)
        index.nearest(queries[0], NEIGHBOURS)  # opens the lists
        seconds, hits = [], 0
        with threadpool_limits(1):
            for query, wanted in zip(queries, true, strict=True):
                started = time.process_time()
                found, _ = index.nearest(query, NEIGHBOURS)
                seconds.append(time.process_time() - started)
                hits += len(set(found) & set(wanted))
    recall = hits / (NEIGHBOURS * len(queries))
    middle, slow = 1000 * np.median(seconds), 1000 * np.percentile(seconds, 95)
    how = f"{index.lists.probes} of {index.lists.count} lists" if index.lists else "every row"
    cells = (name, f"{count:,}", how, f"{build:.0f}", f"{work:.0f}", f"{size:,.0f}", f"{recall:.4f}")
    return f"| {' | '.join(cells)} | {middle:.2f} | {slow:.2f} |"


def main() -> None:
    """Measure and write the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, nargs="+", default=[100_000])
    asked.add_argument("--output", type=Path, default=RESULTS)
    given = asked.parse_args()
    smallest = min(given.rows)
    lines = [measured("embeddings", embedded(smallest, 2), embedded(QUERIES, 3), approximate=False)]
    for rows in given.rows:
        for name, made in (("embeddings", embedded), ("Gaussian", gaussian)):
            lines.append(measured(name, made(rows, 2), made(QUERIES, 3), approximate=True))
    head = (
        "# Search\n\nMade by `python benchmarks/search.py`: 256 numbers a vector, float32 on disk, "
        f"{QUERIES} queries one after the other on one core, 10 neighbours. Lists are made by faiss on "
        f"{os.cpu_count()} cores with 8 bits a number; what they name is ranked again with the vectors themselves. How "
        "many lists a query looks into is chosen by the index from rows of its own. Times of a query, and those of "
        f"cores, are what the processor worked; the machine was shared (load {os.getloadavg()[2]:.1f}).\n\n"
        "| vectors | rows | search | build and write (s) | of cores (s) | on disk (MB) | recall@10 "
        "| query, median (ms) | query, 95 % (ms) |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    given.output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
