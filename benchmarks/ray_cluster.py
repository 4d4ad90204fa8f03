"""Embedding by a Ray cluster of two nodes on this machine, with everything going wrong: each row once, equal vectors.

    python benchmarks/ray_cluster.py --rows 1000000 --shards 64 --local-shards 8

Every row is another molecule. An actor is killed, a node is removed, the driver is killed and given again; then the
parts are compared with those of the local engine (of the first shards only, where all would take too long), and rates
and peak memory are printed. Needs ``pip install "repcore[ray]"``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TINY = (
    "encoder.hidden_width=16", "encoder.layers=1", "encoder.attention_heads=2", "encoder.feed_forward_width=16",
    "data.limit=400", "data.batch_size=16", "trainer.validate_every=100", "trainer.steps=12",
)  # fmt: skip
FRAGMENTS = (
    "C", "CC", "C(O)", "C(N)", "C(F)", "C(=O)", "C(C)", "S", "C(Cl)", "C(Br)", "N(C)", "C(C#N)", "C=C", "C#C", "C(OC)",
    "C(CC)",
)  # fmt: skip
DIGITS = 5  # 16 ** 5 molecules
ACTOR = "ray::BlockActor"
REPCORE = (sys.executable, "-m", "repcore")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--shards", type=int, default=16)
    options.add_argument("--local-shards", type=int, help="shards that the local engine embeds, too; all if left out")
    options.add_argument("--model", help="model folder; a tiny one is trained if left out")
    options.add_argument("--seconds", type=float, default=3600, help="most seconds of one stage")
    given = options.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory(prefix="repcore-ray-") as name:
        work = Path(name)
        os.environ.setdefault("REPCORE_CACHE", str(work / "cache"))
        write_shards(work / "smiles", given.rows, given.shards)
        rows = first_shards(work, given.local_shards or given.shards)
        model = given.model or train(work)
        found = {"rows": given.rows, "shards": given.shards, **by_cluster(work, model, given.seconds)}
        began = time.monotonic()
        (work / "local").mkdir()
        words = command(model, work, "local", data="first")
        local = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most = 0
        while local.poll() is None:
            most = max(most, memory(local.pid))
            time.sleep(0.2)
        if local.returncode:
            sys.exit(f"the local engine has ended with {local.returncode}")
        found.update(local_rows=rows, local_seconds=round(time.monotonic() - began, 1), peak_local_mib=mib(most))
        found.update(compared(work, given.rows))
    print(json.dumps(found, indent=2))
    if found["missing"] or found["twice"] or found["not_ok"] or found["largest_difference"] > 1e-5:
        sys.exit(1)


def write_shards(folder: Path, rows: int, shards: int) -> None:
    """Molecules in the order of their numbers, whose digits are fragments; no two are written alike."""
    if rows > len(FRAGMENTS) ** DIGITS:
        sys.exit(f"at most {len(FRAGMENTS) ** DIGITS:,} rows: there are no more molecules")
    folder.mkdir()
    edges = np.linspace(0, rows, shards + 1).astype(int)
    for number in range(shards):
        mine = range(edges[number], edges[number + 1])
        pq.write_table(pa.table({"smiles": [molecule(row) for row in mine]}), folder / f"part-{number:05}.parquet")


def molecule(row: int) -> str:
    """SMILES of a number."""
    return "".join(FRAGMENTS[row // len(FRAGMENTS) ** place % len(FRAGMENTS)] for place in range(DIGITS))


def first_shards(work: Path, count: int) -> int:
    """Links to the first shards in a folder of their own; gives the rows in them."""
    (work / "first").mkdir()
    rows = 0
    for shard in sorted((work / "smiles").iterdir())[:count]:
        (work / "first" / shard.name).symlink_to(shard)
        rows += pq.read_metadata(shard).num_rows
    return rows


def train(work: Path) -> str:
    """A tiny model on molecules that RDKit brings."""
    words = [*REPCORE, "molecules", "train", "selformer", "--out", str(work / "runs"), "--name", "tiny", *TINY]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(work / "runs" / "tiny")


def command(model: str, work: Path, output: str, *more: str, data: str = "smiles") -> list[str]:
    """``repcore embed`` into a folder of parts."""
    return [*REPCORE, "embed", model, str(work / data), "-o", str(work / output), *more]


def by_cluster(work: Path, model: str, seconds: float) -> dict[str, Any]:
    """Two nodes, one processor each; what went wrong, and how long it took."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    words = command(model, work, "parts", "--engine", "ray", "--address", cluster.address, "--actors", "2")
    most = most_driver = 0
    began = time.monotonic()

    def until(share: float, driver: subprocess.Popen[bytes]) -> None:
        nonlocal most, most_driver
        while done(work / "parts") < share:
            if driver.poll() is not None:
                raise SystemExit(f"the driver has ended with {driver.returncode} at {done(work / 'parts'):.0%}")
            if time.monotonic() - began > seconds:
                raise SystemExit(f"no {share:.0%} of the parts within {seconds:.0f} s")
            most = max([most, *(memory(one) for one in actors())])
            most_driver = max(most_driver, memory(driver.pid))
            time.sleep(0.2)

    log = (work / "driver.log").open("wb")
    driver = subprocess.Popen(words, stdout=log, stderr=log)
    until(0.1, driver)
    first_part = time.monotonic() - began
    os.kill(actors()[0], signal.SIGKILL)
    until(0.3, driver)
    cluster.remove_node(second, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    until(0.5, driver)
    driver.kill()
    driver.wait()
    before = done(work / "parts")
    driver = subprocess.Popen(words, stdout=log, stderr=log)
    until(1.0, driver)
    code = driver.wait()
    took = time.monotonic() - began
    cluster.shutdown()
    said = (work / "driver.log").read_text(errors="replace")
    return {"actors_lost": said.count("an actor has gone"), "driver_killed_at": round(before, 3), "exit_code": code,
            "seconds_to_a_tenth": round(first_part, 1), "cluster_seconds": round(took, 1),
            "peak_actor_mib": mib(most), "peak_driver_mib": mib(most_driver)}  # fmt: skip


def done(parts: Path) -> float:
    """Share of the parts that are there."""
    with contextlib.suppress(OSError, ValueError):
        header = json.loads((parts / "_header.json").read_text())
        return len(list(parts.glob("part-*.parquet"))) / -(-header["rows"] // header["block_rows"])
    return 0.0


def actors() -> list[int]:
    """Process numbers of our actors on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(ACTOR.encode()):
                found.append(int(path.parent.name))
    return sorted(found)


def memory(process: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def mib(count: int) -> int:
    """Bytes as MiB."""
    return round(count / 2**20)


def compared(work: Path, rows: int) -> dict[str, Any]:
    """Rows that are missing, there twice or without a vector, and how far the first vectors are from those of the local
    engine."""
    parts, local = (pq.read_table(work / name) for name in ("parts", "local"))
    numbers = parts.column("row").to_numpy()
    one, other = (
        np.asarray(table.column("embedding").combine_chunks().flatten()).reshape(table.num_rows, -1)[
            np.argsort(table.column("row").to_numpy())
        ]
        for table in (parts, local)
    )
    one = one[: len(other)]
    return {
        "not_ok": sum(status != "ok" for status in parts.column("status").to_pylist()),
        "missing": rows - len(np.unique(numbers)),
        "twice": len(numbers) - len(np.unique(numbers)),
        "largest_difference": float(np.abs(one - other).max()),
    }


if __name__ == "__main__":
    main()
