"""Every file or folder given, through ``inspect``, ``train --dry-run`` and ``embed``: a table of verdicts and counts.

Claim: whatever people really have is read right or said plainly. The table shows, for each path, what each command
said: counts of rows by status, of files and cells that were left out, or the first line of its refusal. The exit code
is 1 if any command ended in an error that nobody foresaw.

    python benchmarks/field_table.py molecules FILE... -o molecules.tsv
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 240  # for one command
UNFORESEEN = ("unexpected ", "please report", "Traceback")
DEFAULT_RECIPES = {
    "molecules": ["molecules/selformer"],
    "graphs": ["graphs/masked-node"],
    "audio": ["audio/ssamba"],
    "medical3d": ["medical3d/alice", "medical3d/adam-v2"],
    "pointcloud": ["pointcloud/point-m2ae", "pointcloud/fac"],
}
SMALL = {"trainer.steps=1", "data.validation_limit=2"}


@dataclass
class Said:
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def refusal(self) -> str:
        """The first line of the error."""
        lines = [line for line in self.err.splitlines() if "Error: " in line or line.startswith("Error")]
        return lines[-1][:150] if lines else (self.err.strip().splitlines() or ["?"])[-1][:150]

    @property
    def is_unforeseen(self) -> bool:
        return any(word in self.err or word in self.out for word in UNFORESEEN) or self.code in (-1, 70)


@dataclass
class Verdicts:
    """One line of the table."""

    path: str
    words: dict[str, str] = field(default_factory=dict)
    unforeseen: list[str] = field(default_factory=list)


def command(arguments: Sequence[str]) -> Said:
    """Run one command line in this process."""
    from repcore.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    started = time.monotonic()

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = run(list(arguments))
    except BaseException as error:  # whatever gets through is the finding
        code = -1
        err.write(f"\nunexpected {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    return Said(code, out.getvalue(), err.getvalue(), time.monotonic() - started)


def one_path(domain: str, path: Path, name: str, models: dict[str, Path], folder: Path) -> Verdicts:
    """All three commands on one path."""
    line = Verdicts(name)
    said = command(["inspect", str(path), "--domain", domain, "--rows", "300", "--json"])
    recipes = DEFAULT_RECIPES[domain]
    if said.code in (0, 1) and said.out.lstrip().startswith("{"):  # 1: no row can be used
        found = json.loads(said.out)
        recipes = [one for one in recipes if one in found["recipes"]] or found["recipes"] or recipes
        line.words["inspect"] = inspected(found)
    else:
        line.words["inspect"] = f"refused: {said.refusal}"
    line.unforeseen += ["inspect"] * said.is_unforeseen
    recipe = recipes[0]
    short = recipe.rpartition("/")[2]
    dry = command([domain, "train", short, "--data", str(path), "--dry-run", *sorted(SMALL)])
    rows = next((text for text in dry.out.splitlines() if text.startswith("rows:")), "ok")
    line.words["train --dry-run"] = rows.removeprefix("rows:").strip() if dry.code == 0 else f"refused: {dry.refusal}"
    line.unforeseen += ["train"] * dry.is_unforeseen
    model = _model(domain, short, path if dry.code == 0 and domain == "graphs" else None, models, folder)
    vectors = folder / "vectors.parquet"
    embedded = command(["embed", str(model), str(path), "-o", str(vectors), "--overwrite", "--json"])
    if embedded.code in (0, 1) and "{" in embedded.out:  # 1: no row has a vector
        record = json.loads(embedded.out[embedded.out.index("{") :])
        counts = ", ".join(f"{count} {status}" for status, count in record["status"].items())
        line.words["embed"] = f"{record['rows_in']} rows: {counts}"
    else:
        line.words["embed"] = f"refused: {embedded.refusal}"
    line.unforeseen += ["embed"] * embedded.is_unforeseen
    return line


def _model(domain: str, recipe: str, path: Path | None, models: dict[str, Path], folder: Path) -> Path:
    """A model of one step: of the path itself where features differ from file to file, else one for all."""
    key = f"{recipe}:{path or ''}"
    if key not in models:
        models[key] = trained(domain, recipe, folder / str(len(models)), path)
    return models[key]


def inspected(found: dict[str, Any]) -> str:
    """Reader, rows, status, files, labels and number of warnings."""
    status = ", ".join(f"{count} {name}" for name, count in found["status"].items())
    files = ", ".join(f"{count} {fate}" for fate, count in found["account"]["files"].items() if count)
    labels = ", ".join(f"{name} {facts['kind']}" for name, facts in list(found["targets"].items())[:4])
    odd = len(found["account"]["odd_cells"])
    parts = [found["reader"].rpartition("/")[2], f"{found['rows']} rows ({status})", f"files {files}" if files else ""]
    parts += [f"labels {labels}" if labels else "", f"odd cells in {odd} columns" if odd else ""]
    parts += [f"{len(found['warnings'])} warnings" if found["warnings"] else "clean"]
    return "; ".join(part for part in parts if part)


def trained(domain: str, recipe: str, folder: Path, path: Path | None) -> Path:
    """A model of one step, of the recipe's own data or of a path."""
    data = [] if path is None else ["--data", str(path)]
    said = command([domain, "train", recipe, *data, "--out", str(folder), "--name", "one-step", *sorted(SMALL)])
    if not (folder / "one-step" / "model").is_dir():
        raise SystemExit(f"no model of {domain}/{recipe}: {said.err[-800:]}")
    return folder / "one-step" / "model"


def main() -> int:
    """Print the table as tab-separated lines; 1 if anything was unforeseen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", choices=sorted(DEFAULT_RECIPES))
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    lines = []
    with tempfile.TemporaryDirectory() as text:
        models: dict[str, Path] = {}
        for path in given.paths:
            name = "/".join(path.parts[-2:])
            line = one_path(given.domain, path, name, models, Path(text))
            bad = "UNFORESEEN " + ", ".join(line.unforeseen) if line.unforeseen else ""
            cells = [line.path, line.words["inspect"], line.words["train --dry-run"], line.words["embed"], bad]
            lines.append("\t".join(ascii(cell)[1:-1] if not cell.isprintable() else cell for cell in cells))
            sys.stderr.write(lines[-1] + "\n")
    header = "path\tinspect\ttrain --dry-run\tembed\tunforeseen"
    table = "\n".join([header, *lines]) + "\n"
    if given.output is not None:
        given.output.write_text(table, encoding="utf-8")
    else:
        sys.stdout.write(table)
    return int(any("UNFORESEEN" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
