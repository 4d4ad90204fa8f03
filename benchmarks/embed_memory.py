"""Peak memory of `repcore embed` on tables of different length: it must not grow with the number of rows.

A one-layer model embeds the same molecules repeated to 50,000 and 500,000 rows; each command runs in its own process,
whose largest resident set the operating system reports. Bounded: ten times the rows cost less than 100 MiB more.

    python benchmarks/embed_memory.py [--data TABLE] [--rows 50000 500000] [--workers 0]

Without --data, RDKit's embedded NCI molecules are repeated. Takes 5 to 15 minutes at the default sizes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import facts, write_result

from repcore_molecules.configs.data import MoleculeTableConfig, NciConfig
from repcore_molecules.datasets.nci import NciMolecules
from repcore_molecules.datasets.tables import MoleculeTable

LIMIT_MIB = 100
TRAIN = (
    "molecules", "train", "selformer", "encoder.layers=1", "encoder.hidden_width=32", "encoder.attention_heads=2",
    "encoder.feed_forward_width=32", "trainer.steps=2", "data.limit=300", "--name", "model",
)  # fmt: skip


def main() -> None:
    arguments = parse_arguments()
    texts = read_texts(arguments.data)
    record: dict[str, Any] = {
        **facts(("repcore", "torch", "pyarrow", "rdkit")),
        "workers": arguments.workers,
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "REPCORE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        launch([*TRAIN, "--out", str(folder)], environment)
        for rows in arguments.rows:
            table = write_table(folder / f"rows{rows}.csv", texts, rows)
            out = folder / f"rows{rows}.parquet"
            words = ["embed", str(folder / "model"), str(table), "-o", str(out), "--workers", str(arguments.workers)]
            started = time.perf_counter()
            peak = launch(words, environment)
            seconds = time.perf_counter() - started
            record["runs"].append({"rows": rows, "peak_mib": round(peak), "seconds": round(seconds, 1),
                                   "input_mib": round(table.stat().st_size / 2**20, 1)})  # fmt: skip
            print(f"{rows:>9,} rows: peak {peak:,.0f} MiB, {seconds:.0f} s, {rows / seconds:,.0f} rows/s", flush=True)
    peaks = [one["peak_mib"] for one in record["runs"]]
    record |= {"growth_mib": peaks[-1] - peaks[0], "limit_mib": LIMIT_MIB, "bounded": peaks[-1] - peaks[0] < LIMIT_MIB}
    print(f"growth {record['growth_mib']} MiB; written to {write_result('embed_memory', record, arguments.output)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="table whose molecules are repeated (default: RDKit's NCI set)")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 500_000], help="table lengths, shortest first")
    parser.add_argument("--workers", type=int, default=0, help="preparing processes (their memory is not counted)")
    parser.add_argument("--output", type=Path, help="result file (default: results/embed_memory.json)")
    return parser.parse_args()


def read_texts(path: Path | None) -> list[str]:
    reader: Any = NciMolecules(NciConfig(descriptors=("weight",)))
    if path is not None:
        reader = MoleculeTable(MoleculeTableConfig(path=str(path), labels=()))
    return [cell for cell in reader.cells(0, len(reader)) if isinstance(cell, str)]


def write_table(path: Path, texts: Sequence[str], rows: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write("smiles,value\n")
        file.writelines(f"{texts[row % len(texts)]},{row % 97}.5\n" for row in range(rows))
    return path


def launch(words: Sequence[str], environment: dict[str, str]) -> float:
    """Run one command; its largest resident set in MiB."""
    program = f"from repcore.cli.main import main; main({list(words)!r})"
    child = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} failed with exit code {child.returncode}")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
