"""Memory and time of reading large inputs, each in a process of its own, against the limits that are promised.

Claim: memory is bounded by bytes, not by the number or length of items. Inputs are synthesised below a temporary folder
(hard links where the same content does). Measured: peak resident memory of the process and wall time.

    python benchmarks/front_door_bounds.py [--only NAME,...] [-o front_door_bounds.md]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
ROWS = 1_000_000
RECORDINGS = (6, 12)  # of 2,048: what grows with their number would show here
MANY = (16, 64)  # with a small network, every second one of them of 3 s
RATE = 16_000
SMALL_NETWORK = (
    "encoder.width=16", "encoder.depth=2", "encoder.states=2", "encoder.patch_frequency=64", "encoder.patch_time=16",
    "preprocessor.frames=512", "preprocessor.frame_multiple=16",
)  # fmt: skip
STEP = ("trainer.steps=1", "data.validation_limit=1")


@dataclass(frozen=True)
class Measured:
    """What a command and its processes took: largest peak in MiB, seconds, processor seconds of all; its last line."""

    peak: float
    seconds: float
    cpu: float
    said: str


def measured(arguments: Sequence[str]) -> Measured:
    """Run ``repcore`` in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    program = (
        "import resource, sys\nfrom repcore.cli.main import run\ncode = run(sys.argv[1:])\n"
        "own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "cpu = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime\n"
        "sys.stderr.write(f'\\nPEAK {max(own.ru_maxrss, ended.ru_maxrss)} {cpu}')\nsys.exit(code)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {done.stderr[-1500:]}")
    text, _, numbers = done.stderr.rpartition("PEAK ")
    peak, cpu = numbers.split()
    lines = (done.stdout + text).strip().splitlines()
    return Measured(int(peak) / 1024, seconds, float(cpu), lines[-1] if lines else "")


def model_of(folder: Path, domain: str, recipe: str, *settings: str) -> str:
    """A model of one step on data that the recipe generates."""
    name = f"{domain}-{recipe}"
    if not (folder / name / "model").is_dir():
        measured([domain, "train", recipe, "--out", str(folder), "--name", name, *STEP, *settings])
    return str(folder / name / "model")


# ------------------------------------------------------------------------------------------------- inputs


def recording(path: Path, seconds: int, rate: int = RATE, subtype: str = "PCM_16") -> None:
    """A WAV file of noise that rises and falls."""
    import soundfile

    time_s = np.arange(rate * seconds) / rate
    noise = np.random.default_rng(0).standard_normal(len(time_s)) * 0.1 * (1.2 + np.sin(time_s))
    soundfile.write(path, noise.astype(np.float32), rate, subtype=subtype)


def molecules(path: Path) -> None:
    """A table of a million molecules with two labels."""
    chains = ["C" * (1 + number % 9) + "O" * (number % 2) + "N" * (number % 3 > 1) for number in range(90)]
    values = np.random.default_rng(0).normal(size=ROWS)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,smiles,logS,active\n")
        file.writelines(f"m{row},{chains[row % 90]}c1ccccc1,{values[row]:.4f},{row % 2}\n" for row in range(ROWS))


def edges(path: Path) -> None:
    """A million edges of one graph with weights."""
    ends = np.random.default_rng(0).integers(0, 100_000, (ROWS, 2))
    with path.open("w", encoding="utf-8") as file:
        file.write("source,target,weight\n")
        file.writelines(f"{u},{v},{(u + v) % 7}\n" for u, v in ends.tolist())


def volume(path: Path) -> None:
    """A scan of 512 x 512 x 300 voxels of int16."""
    import nibabel

    grid = np.linspace(-1, 1, 512, dtype=np.float32)
    disk = ((grid[:, None] ** 2 + grid[None] ** 2) < 0.6) * 1040 - 1000
    values = np.repeat(disk[:, :, None].astype(np.int16), 300, axis=2)
    values += np.random.default_rng(0).integers(-20, 20, values.shape, np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.8, 0.8, 1.0, 1.0])), path)


def tile(path: Path) -> None:
    """Five million points of a map tile."""
    random = np.random.default_rng(0)
    xyz = random.uniform(0, 1, (5_000_000, 3)).astype(np.float64) * [500.0, 500.0, 30.0] + [450_000.0, 5_400_000.0, 0.0]
    np.savez(path, xyz=xyz, intensity=random.uniform(0, 1, len(xyz)).astype(np.float32))


# --------------------------------------------------------------------------------------------- measurements


