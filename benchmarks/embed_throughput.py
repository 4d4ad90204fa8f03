"""Whole `repcore embed` commands, start of Python included: one thread and no further process against the default.

Three domains at sizes that people have: molecules (a table), recordings (a folder of WAV) and volumes (a folder of
NIfTI). Rounds are interleaved; the clock, processor seconds of the command with its processes, and the largest memory
of all of them together (proportional set size, so that shared pages count once). Vectors
of one process and of several must be the same bits, those of two threads differ by rounding at most.

    one       OMP_NUM_THREADS=1, --workers 0
    threads   --workers 0: one process, as many threads as torch takes
    default   nothing said: processes as the work is worth

Then the network alone on the same rows in float32 and bfloat16, one thread: largest relative difference of a vector,
and the times of float32 in bfloat16's.

    python benchmarks/embed_throughput.py                                        on a quiet machine, 10 to 20 minutes
    python benchmarks/embed_throughput.py --only molecules --rows 2000 --rounds 1 --output /tmp/trial.json

Molecules are RDKit's embedded NCI set (with --data TABLE another one), the rest is made up. Models are as their presets
make them, trained for one step: speed does not depend on what was learned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import soundfile
import torch
from measuring import RESULTS, facts, interleaved, ratios, spread, write_result

from repcore.embedding.inference import InferenceOptions, embed_prepared, prepare_rows
from repcore.embedding.model import load
from repcore.embedding.writers import read_embeddings
from repcore_molecules.configs.data import MoleculeTableConfig, NciConfig
from repcore_molecules.datasets.nci import NciMolecules
from repcore_molecules.datasets.tables import MoleculeTable

LOOK_EVERY = 0.2  # seconds, at the memory of a command
SECONDS, RATE = 10, 16_000  # of a recording
SHAPE = (96, 96, 96)  # of a volume
NARROW_ROWS = {"molecules": 500, "audio": 100, "volumes": 4}
AIM = 1.8


@dataclass(frozen=True)
class Case:
    """A domain.

    Args:
        train: words that make its model.
        rows: of the data.
        write: makes them.
    """

    train: Sequence[str]
    rows: int
    write: Callable[[Path, int, Path | None], Path]


def write_molecules(folder: Path, rows: int, table: Path | None) -> Path:
    """A table of SMILES, repeated where there are too few."""
    reader: Any = NciMolecules(NciConfig(descriptors=("weight",)))
    if table is not None:
        reader = MoleculeTable(MoleculeTableConfig(path=str(table), labels=()))
    texts = [cell for cell in reader.cells(0, len(reader)) if isinstance(cell, str)]
    path = folder / "molecules.csv"
    path.write_text("smiles\n" + "".join(f"{texts[row % len(texts)]}\n" for row in range(rows)), encoding="utf-8")
    return path


def write_recordings(folder: Path, rows: int, table: Path | None) -> Path:
    """Chirps in noise."""
    del table
    path, draw = folder / "recordings", np.random.default_rng(0)
    path.mkdir()
    time_axis = np.arange(SECONDS * RATE) / RATE
    for row in range(rows):
        low, rise = draw.uniform(100, 2000), draw.uniform(-200, 800)
        wave = 0.3 * np.sin(2 * np.pi * (low + rise * time_axis) * time_axis) + 0.05 * draw.standard_normal(
            len(time_axis)
        )
        soundfile.write(path / f"{row:05}.wav", wave.astype(np.float32), RATE)
    return path


def write_volumes(folder: Path, rows: int, table: Path | None) -> Path:
    """Balls in noise, one millimetre a voxel."""
    del table
    path, draw = folder / "volumes", np.random.default_rng(0)
    path.mkdir()
    axes = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    for row in range(rows):
        values = draw.normal(0, 20, SHAPE)
        for _ in range(4):
            centre, radius = draw.uniform(10, 86, 3), draw.uniform(6, 24)
            distance = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
            values[distance < radius**2] += draw.uniform(50, 300)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path / f"{row:03}.nii.gz")
    return path


CASES = {
    "molecules": Case(("molecules", "train", "selformer", "data.limit=300"), 20_000, write_molecules),
    "audio": Case(("audio", "train", "ssamba", "--preset", "tiny"), 500, write_recordings),
    "volumes": Case(("medical3d", "train", "alice", "--preset", "tiny"), 30, write_volumes),
}
CONTENDERS: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "one": (("--workers", "0"), {"OMP_NUM_THREADS": "1"}),
    "threads": (("--workers", "0"), {}),
    "default": ((), {}),
}


def main() -> None:
    arguments = parse_arguments()
    record: dict[str, Any] = {**facts(("repcore", "torch", "numpy")), "cases": {}}
    for name, case in CASES.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                record["cases"][name] = run_case(name, case, Path(folder), arguments)
    target = write_result("embed_throughput", record, arguments.output)
    page = (arguments.output or RESULTS / "embed_throughput.json").with_suffix(".md")
    page.write_text(as_page(record), encoding="utf-8")
    print(f"written to {target} and {page.name}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--rows", type=int, help="fewer rows, for a trial")
    parser.add_argument("--data", type=Path, help="table of molecules (default: RDKit's NCI set)")
    parser.add_argument("--output", type=Path, help="result file (default: results/embed_throughput.json)")
    return parser.parse_args()


def run_case(name: str, case: Case, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    rows = arguments.rows or case.rows
    data = case.write(folder, rows, arguments.data)
    cache = {"REPCORE_CACHE": str(folder / "cache")}
    words = [*case.train, "trainer.steps=1", "--name", "model", "--out", str(folder)]
    own = [] if name == "molecules" else ["--data", str(data)]
    launch([*words, *own], {**cache, "OMP_NUM_THREADS": "1"})
    model = folder / "model" / "model"
    runs: dict[str, list[dict[str, float]]] = {one: [] for one in CONTENDERS}
    print(f"\n{name}: {rows:,} rows", flush=True)
    for _ in range(arguments.rounds):
        for one, (options, environment) in CONTENDERS.items():
            out = folder / f"{one}.parquet"
            made = ["embed", str(model), str(data), "-o", str(out), "--overwrite", "--device", "cpu", *options]
            runs[one].append(launch(made, {**cache, **environment}))
            print(f"  {one:<8} " + "  ".join(f"{key} {value:,.1f}" for key, value in runs[one][-1].items()), flush=True)
    found = {one: read_embeddings(folder / f"{one}.parquet")[0] for one in CONTENDERS}
    if found["one"].vectors.tobytes() != found["default"].vectors.tobytes():
        raise SystemExit(f"{name}: vectors of one process and of several are not the same bits")
    if not np.allclose(found["one"].vectors, found["threads"].vectors, rtol=0, atol=1e-5, equal_nan=True):
        raise SystemExit(f"{name}: vectors of one thread and of several differ by more than rounding")
    seconds = {one: [run["seconds"] for run in runs[one]] for one in CONTENDERS}
    return {
        "rows": rows,
        "usable": found["one"].status.count("ok"),
        **{one: {key: spread([run[key] for run in runs[one]], 1) for key in runs[one][0]} for one in CONTENDERS},
        "default_times_faster": ratios(seconds["default"], seconds["one"]),
        "aim": AIM,
        "bfloat16": narrow(model, data, NARROW_ROWS[name], arguments.rounds),
    }


def launch(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Run a command; seconds on the clock, processor seconds and MiB of it and its processes."""
    clean = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "repcore", *words], env={**clean, **environment}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = [0.0]
    watching = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watching.start()
    said = process.communicate()[1]
    seconds, after = time.perf_counter() - began, os.times()
    watching.join()
    if process.returncode:
        raise SystemExit(f"repcore {' '.join(words)}\n{said}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "processor_seconds": used, "peak_mib": peak[0]}


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_proportional_mib(one) for one in _family(process.pid)))
        time.sleep(LOOK_EVERY)


