# ruff: noqa: E501  headers of formats are as long as they are
"""Fuzzing of everything that reads files: mutated headers, bytes and texts must end in an error of ours or a row.

    python benchmarks/fuzz.py                      every format, 10,000 inputs each
    python benchmarks/fuzz.py --formats ply wav --inputs 300 --seed 3

An input fails when it ends in any exception that is not a ``RepcoreError``, takes longer than ten seconds, needs more
than the memory limit, or runs code (a file named ``executed`` appears). Failing inputs are kept in ``--keep``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from repcore import registry
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.reading import read_checkpoint
from repcore.config.yaml import load_file
from repcore.data.readers import open_data
from repcore.errors import RepcoreError

SECONDS, MEMORY = 10, 6 * 2**30  # address space; torch alone maps two to four GiB
MARK = "executed"
Make = Callable[[Path], Path]
Use = Callable[[Path], None]


def _safetensors(folder: Path) -> Path:
    save_file({"a.weight": torch.ones(3, 4), "b": torch.arange(5)}, folder / "m.safetensors", metadata={"x": "y"})
    return folder / "m.safetensors"


def _torch(folder: Path) -> Path:
    torch.save({"state_dict": {"a.weight": torch.ones(3, 4), "b": torch.arange(5)}, "epoch": 3}, folder / "m.pt")
    return folder / "m.pt"


def _pickle(folder: Path) -> Path:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.system, (f"touch {folder / MARK}",))

    (folder / "m.bin").write_bytes(pickle.dumps({"a": Runs()}, protocol=2))
    return folder / "m.bin"


def _model(folder: Path) -> Path:
    _safetensors(folder).rename(folder / "weights.safetensors")
    config = {"format": 1, "encoder": {"name": "molecules/selformer", "layers": 2}, "dim": 4, "tied": {"c": "b"},
              "preprocessor": {"name": "molecules/selfies"}, "plugins": {"encoder": {"distribution": "repcore-molecules"}}}  # fmt: skip
    (folder / "preprocessing.json").write_text(json.dumps({"format": 1, "state": {}, "files": {}}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def _yaml(folder: Path) -> Path:
    (folder / "c.yaml").write_text(
        "trainer: {steps: 5, seed: 1}\noptimiser:\n  lr: 1e-3\n  betas: [0.9, 0.99]\na: &x [1]\nb: *x\n"
    )
    return folder / "c.yaml"


def _table(folder: Path) -> Path:
    (folder / "t.csv").write_text("id,smiles,y\n" + "".join(f"{i},{'C' * (i + 1)}O,{i / 7}\n" for i in range(9)))
    return folder / "t.csv"


def _points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 3)).astype("<f4")


def _ply(folder: Path) -> Path:
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 40\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    (folder / "a.ply").write_bytes(head.encode() + _points().tobytes())
    return folder / "a.ply"


def _pcd(folder: Path) -> Path:
    head = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 40\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 40\nDATA binary\n"
    (folder / "a.pcd").write_bytes(head.encode() + _points().tobytes())
    return folder / "a.pcd"


def _off(folder: Path) -> Path:
    rows = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in _points())
    (folder / "a.off").write_text(f"OFF\n40 2 0\n{rows}\n3 0 1 2\n3 3 4 5\n")
    return folder / "a.off"


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", _points())
    return folder / "a.npy"


def _wav(folder: Path) -> Path:
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes((1000 * np.sin(np.arange(8000))).astype("<i2").tobytes())
    return folder / "a.wav"


def _nifti(folder: Path) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.arange(512, dtype=np.float32).reshape(8, 8, 8), np.eye(4)), folder / "a.nii")
    return folder / "a.nii"


def _weights(path: Path) -> None:
    read_checkpoint(path)


def _settings(path: Path) -> None:
    load_file(path)


def _folder(path: Path) -> None:
    read_model(path.parent).build()


def _data(domain: str) -> Use:
    def use(path: Path) -> None:
        reader = open_data(registry.default(), str(path), domain=domain)[1]
        for row in range(min(3, len(reader))):
            with contextlib.suppress(RepcoreError):
                reader[row]

    return use


FORMATS: dict[str, tuple[Make, Use]] = {
    "safetensors": (_safetensors, _weights),
    "torch": (_torch, _weights),
    "pickle": (_pickle, _weights),
    "model-folder": (_model, _folder),
    "yaml": (_yaml, _settings),
    "table": (_table, _data("molecules")),
    "ply": (_ply, _data("pointcloud")),
    "pcd": (_pcd, _data("pointcloud")),
    "off": (_off, _data("pointcloud")),
    "npy": (_npy, _data("pointcloud")),
    "wav": (_wav, _data("audio")),
    "nifti": (_nifti, _data("medical3d")),
}


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to eight changes, most of them near the beginning, where headers are."""
    made = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        reach = min(len(made), draw.choice((64, 512, len(made)))) or 1
        place, kind = draw.randrange(reach), draw.randrange(9)
        if kind == 0 and made:
            made[place % len(made)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            made[place : place + draw.randint(1, 8)] = draw.randbytes(draw.randint(0, 8))
        elif kind == 2:
            made[place : place + 4] = struct.pack("<I", draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)))
        elif kind == 3:
            made[place : place + 8] = struct.pack("<Q", draw.choice((0, 2**40, 2**63 - 1, 2**64 - 1)))
        elif kind == 4:
            del made[place : place + draw.randint(1, 40)]
        elif kind == 5:
            made[place:place] = made[place : place + draw.randint(1, 60)] * draw.randint(1, 20)
        elif kind == 6:
            del made[draw.randrange(len(made) + 1) :]
        elif kind == 7:
            made[place:place] = draw.choice((b"nan", b"1e308", b"-1", b"9" * 30, b"\0", b"\xff\xfe", b"\n\n", b"{[", b'"', b"\x1b[2J", b"99999999999"))  # fmt: skip
        else:  # a number in a text header becomes another
            digits = [i for i, one in enumerate(made[:2048]) if 48 <= one <= 57]
            if digits:
                start = draw.choice(digits)
                made[start : start + 1] = draw.choice((b"0", b"-7", b"4294967295", b"1e9", b"99999999999999999999"))
    return bytes(made)


