"""Random kills: SIGKILL at random moments, go on, and compare with the run that nobody disturbed.

    python benchmarks/random_kills.py                        20 kills of every command, into results/random_kills.*
    python benchmarks/random_kills.py --commands embed --kills 5 --seed 3                            writes no results

One process imports everything once; every attempt is a fork of it that runs the real command line. A trial starts the
command in an empty folder, kills it after a random part of its duration (every second trial: of what is left of it once
there is something to go on with, for most of a small command is its start), and goes on as a user would (``--resume``
where a checkpoint was written, else the same command again) until it ends. Its outputs must equal those of the whole
run bit for bit: tensors of the last checkpoint with the optimiser's, the exported model, every line of metrics, rows
of tables in order. A line or row that is missing counts as lost, one that stands twice as doubled. ``train-2`` is two
processes with the environment of torchrun, exchanging by gloo; one of them, at random, or both are killed, and the
other is then ended, as torchrun does. The data are the toy sets of the tests; ``prepare`` takes molecules.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import RESULTS, facts, write_result

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 300.0  # seconds of one attempt
ENOUGH = 5  # kills of a command from which on its figures are written down
OF_THE_CLOCK = ("items_per_second", "data_wait_share")  # of a line of metrics: no two runs have the same
TRAIN = ["trainer.steps=12", "trainer.checkpoint_every=2", "trainer.validate_every=3", "trainer.log_every=1"]
DONE = ("its model is written", "'out.parquet' exists")
NAMES = ("train", "finetune", "embed", "predict", "prepare", "train-2")
CPU = ["--device", "cpu"]
CHECKPOINT, PART = "runs/r*/checkpoints/[lp]*.ckpt", "out.parquet.parts/part-*"
FINETUNE = ["--label", "kind", "trainer.epochs=3", "trainer.checkpoint_every=2"]


@dataclass(frozen=True)
class Command:
    """How a command begins, goes on, and what it leaves.

    Args:
        begin: arguments of the first attempt; ``{n}`` becomes a fresh number.
        resume: arguments that go on with run ``{run}``; empty = ``begin`` again.
        kept: pattern of the first thing below the folder that a later command goes on with.
        outputs: name -> value of everything that must be equal.
        processes: of one attempt.
    """

    begin: Sequence[str]
    outputs: Callable[[Path], Mapping[str, Any]]
    kept: str
    resume: Sequence[str] = ()
    processes: int = 1


@dataclass
class Outcome:
    """Counts of one command's trials."""

    kills: int = 0
    trials: int = 0
    resumed: int = 0
    again: int = 0
    lost: int = 0
    doubled: int = 0
    different: list[str] = field(default_factory=list)
    whole_seconds: float = 0.0
    kept_seconds: float = 0.0
    seconds: float = 0.0


def tensors(path: Path) -> dict[str, bytes]:
    """Every tensor of a checkpoint, parameters and optimiser alike, as bytes."""
    import torch

    found: dict[str, bytes] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = (
                value.detach().contiguous().view(torch.uint8).numpy().tobytes()
                if value.ndim
                else repr(value.item()).encode()
            )
        elif isinstance(value, Mapping):
            for key, one in value.items():
                visit(f"{name}.{key}", one)
        elif isinstance(value, list | tuple):
            for number, one in enumerate(value):
                visit(f"{name}.{number}", one)

    content = torch.load(path, map_location="cpu", weights_only=True)
    for part in ("state_dict", "optimizer_states", "global_step"):
        visit(part, content[part])
    return found


def run_outputs(folder: Path) -> dict[str, Any]:
    """Checkpoint, model and metrics of the one finished run below a folder."""
    from repcore.files import read_lines

    run = finished_run(folder)
    lines = []
    for line in read_lines(run / "metrics.jsonl"):
        kept = {name: value for name, value in line.items() if name not in OF_THE_CLOCK}
        lines.append(repr(sorted(kept.items())))
    weights = (run / "model" / "weights.safetensors").read_bytes()
    return {"checkpoint": tensors(run / "checkpoints" / "last.ckpt"), "lines": lines, "model": weights}