def _family(process: int) -> list[int]:
    """A process and those that it, or they, have started."""
    found = [process]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except OSError:
                continue
    return found


def _proportional_mib(process: int) -> float:
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:  # it has ended
        return 0.0
    return 0.0


def narrow(folder: Path, data: Path, rows: int, rounds: int) -> dict[str, Any]:
    """The network in bfloat16 against float32."""
    torch.set_num_threads(1)
    model = load(folder)
    model.encoder.eval()
    reader = model.reader(str(data))
    prepared = prepare_rows(reader, model.preprocessor, range(min(rows, len(reader))))
    prepared = [row for row in prepared if row.items]

    def vectors(dtype: torch.dtype) -> np.ndarray:
        options = InferenceOptions(dtype=dtype)
        return embed_prepared(
            model.encoder, model.preprocessor, prepared, options, model.poolings, model.domain
        ).vectors

    wide, short = vectors(torch.float32), vectors(torch.bfloat16)
    difference = np.linalg.norm(wide - short, axis=1) / np.linalg.norm(wide, axis=1)
    seconds = interleaved(
        {"bfloat16": lambda: vectors(torch.bfloat16), "float32": lambda: vectors(torch.float32)}, rounds,
        clock=time.process_time,
    )  # fmt: skip
    return {
        "rows": len(prepared),
        "largest_relative_difference": float(difference.max()),
        "median_relative_difference": float(np.median(difference)),
        "float32_times_bfloat16": ratios(seconds["bfloat16"], seconds["float32"]),
    }


def as_page(record: Mapping[str, Any]) -> str:
    """The record as tables."""
    machine = record["machine"]
    about = (
        f"Written by `benchmarks/embed_throughput.py` on {record['date']}: {machine['cores']} processors "
        f"({machine['processor']}), load {machine['load_at_start']} at the start, {json.dumps(record['versions'])}. "
        "Start of Python included; medians (lowest to highest). *one*: one thread and no further process; *threads*: "
        "one process with all threads; *default*: as the command chooses."
    )
    head = "| domain | rows | | seconds | processor seconds | rows a second | MiB of all processes |"
    lines = ["# Whole `repcore embed` commands", "", about, "", head, "|---|---|---|---|---|---|---|"]
    for name, case in record["cases"].items():
        for one in CONTENDERS:
            clock, used, peak = (case[one][key] for key in ("seconds", "processor_seconds", "peak_mib"))
            rate = case["rows"] / clock["median"]
            lines.append(
                f"| {name} | {case['rows']:,} | {one} | {clock['median']:.1f} ({clock['lowest']:.1f} to "
                f"{clock['highest']:.1f}) | {used['median']:.1f} | {rate:,.1f} | {peak['median']:,.0f} |"
            )
    head = (
        f"| domain | default against one (aim {AIM}) | bfloat16: largest relative difference of a vector | median | "
        "float32's processor seconds in those of bfloat16 |"
    )
    lines += ["", head, "|---|---|---|---|---|"]
    for name, case in record["cases"].items():
        faster, short = case["default_times_faster"], case["bfloat16"]
        lines.append(
            f"| {name} | {faster['median']:.2f} ({faster['lowest']:.2f} to {faster['highest']:.2f}) | "
            f"{short['largest_relative_difference']:.1e} | {short['median_relative_difference']:.1e} | "
            f"{short['float32_times_bfloat16']['median']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