def recordings(folder: Path) -> str:
    """Recordings of ten minutes: the peak at few and at more of them."""
    model, source = model_of(folder, "audio", "ssamba"), folder / "ten.wav"
    recording(source, 600)
    peaks = []
    for count in RECORDINGS:
        place = folder / f"recordings{count}"
        place.mkdir()
        for number in range(count):
            os.link(source, place / f"r{number:04}.wav")
        took = measured(["embed", model, str(place), "-o", str(folder / f"{count}.parquet")])
        peaks.append(f"{count}: {took.peak:,.0f} MiB, {took.seconds:.0f} s")
    return "; ".join(peaks) + " (2,048 are extrapolated: windows of work are bounded in bytes)"


def many(folder: Path) -> str:
    """Recordings of ten minutes and of 3 s in turn (8 kHz, 8 bits), few and four times as many."""
    model = model_of(folder / "small", "audio", "ssamba", *SMALL_NETWORK)
    sources = [folder / "long.wav", folder / "short.wav"]
    for source, seconds in zip(sources, (600, 3), strict=True):
        recording(source, seconds, 8000, "PCM_U8")
    peaks = []
    for count in MANY:
        place = folder / f"many{count}"
        place.mkdir()
        for number in range(count):
            os.link(sources[number % 2], place / f"r{number:04}.wav")
        took = measured(["embed", model, str(place), "-o", str(folder / f"many{count}.parquet")])
        peaks.append(f"{count}: {took.peak:,.0f} MiB, {_time(took)}")
    return "; ".join(peaks)


def table(folder: Path) -> str:
    """`inspect` of a million rows."""
    molecules(folder / "million.csv")
    return _looked_at(folder / "million.csv", "molecules")


def edge_list(folder: Path) -> str:
    """`inspect` of a million edges."""
    edges(folder / "edges.csv")
    return _looked_at(folder / "edges.csv", "graphs")


def _looked_at(path: Path, domain: str) -> str:
    took = measured(["inspect", str(path), "--domain", domain, "--json"])
    return f"{path.stat().st_size / MIB:,.0f} MiB: {_time(took)}, peak {took.peak:,.0f} MiB"


def _time(took: Measured) -> str:
    return f"{took.seconds:.1f} s ({took.cpu:.1f} s of one core, all processes)"


def scan(folder: Path) -> str:
    """Embedding of one large scan."""
    model = model_of(folder, "medical3d", "alice")
    volume(folder / "scan.nii.gz")
    return _embedded(model, folder / "scan.nii.gz", folder)


def points(folder: Path) -> str:
    """Embedding of one large tile."""
    model = model_of(folder, "pointcloud", "fac")
    tile(folder / "tile.npz")
    return _embedded(model, folder / "tile.npz", folder)


def _embedded(model: str, path: Path, folder: Path) -> str:
    took = measured(["embed", model, str(path), "-o", str(folder / "one.parquet")])
    return f"peak {took.peak:,.0f} MiB with the network and its libraries, {_time(took)}"


def draw(folder: Path) -> str:
    """Windows for training out of one hour."""
    from repcore.embedding.model import load

    hour = folder / "hour"
    hour.mkdir()
    recording(hour / "hour.wav", 3600)
    loaded = load(model_of(folder, "audio", "ssamba"))
    from repcore import registry
    from repcore.data.readers import open_data

    _, reader = open_data(registry.default(), str(hour), domain="audio", reader="audio/folder")
    prepare: Any = loaded.preprocessor
    generator = np.random.default_rng(0)
    took = []
    for _ in range(20):
        started = time.perf_counter()
        prepare.draw(reader[0], generator)
        took.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"median {1000 * float(np.median(took)):.1f} ms, slowest {1000 * max(took):.1f} ms, process {peak:,.0f} MiB"


PARTS: dict[str, tuple[str, str, Callable[[Path], str]]] = {
    "recordings": ("2,048 recordings of ten minutes, `embed`", "peak < 2 GiB", recordings),
    "many": ("ten-minute and 3-second recordings in turn, small network, `embed`", "peak does not grow", many),
    "table": ("CSV of 10^6 rows, `inspect`", "< 20 s", table),
    "edges": ("10^6 edges, `inspect`", "no limit given", edge_list),
    "scan": ("volume of 512 x 512 x 300, `embed`", "peak <= 4 GiB beside the network", scan),
    "points": ("tile of 5 M points, `embed`", "peak <= 3 GiB", points),
    "draw": ("window of a recording of 1 h, one training draw", "<= 50 ms", draw),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    lines = ["| what | limit | measured |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as text:
        os.environ.setdefault("REPCORE_CACHE", f"{text}/cache")
        for name in given.only.split(","):
            about, limit, measure = PARTS[name]
            lines.append(f"| {about} | {limit} | {measure(Path(text))} |")
            sys.stderr.write(lines[-1] + "\n")
    table_text = "\n".join(lines) + "\n"
    if given.output is None:
        sys.stdout.write(table_text)
    else:
        given.output.write_text(table_text, encoding="utf-8")


if __name__ == "__main__":
    main()