def finished_run(folder: Path) -> Path:
    """The run that has a model; there is one."""
    done = [one for one in (folder / "runs").iterdir() if not one.is_symlink() and (one / "model").is_dir()]
    if len(done) != 1:
        raise RuntimeError(f"{len(done)} finished runs in {folder}")
    return done[0]


def table_outputs(name: str) -> Callable[[Path], dict[str, Any]]:
    """Rows of a parquet table, in order; nothing half-written may lie beside it."""

    def outputs(folder: Path) -> dict[str, Any]:
        import pyarrow.parquet as pq

        rows = [repr(row) for row in pq.read_table(folder / name).to_pylist()]
        beside = sorted(one.name for one in folder.iterdir() if name in one.name)
        return {"lines": rows, "files": beside}

    return outputs


def cache_outputs(folder: Path) -> dict[str, Any]:
    """Hashes of everything prepared."""
    cache = folder / "cache"
    files = sorted(path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {
        "files": [str(path.relative_to(cache)) for path in files],
        "content": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.suffix != ".json"],
    }


def commands(root: Path, rows: int) -> dict[str, Command]:
    """Every command on small data; models and tables for them lie in ``root``."""
    train = ["pairs", "train", "set-net", *CPU, "--name", "r{n}", *TRAIN]
    resume = ["pairs", "train", "--resume", "{run}", *CPU]
    table = table_outputs("out.parquet")
    read = ["pairs/blobs", "--read", f"items={rows}", *CPU]
    return {
        "train": Command(train, run_outputs, CHECKPOINT, resume),
        "train-2": Command([*train, "trainer.strategy=ddp"], run_outputs, CHECKPOINT, resume, processes=2),
        "finetune": Command(
            ["pairs", "finetune", str(root / "model"), "--data", "pairs/blobs", *FINETUNE, *CPU, "--name", "r{n}"],
            run_outputs, CHECKPOINT, ["pairs", "finetune", "--resume", "{run}", *CPU],
        ),
        "embed": Command(["embed", str(root / "model"), *read, "-o", "out.parquet"], table, PART),
        "predict": Command(["predict", str(root / "fine"), *read, "-o", "out.parquet"], table, PART),
        "prepare": Command(
            ["molecules", "prepare", "selformer", "--data", str(root / "molecules.csv"), "data.workers=0"],
            cache_outputs, "cache/prepared/*",
        ),
    }  # fmt: skip


