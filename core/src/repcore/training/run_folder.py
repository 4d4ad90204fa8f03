"""The folder of a run: settings, environment, metrics, checkpoints, model, diagnostics, report.

    runs/<domain>-<recipe>-<stamp>/
      config.json  origin.json  environment.json  metrics.jsonl  rejected.jsonl  diagnostics.json  preprocessing/
      commands.jsonl  pictures.jsonl  tensorboard/  checkpoints/{last,best}.ckpt  model/  report.html
    runs/latest -> newest

Files are written under a temporary name and renamed: whoever reads a run folder never sees half a file.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repcore.errors import ConfigError, RunError
from repcore.files import DEVICES, as_strict, parse_json, read_json_file, read_lines, write_text
from repcore.launching import COMMAND, is_first_process
from repcore.outputs import folder_for
from repcore.registry import Registry

COMMANDS = "commands.jsonl"
REQUEST = "request.json"  # of a fine-tuning: what was asked for, by which it can go on
MOST_NAMED = 8
DEEPEST_INSIDE = 4  # folders from a run inside another one (controls/<name>/members/<k>) up to that one
LONGEST_NAME = 200  # bytes; systems take 255, and numbers and suffixes are put behind


class RunFolder:
    """Paths and atomic writes of one run.

    Args:
        path: the folder; must exist unless :meth:`create` made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, name: str) -> RunFolder:
        """A new folder ``<root>/<name>`` (numbered if taken) and ``<root>/latest`` pointing at it.

        Further processes of a run make none and write nothing; they are told its path when training begins.
        """
        if not is_first_process():
            return cls(root / name)
        folder_for(root, "--out")
        for number in range(1, 1000):
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            folder = cls(path)
            try:
                (path / "checkpoints").mkdir()
                folder.note_command()
            except OSError:  # a full disk
                folder.remove()
                raise
            folder.point_latest()
            return folder
        raise RunError(f"{root / name} and 998 numbered folders beside it exist", hint="choose another --name")

    @classmethod
    def inside(cls, path: Path) -> RunFolder:
        """The folder of a run that belongs to another one (a control, a fold); made if needed, never ``latest``."""
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, word: str, root: Path) -> RunFolder:
        """An existing run by path, by name under ``root``, or ``latest``.

        Raises:
            RunError: no such run, or it has no settings.
        """
        for path in (Path(word), root / word):
            if (path / "config.json").is_file():
                return cls(path.resolve())
        names = [path.name for path in sorted(root.glob("*")) if (path / "config.json").is_file()]
        shown = [f"{len(names) - MOST_NAMED} others", *names[-MOST_NAMED:]] if len(names) > MOST_NAMED else names
        raise RunError(f"no run {word!r}", looked_in=f"{word} and {root / word}", runs=", ".join(shown) or "none")

    def point_latest(self) -> None:
        """Let ``latest`` point here; without symbolic links (some file systems) it is left out."""
        link = self.path.parent / "latest"
        temporary = self.path.parent / f".latest-{uuid.uuid4().hex[:8]}"
        try:
            temporary.symlink_to(self.path.name, target_is_directory=True)
            temporary.replace(link)
        except OSError:
            temporary.unlink(missing_ok=True)

    def point_latest_again(self) -> None:
        """The same for a run that goes on; runs inside another one have no ``latest`` beside them, and make none."""
        if is_first_process() and (self.path.parent / "latest").is_symlink():
            self.point_latest()

    def note_command(self) -> None:
        """Write down by which command the run begins or goes on; from Python there is none."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        lines = [{"at": now, "command": list(COMMAND.get()), "in": str(Path.cwd())}]
        earlier = None if (self.path / COMMANDS).exists() else self.read_json("environment.json")
        if earlier:  # a run of a version that kept only this
            lines.insert(0, {"at": earlier.get("started"), "command": earlier.get("command")})
        self.append_lines(COMMANDS, lines)

    def commands(self) -> list[list[str]]:
        """The command that began this run (or the one that it lies in), then those that went on with it."""
        whole = self.around(COMMANDS)
        lines = [] if whole is None else [one for one in read_lines(whole / COMMANDS) if isinstance(one, dict)]
        return [[str(word) for word in one.get("command") or ()] for one in lines]

    def around(self, name: str) -> Path | None:
        """The folder of this run, or of one that it lies in, in which a file of that name is."""
        folders = (self.path, *self.path.parents[:DEEPEST_INSIDE])
        return next((one for one in folders if (one / name).is_file()), None)

    def place_of(self, path: str) -> str:
        """A path as the run's first command named it, seen from here: relative ones began where that was typed."""
        if not path or "://" in path or Path(path).exists() or Path(path).is_absolute():
            return path
        first = next(read_lines(self.path / COMMANDS), None)
        there = Path(str(first.get("in", "")) if isinstance(first, dict) else "") / path
        return str(there) if there.is_absolute() and there.exists() else path

    def remove(self) -> None:
        """Take a run away that holds nothing to go on from; ``latest`` points to the newest that is left."""
        shutil.rmtree(self.path, ignore_errors=True)
        link = self.path.parent / "latest"
        if link.is_symlink() and not link.exists():
            left = [one for one in self.path.parent.iterdir() if (one / "config.json").is_file()]
            if left:
                RunFolder(max(left, key=lambda one: (one / "config.json").stat().st_mtime)).point_latest()
            else:
                link.unlink(missing_ok=True)

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def preprocessing(self) -> Path:
        return self.path / "preprocessing"

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically; further processes of a run write nothing."""
        if not is_first_process():
            return
        write_text(self.path / name, json.dumps(as_strict(value), indent=1, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """A JSON file of this run; None if it does not exist.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return read_json_file(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read as JSON", reason=error) from error

    def append_lines(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Append objects to a JSON-lines file; without objects no file is made."""
        text = "".join(json.dumps(as_strict(record), allow_nan=False) + "\n" for record in records)
        if text and is_first_process():
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(text)

    def drop_lines_after(self, step: int) -> None:
        """Forget metrics of steps that a resumed run will make again (``step`` = optimiser steps that are kept).

        Raises:
            RunError: a line in the middle of a file is damaged; what stands behind it is not thrown away.
        """
        for name in ("metrics.jsonl", "diagnostics.jsonl"):
            path = self.path / name
            if path.is_file():
                kept = [line for line in _sound_lines(path) if line.get("step", 0) <= step]
                write_text(path, "".join(json.dumps(as_strict(line), allow_nan=False) + "\n" for line in kept))


def _sound_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file of figures; a last line that a kill has cut off is left out.

    Raises:
        RunError: another line is no object with a number of steps.
    """
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line.decode("utf-8"))
        except ValueError as error:
            if number == len(lines):
                break
            raise _damaged_line(path, number, str(error)) from error
        step = record.get("step", 0) if isinstance(record, dict) else None
        if isinstance(step, bool) or not isinstance(step, int | float):
            raise _damaged_line(path, number, "it is no object with a number of steps")
        found.append(record)
    return found


def _damaged_line(path: Path, number: int, reason: str) -> RunError:
    return RunError(
        f"line {number} of {path} is damaged",
        reason=reason,
        hint="move the file away (the run then goes on without its earlier figures), or mend the line",
    )


def check_run_name(name: str | None) -> None:
    """The name of a run is that of one folder, on any system.

    Raises:
        ConfigError: it is a path, holds control characters, is too long, or the system or a run folder means
            something else by it.
    """
    if not name:
        return
    reason = ""
    if re.search(r"[/\\\x00-\x1f\x7f]", name) or not name.strip(". "):
        reason = "it is a path, or holds what no name of a folder may hold"
    elif len(os.fsencode(name)) > LONGEST_NAME:
        reason = f"it has {len(os.fsencode(name))} bytes"
    elif name.partition(".")[0].strip().lower() in DEVICES:
        reason = "it is a device of Windows"
    elif name == "latest":
        reason = "this is what the newest run is called"
    if reason:
        raise ConfigError(
            f"--name {name!r} cannot name a run: {reason}",
            expected=f"one word for a folder, without / and \\, at most {LONGEST_NAME} bytes",
            hint="--out FOLDER says where runs lie",
        )


def run_name(recipe: str, name: str | None) -> str:
    """``<domain>-<recipe>-<stamp>``, or the name the user gave.

    Raises:
        ConfigError: see :func:`check_run_name`.
    """
    check_run_name(name)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return name or f"{recipe.replace('/', '-')}-{stamp}"


def environment(registry: Registry, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, plugins, machine and whatever the run adds (op choices, data fingerprint)."""
    import importlib.metadata

    versions = {}
    for name in ("repcore", "torch", "lightning", "numpy", "scikit-learn", "safetensors"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv[1:],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
        "plugins": {one.name: one.version for one in registry.records if one.info and one.distribution != "repcore"},
        **extra,
    }
