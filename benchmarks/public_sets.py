"""One cheap probe per public set, to hold one version of repcore against another.

Claim: reading real sets more carefully does not change what is read where nothing was wrong. Every set is trained on
for a few steps with a fixed seed and probed with the same settings; everything goes through the command line, so that
this script runs with other versions, too; versions with `dense-probe` and `scene-probe` need those in the lines of
hippocampus and Wachtberg.

    python benchmarks/public_sets.py --data DATA -o new.json
    python benchmarks/public_sets.py --old old.json --new new.json -o public_sets.md
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 4
TOLERANCE = 5e-4  # relative: three digits


@dataclass(frozen=True)
class Set:
    """A set: where it lies, what is trained on it, and how the result is probed."""

    name: str
    path: str
    train: tuple[str, ...]  # domain, recipe, overrides
    probe: tuple[str, ...]  # command line in which MODEL and DATA stand for paths


def _item(label: str, split: str, *more: str) -> tuple[str, ...]:
    return ("probe", "MODEL", "--data", "DATA", "--label", label, "--split", split, "--seeds", "1", *more)


VOXELS = ("--level", "voxel", "--labels", "3")
POINTS = ("--level", "point", "--ignore", "0", "--group", "sector")
SETS = (
    Set("ESOL", "molecules/esol/esol.csv", ("molecules", "selformer"), _item("logS", "scaffold")),
    Set(
        "FreeSolv", "molecules/freesolv/freesolv.csv", ("molecules", "selformer"), _item("dG_hyd_kcal_mol", "scaffold")
    ),
    Set("BBBP", "molecules/bbbp/bbbp.csv", ("molecules", "selformer"), _item("p_np", "scaffold")),
    Set("FSDD", "audio/fsdd", ("audio", "ssamba", "data.split=random"), _item("digit", "group")),
    Set("MUTAG", "graphs/MUTAG", ("graphs", "masked-node"), _item("label", "folds:10")),
    Set("PROTEINS", "graphs/PROTEINS", ("graphs", "masked-node"), _item("label", "folds:10")),
    Set(
        "hippocampus",
        "medical3d/msd_hippocampus",
        ("medical3d", "alice"),
        _item("segmentation", "declared", *VOXELS),
    ),
    Set(
        "NIH films",
        "medical2d/nih_cxr_small",
        ("medical3d", "adam-v2", "data.split=random"),
        _item("pneumonia", "declared"),
    ),
    Set(
        "quaternius",
        "pointcloud/quaternius_lowpoly/points.npz",
        ("pointcloud", "point-m2ae"),
        _item("class", "declared"),
    ),
    Set(
        "Wachtberg",
        "pointcloud_scenes/lidar_wachtberg",
        ("pointcloud", "fac"),
        _item("label5", "held-out:3,7,9,11", *POINTS),
    ),
)


def command(arguments: list[str]) -> str:
    """What a command line prints, run in this process.

    Raises:
        RuntimeError: it failed; holds what it said.
    """
    from repcore.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = run(arguments)
    if code:
        raise RuntimeError(f"{' '.join(arguments)}: {err.getvalue()[-400:]}")
    return out.getvalue()


def measured(one: Set, data: Path, folder: Path) -> dict[str, Any]:
    """Train for a few steps and probe: every figure by its name."""
    path, started = str(data / one.path), time.monotonic()
    domain, recipe, *settings = one.train
    settings = [f"trainer.steps={STEPS}", "data.validation_limit=8", *settings]
    command([domain, "train", recipe, "--data", path, "--out", str(folder), "--name", "run", *settings])
    places = {"MODEL": str(folder / "run" / "model"), "DATA": path}
    words = [places.get(word, word) for word in one.probe]
    text = command([*words, "--json"])
    found: dict[str, float] = {}
    place = text.find("{")
    while place >= 0:  # one record a label
        record, end = json.JSONDecoder().raw_decode(text, place)
        found |= figures(record)
        place = text.find("{", end)
    return {"seconds": round(time.monotonic() - started), "figures": found}


def figures(record: dict[str, Any]) -> dict[str, float]:
    """Main figures of a probe's record, whichever command made it."""
    tables = [record[name] for name in ("table", "tables") if name in record] or [record]
    flat: list[Any] = []
    for table in tables:
        flat += list(table) if isinstance(table, list) else [table]
    found: dict[str, float] = {}
    for table in flat:
        for entry in table.get("entries", []) if isinstance(table, dict) else []:
            if entry.get("primary", True) and entry["mean"] is not None:
                target = table.get("target", {}).get("name", "")
                found[f"{target} {entry['features']} {entry['probe']} {entry['metric']}".strip()] = entry["mean"]
    return found or numbers(record)


def numbers(value: Any, name: str = "") -> dict[str, float]:
    """Every number of a nested record by its path."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {}
    if isinstance(value, int | float):
        return {name: float(value)}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: one for part, inner in pairs for key, one in numbers(inner, f"{name} {part}".strip()).items()}


def compared(old: dict[str, Any], new: dict[str, Any]) -> str:
    """A table of both sides; figures that differ by more than three digits are marked."""
    lines = ["| set | features, probe, metric | old | new | |", "|---|---|---|---|---|"]
    for name in new:
        if "problem" in new[name] or name not in old or "problem" in old[name]:
            said = [side.get(name, {}).get("problem", "ran") for side in (old, new)]
            lines.append(f"| {name} | | {said[0][:120]} | {said[1][:120]} | differs |")
            continue
        before, after = old[name]["figures"], new[name]["figures"]
        for figure in sorted({*before, *after}):
            pair = [side.get(figure) for side in (before, after)]
            is_same = None not in pair and abs(pair[0] - pair[1]) <= TOLERANCE * max(abs(pair[0]), abs(pair[1]))
            shown = ["-" if one is None else f"{one:.4g}" for one in pair]
            lines.append(f"| {name} | {figure} | {shown[0]} | {shown[1]} | {'' if is_same else 'differs'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure one version, or write the comparison of two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the sets")
    parser.add_argument("--sets", default=",".join(one.name for one in SETS))
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    if given.data is None:
        sides = [json.loads(path.read_text("utf-8")) for path in (given.old, given.new)]
        given.output.write_text(compared(*sides), encoding="utf-8")
        return 0
    logging.disable(logging.CRITICAL)
    found = json.loads(given.output.read_text("utf-8")) if given.output.exists() else {}
    for one in SETS:
        if one.name not in given.sets.split(","):
            continue
        with tempfile.TemporaryDirectory() as text:
            try:
                found[one.name] = measured(one, given.data, Path(text))
            except (RuntimeError, ValueError) as error:
                found[one.name] = {"problem": str(error)}
        sys.stderr.write(f"{one.name}: {found[one.name]}\n"[:600])
        given.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