def attempt(command: Command, words: Sequence[str], folder: Path) -> list[int]:
    """Start the processes of one attempt; their numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(command.processes):
        child = os.fork()
        if child == 0:
            _be(command.processes, rank, port, words, folder)
        children.append(child)
    return children


def _be(processes: int, rank: int, port: int, words: Sequence[str], folder: Path) -> None:
    """The child: the command line, and nothing after it."""
    code = 70
    try:
        from repcore.cli.main import run

        os.chdir(folder)
        os.environ["REPCORE_CACHE"] = str(folder / "cache")
        if processes > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID=f"run-{port}",
            )  # fmt: skip
        sys.argv = ["repcore", *words]
        said = os.open(folder / f"said-{rank}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = run(list(words))
    finally:
        os._exit(code)


def wait(children: Sequence[int], until: float, seen: Callable[[], bool] = lambda: False) -> list[int] | None:
    """Exit codes; None if they still run at that time, or when something is seen."""
    codes: dict[int, int] = {}
    while True:
        for child in children:
            if child not in codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    codes[child] = os.waitstatus_to_exitcode(status)
        if len(codes) == len(children):
            return [codes[child] for child in children]
        if time.monotonic() > until or (not codes and seen()):
            if codes:  # another has ended already: give the rest a moment
                return _gathered(children, codes)
            return None
        time.sleep(0.005)


def _gathered(children: Sequence[int], codes: dict[int, int]) -> list[int]:
    limit = time.monotonic() + LONGEST
    for child in children:
        while child not in codes:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > limit:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
    return [codes[child] for child in children]


def kill(children: Sequence[int], draw: random.Random) -> None:
    """SIGKILL for one or all; the launcher then ends the others."""
    first = draw.choice([*children, 0])
    for child in children if first == 0 else [first]:
        os.kill(child, signal.SIGKILL)
    for child in children:
        if first not in (0, child):
            os.kill(child, signal.SIGTERM)
            limit = time.monotonic() + 5
            while time.monotonic() < limit and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
                if time.monotonic() > limit - 0.1:
                    os.kill(child, signal.SIGKILL)
    for child in children:
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            continue


def going_on(command: Command, folder: Path, number: int) -> tuple[list[str], bool]:
    """What a user types next, and whether it resumes."""
    runs = sorted((folder / "runs").glob("r*")) if command.resume else []
    for run in reversed(runs):
        if any(folder.glob(CHECKPOINT.replace("r*", run.name))):
            return [word.format(run=run.name, n=number) for word in command.resume], True
    return [word.format(n=number, run="") for word in command.begin], False


def until_killed(
    children: Sequence[int], command: Command, folder: Path, late: bool, draw: float, outcome: Outcome
) -> Any:
    """Exit codes; None if it still runs at the moment of the kill."""
    whole, kept = outcome.whole_seconds, outcome.kept_seconds
    if not late:
        return wait(children, time.monotonic() + draw * whole)
    codes = wait(children, time.monotonic() + LONGEST, lambda: any(folder.glob(command.kept)))
    return codes if codes is not None else wait(children, time.monotonic() + draw * max(0.0, whole - kept))


def trial(command: Command, folder: Path, late: bool, draw: random.Random, outcome: Outcome) -> Mapping[str, Any]:
    """One command with one kill, until it has ended well; its outputs."""
    folder.mkdir()
    killed = False
    for number in range(6):
        words, resumes = going_on(command, folder, number)
        outcome.resumed += resumes
        outcome.again += bool(number and not resumes)
        children = attempt(command, words, folder)
        if killed:
            codes = wait(children, time.monotonic() + LONGEST)
        else:
            codes = until_killed(children, command, folder, late, draw.random(), outcome)
        if codes is None:
            kill(children, draw)
            outcome.kills += 1
            killed = True
        elif not any(codes) or (codes == [2] * len(codes) and killed and any(word in _said(folder) for word in DONE)):
            return command.outputs(folder)  # killed when all its work was done: the next command says so
        elif not killed:
            raise RuntimeError(f"{words} ended with {codes}: {_said(folder)}")
        elif number == 5:
            break
        elif any(code != 0 for code in codes):
            raise RuntimeError(f"{words} ended with {codes} after a kill: {_said(folder)}")
    raise RuntimeError(f"not finished after six attempts: {_said(folder)}")


def _said(folder: Path) -> str:
    return "".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("said-*.txt")))


def compare(whole: Mapping[str, Any], made: Mapping[str, Any], outcome: Outcome, name: str) -> None:
    """Count what is lost, doubled or different."""
    if "lines" in whole:
        outcome.lost += len(set(whole["lines"]) - set(made["lines"]))
        outcome.doubled += len(made["lines"]) - len(set(made["lines"]))
    for part, value in whole.items():
        if made[part] != value:
            outcome.different.append(f"{name}: {part}")


def measured(name: str, command: Command, kills: int, seed: int, root: Path) -> Outcome:
    """Trials of one command until so many kills have hit it."""
    draw, outcome, started = random.Random(f"{name}-{seed}"), Outcome(), time.monotonic()
    whole_folder = root / f"{name}-whole"
    whole_folder.mkdir()
    words, _ = going_on(command, whole_folder, 0)
    begun = time.monotonic()
    children = attempt(command, words, whole_folder)
    codes = wait(children, begun + LONGEST, lambda: any(whole_folder.glob(command.kept)))
    outcome.kept_seconds = time.monotonic() - begun
    codes = codes or wait(children, begun + LONGEST)
    if codes is None or any(codes):
        raise RuntimeError(f"{words} ended with {codes}: {_said(whole_folder)}")
    outcome.whole_seconds = time.monotonic() - begun
    whole = command.outputs(whole_folder)
    while outcome.kills < kills and outcome.trials < 4 * kills:
        folder = root / f"{name}-{outcome.trials}"
        outcome.trials += 1
        late = outcome.trials % 2 == 0
        compare(whole, trial(command, folder, late, draw, outcome), outcome, folder.name)
    outcome.seconds = time.monotonic() - started
    return outcome


@contextmanager
def surroundings(rows: int) -> Iterator[tuple[Path, dict[str, Command]]]:
    """The toy plugin installed, everything imported, models and data made."""
    sys.path.insert(0, str(ROOT))
    import lightning.pytorch  # noqa: F401  once for all forks
    import pyarrow.parquet  # noqa: F401
    import torch
    import torch.utils.tensorboard

    from repcore import registry
    from tests.conftest import write_distribution

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        site = root / "site"
        write_distribution(site, "toy-pairs", "tests.toys.toy_pairs._plugin", entry="pairs")
        sys.path.insert(0, str(site))
        registry.refresh()
        smiles = "".join(f"{i},{'C' * (1 + i % 30)}{'O' * (1 + i // 30 % 30)}\n" for i in range(900))
        (root / "molecules.csv").write_text("id,smiles\n" + smiles)
        try:
            made = commands(root, rows)
            for target, name in (("model", "train"), ("fine", "finetune")):
                folder = root / f"{target}-made"
                folder.mkdir()
                words, _ = going_on(made[name], folder, 0)
                if wait(attempt(made[name], words, folder), time.monotonic() + LONGEST) != [0]:
                    raise RuntimeError(_said(folder))
                (finished_run(folder) / "model").rename(root / target)
            yield root, made
        finally:
            sys.path.remove(str(site))
            sys.path.remove(str(ROOT))
            registry.refresh()


def record(name: str, one: Outcome, seed: int) -> dict[str, Any]:
    """Figures of one command, added to those that other calls of this script have written."""
    path = RESULTS / "random_kills.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    counts = {key: getattr(one, key) for key in ("kills", "resumed", "again", "lost", "doubled")}
    known[name] = {
        **counts,
        "differing": len(one.different),
        "whole_seconds": round(one.whole_seconds, 1),
        "seed": seed,
        **facts(["repcore", "torch", "lightning", "pyarrow"]),
    }
    write_result("random_kills", known)
    (RESULTS / "random_kills.md").write_text(page(known), encoding="utf-8")
    return known


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Random kills", "",
        ("SIGKILL after a random part of the command's duration (every second trial: of what is left of it once there "
         "is a checkpoint, a part or a prepared file), one a trial; then `--resume` where a checkpoint had been "
         "written, else the same command again. Compared bit for bit with the undisturbed run: checkpoint with "
         "the optimiser's state, exported model, lines of metrics (without throughput and waiting), rows of tables, "
         "prepared files. `train-2` is two processes with torchrun's environment over gloo; one or both are killed. "
         "Made with `benchmarks/random_kills.py`."), "",
        "| command | kills | resumed | begun again | lost | doubled | differing outputs | seconds undisturbed | when |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in NAMES:
        if name in known:
            one = known[name]
            columns = ("kills", "resumed", "again", "lost", "doubled", "differing", "whole_seconds")
            versions = ", ".join(f"{package} {which}" for package, which in one["versions"].items())
            cells = [name, *(str(one[column]) for column in columns), f"{one['date']}, seed {one['seed']}; {versions}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=6000, help="for embed and predict")
    given = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    with surroundings(given.rows) as (root, made):
        for name in given.commands:
            outcomes[name] = one = measured(name, made[name], given.kills, given.seed, root)
            sys.stdout.write(
                f"{name}: {one.kills} kills, {one.resumed} resumed, {one.again} begun again, {one.lost} lost, "
                f"{one.doubled} doubled, {len(one.different)} different; {one.seconds:.0f} s\n"
            )
            for words in one.different[:5]:
                sys.stdout.write(f"    {words}\n")
            sys.stdout.flush()
            if one.kills >= ENOUGH:
                record(name, one, given.seed)
    return int(any(one.lost or one.doubled or one.different for one in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
