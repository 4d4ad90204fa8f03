"""Preparation of molecules by one command, by two at once into one cache, and by two of which one is killed.

Real commands (``repcore molecules prepare selformer``), start of Python included, one thread each: seconds on the clock
and processor seconds of all processes. RDKit's NCI molecules, each in several random spellings, so that every row is
converted and molecules come again in other blocks. The prepared files must be the same bytes in every arm.

    python benchmarks/shared_preparation.py [--rows 50000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from measuring import RESULTS, facts
from rdkit import Chem, RDConfig
from rdkit.rdBase import BlockLogs

RESULT = RESULTS / "shared_preparation.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Preparation by several commands at once.")
    parser.add_argument("--rows", type=int, default=50_000)
    rows = parser.parse_args().rows
    found: dict[str, Any] = {"rows": rows, "load_at_start": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "molecules.smi").write_text("".join(f"{one}\n" for one in spellings(rows)))
        prepared(folder, "warm-up", 1, rows)  # the index of the table and compiled Python
        for name, processes in (("one", 1), ("two", 2), ("two, one killed", 2)):
            found[name] = prepared(folder, name, processes, rows)
    same = {one["sha256"] for one in found.values() if isinstance(one, dict)}
    found = {**found, "same_bytes": len(same) == 1, **facts(["repcore", "rdkit", "selfies"])}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    if len(same) != 1:
        sys.exit("the prepared files differ")


def spellings(rows: int) -> list[str]:
    """The first molecules as they are, then again in random orders of atoms."""
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    block = BlockLogs()
    molecules = [Chem.MolFromSmiles(line.split()[0]) for line in path.read_text(encoding="utf-8").splitlines() if line]
    usable = [one for one in molecules if one is not None]
    del block
    found: list[str] = []
    for seed in range(-(-rows // len(usable))):
        found += [Chem.MolToRandomSmilesVect(one, 1, randomSeed=seed + 1)[0] for one in usable]
    return found[:rows]


def prepared(folder: Path, name: str, processes: int, rows: int) -> dict[str, Any]:
    """One arm: seconds, and a hash of what is there afterwards."""
    cache = folder / name.replace(" ", "-")
    environment = {**os.environ, "REPCORE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "repcore", "molecules", "prepare", "selformer", "--data", "molecules.smi"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    shares = [[*words, "--share", f"{number}/{processes}"] for number in range(processes)]
    started = [subprocess.Popen(one, cwd=folder, env=environment, stdout=subprocess.PIPE) for one in shares]
    if "killed" in name:
        while len(list(cache.glob("prepared/*.blocks/rows-*"))) < 8:
            time.sleep(0.05)
        started[0].send_signal(signal.SIGKILL)
    codes = [(one.wait(), one.communicate())[0] for one in started]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert sorted(codes) == ([-9, 0] if "killed" in name else [0] * processes), codes
    (result,) = (cache / "prepared").iterdir()
    digest = sha256(b"".join(one.read_bytes() for one in sorted(result.iterdir())))
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.monotonic() - began
    return {
        "seconds": round(wall, 2), "processor_seconds": round(processor, 2), "rows_a_second": round(rows / wall),
        "sha256": digest.hexdigest(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
