"""How long `repcore list` takes from nothing, with every installed plugin, and that it imports no torch.

python benchmarks/list_startup.py [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from measuring import facts, spread, write_result

LIMIT_SECONDS = 0.3
LIST = "from repcore.cli.main import main; main(['list'])"
CHECK = (
    "import sys; from repcore.cli.main import run; run(['list']); "
    "heavy = {'torch', 'lightning', 'numpy', 'rdkit', 'sklearn', 'pydantic'} & set(sys.modules); "
    "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the best counts (default 5)")
    parser.add_argument("--output", type=Path, help="result file (default: results/list_startup.json)")
    arguments = parser.parse_args()
    checked = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)
    if checked.returncode:
        raise SystemExit(checked.stderr)
    seconds = [timed([sys.executable, "-c", LIST]) for _ in range(arguments.runs)]
    bare = [timed([sys.executable, "-c", "pass"]) for _ in range(arguments.runs)]
    record = {
        **facts(("repcore", "click", "pluggy")),
        "seconds": spread(seconds),
        "python_alone": spread(bare),
        "heavy_imports": [],
        "limit": LIMIT_SECONDS,
        "within_limit": min(seconds) < LIMIT_SECONDS,
    }
    print(
        f"repcore list: best of {arguments.runs} {min(seconds):.3f} s (limit {LIMIT_SECONDS}), "
        f"Python alone {min(bare):.3f} s"
    )
    print(f"written to {write_result('list_startup', record, arguments.output)}")


def timed(command: list[str]) -> float:
    """Wall seconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
