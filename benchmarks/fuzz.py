"""Fuzzing of everything that reads files: mutated headers, bytes and texts must end in an error of ours or a row.

    python benchmarks/fuzz.py                      every format, 10,000 inputs each, into results/fuzz.md
    python benchmarks/fuzz.py --formats ply wav --inputs 300 --seed 3

Every format has a process of its own. An input fails when it ends in any exception that is not a ``RepcoreError``,
takes longer than ten seconds, starts a program (Python's audit events say so) or leaves a file named ``executed``,
repeats torch's advice to load without restrictions, or ends the process. Memory: the process may not have 1 GiB more
private memory than after the sound file was read, so that a larger allocation is an uncaught ``MemoryError``.
Failing inputs are kept in ``--keep``; once mended they belong among ``SEEDS`` of ``tests/core/test_fuzz_seeds.py``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuzz_inputs import FORMATS, MARK, Use
from measuring import RESULTS, facts

from repcore.errors import RepcoreError

SECONDS, MEMORY = 10, 2**30
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.startfile", "pty.spawn")
HARMLESS = ("ok", "refused")
WORDS = (
    b"nan", b"1e308", b"-1", b"9" * 30, b"\0", b"\xff\xfe", b"\n\n", b"{[", b'"', b"\x1b[2J", b"99999999999",
    b"x" * 300, b"../", b"$(touch executed)",
)  # fmt: skip


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
            made[place:place] = draw.choice(WORDS)
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


class Programs:
    """An audit hook that notes every program that is started."""

    def __init__(self) -> None:
        self.started: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if event in PROGRAMS:
            self.started.append(event)


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


def fuzz(name: str, inputs: int, seed: int, keep: Path, programs: Programs) -> Iterator[str]:
    """Outcomes of so many mutated inputs of one format."""
    make, use = FORMATS[name]
    draw = random.Random(f"{name}-{seed}")
    with tempfile.TemporaryDirectory() as temporary:
        path = make(Path(temporary))
        sound = path.read_bytes()
        for number in range(inputs):
            path.write_bytes(mutated(sound, draw))
            outcome = attempt(use, path)
            if programs.started or (Path(temporary) / MARK).exists():
                outcome = f"code was executed {programs.started}"
                programs.started.clear()
                (Path(temporary) / MARK).unlink(missing_ok=True)
            if outcome not in HARMLESS:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{seed}-{number}{path.suffix}").write_bytes(path.read_bytes())
            yield outcome


def _memory() -> int:
    """Private memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmData")))


def _limited(name: str) -> int:
    """Read the sound file, so that every library is loaded, then limit what may be added; resident bytes then."""
    make, use = FORMATS[name]
    with tempfile.TemporaryDirectory() as temporary:
        attempt(use, make(Path(temporary)))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (_memory() + MEMORY, hard))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_sound() -> None:
    """What is mutated must be read as long as it is not: otherwise the rest says nothing. Makes the model, too."""
    for name, (make, use) in FORMATS.items():
        with tempfile.TemporaryDirectory() as temporary:
            outcome = attempt(use, make(Path(temporary)))
        if outcome != ("refused" if name == "pickle" else "ok"):
            raise SystemExit(f"the sound {name} file is not read: {outcome}")


def measured(name: str, inputs: int, seed: int, keep: Path) -> dict[str, Any]:
    """Outcomes of one format, made in a child process."""
    reading, writing = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, _ring)
        before = _limited(name)
        counts = Counter(fuzz(name, inputs, seed, keep, Programs()))
        more = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        with os.fdopen(writing, "w") as file:
            json.dump({"counts": counts, "more_mib": round(more / 2**20)}, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    found = json.loads(said) if said else {"counts": {f"the process ended: {status}": 1}, "more_mib": 0}
    seconds = round(time.perf_counter() - started)
    return {"name": name, "date": time.strftime("%Y-%m-%d %H:%M"), "seconds": seconds, **found}


def bad(row: Mapping[str, Any]) -> dict[str, int]:
    """Outcomes that are failures."""
    return {outcome: count for outcome, count in row["counts"].items() if outcome not in HARMLESS}


def page(rows: Sequence[Mapping[str, Any]], inputs: int, seed: int) -> str:
    """The result as Markdown."""
    known = facts(["repcore", "torch", "safetensors", "numpy", "h5py", "nibabel", "soundfile", "rdkit", "pyarrow"])
    executed = sum(count for row in rows for outcome, count in bad(row).items() if "executed" in outcome)
    lines = [
        "# Fuzzing of every reader", "",
        f"Made with `benchmarks/fuzz.py --inputs {inputs} --seed {seed}`, {known['date']}; versions: "
        + ", ".join(f"{name} {one}" for name, one in known["versions"].items()) + ".", "",
        (f"{len(rows)} formats, {inputs:,} mutated inputs each: {sum(sum(bad(row).values()) for row in rows)} failures "
        f"(uncaught exceptions, more than {SECONDS} s, more than 1 GiB), {executed} executions. Inputs count as read "
        "when a reader opened them; rows that it then reported as unreadable are among them. Memory is the growth of "
        "the process beyond reading the sound file."), "",
        "| format | inputs | read | refused in words | failures | most memory added, MiB | seconds | made at |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        counts = row["counts"]
        lines.append(
            f"| {row['name']} | {sum(counts.values()):,} | {counts.get('ok', 0):,} | {counts.get('refused', 0):,} "
            f"| {sum(bad(row).values())} | {row['more_mib']} | {row['seconds']} | {row.get('date', 'earlier')} |"
        )
    return "\n".join(lines) + "\n"


def record(rows: Sequence[Mapping[str, Any]], inputs: int, seed: int) -> None:
    """Keep the rows of a full measurement, in the order of ``FORMATS``; formats may be measured one after another."""
    if inputs < 10_000:
        return
    with (RESULTS / "fuzz.json").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}") | {row["name"]: row for row in rows}
        file.truncate(0)
        file.write(json.dumps({name: known[name] for name in FORMATS if name in known}, indent=1) + "\n")
        file.flush()
        text = page([known[name] for name in FORMATS if name in known], inputs, seed)
        (RESULTS / "fuzz.md").write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGALRM, _ring)
    check_sound()
    rows = []
    for name in given.formats:
        row = measured(name, given.inputs, given.seed, given.keep)
        rows.append(row)
        counts, problems = row["counts"], bad(row)
        sys.stdout.write(
            f"{name}: {sum(counts.values())} inputs, {counts.get('ok', 0)} read, {counts.get('refused', 0)} refused, "
            f"{sum(problems.values())} failures; {row['seconds']} s, {row['more_mib']} MiB more\n"
        )
        for outcome, count in sorted(problems.items(), key=lambda one: -one[1]):
            sys.stdout.write(f"    {count} x {outcome}\n")
        sys.stdout.flush()
        record([row], given.inputs, given.seed)
    return 1 if any(bad(row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