class Late(BaseException):
    """An input took too long."""


def _ring(number: int, frame: object) -> None:
    raise Late


def attempt(use: Use, path: Path) -> str:
    """What became of one input: ``ok``, ``refused``, or the failure in a line."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        use(path)
        return "ok"
    except RepcoreError as error:
        return "weights_only advice" if "weights_only" in str(error) else "refused"
    except Late:
        return f"more than {SECONDS} seconds"
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:80]} ({Path(frame.filename).name}:{frame.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def fuzz(name: str, inputs: int, seed: int, keep: Path) -> Iterator[str]:
    """Outcomes of so many mutated inputs of one format."""
    make, use = FORMATS[name]
    draw = random.Random(f"{name}-{seed}")
    for number in range(inputs):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = make(folder)
            path.write_bytes(mutated(path.read_bytes(), draw))
            outcome = attempt(use, path)
            if (folder / MARK).exists():
                outcome = "code was executed"
            if outcome not in ("ok", "refused"):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{seed}-{number}{path.suffix}").write_bytes(path.read_bytes())
            yield outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, _ring)
    failures = 0
    for name in given.formats:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        started = time.perf_counter()
        counts = Counter(fuzz(name, given.inputs, given.seed, given.keep))
        bad = {outcome: count for outcome, count in counts.items() if outcome not in ("ok", "refused")}
        failures += sum(bad.values())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        sys.stdout.write(
            f"{name}: {given.inputs} inputs, {counts['ok']} read, {counts['refused']} refused, {sum(bad.values())} "
            f"failures; {time.perf_counter() - started:.0f} s, peak {peak:.1f} GiB\n"
        )
        for outcome, count in sorted(bad.items(), key=lambda one: -one[1]):
            sys.stdout.write(f"    {count} x {outcome}\n")
        sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
