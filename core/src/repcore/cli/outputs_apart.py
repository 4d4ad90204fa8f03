"""Before a command begins: nothing that it writes is something that it reads, and all of it goes to this machine.

Looked at is what the command line names: every output option against every other word that is a path, by real path and
by file (links of both kinds), and folders by what lies in them. That holds for the commands of plugins, too.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from repcore.errors import DataError
from repcore.outputs import refuse_address

OUTPUTS = ("-o", "--output", "--page", "--report", "--export", "--pseudonymise")
READ_AGAIN = ("--pseudonymise",)  # a file that is read where it is there, and written where not
FOLDERS = ("--out", "--dest")  # in which a new one is made
CARRIED = ("--decisions",)  # an earlier output, read whole before it is written again
ADDED_TO = ("probe",)  # its folder takes results with names of their own, beside what is there
REPLACED = ("import",)  # its folder takes the place of another, whatever lies in that
MODEL_FILES = (".json", ".jsonl", ".yaml", ".safetensors", ".ckpt", ".pt", ".pth")
MOST_FILES = 100_000  # that a pattern names


def writing_apart(command: click.Command) -> click.Command:
    """The command, and those below it, which refuse to write over what they read."""
    if "invoke" in vars(command):  # called before in this process
        return command
    made = command.invoke

    def invoke(ctx: click.Context) -> Any:
        refuse_inputs(ctx)
        return made(ctx)

    command.invoke = invoke  # type: ignore[method-assign]
    for inner in getattr(command, "commands", {}).values():
        writing_apart(inner)
    return command


def refuse_inputs(ctx: click.Context) -> None:
    """Compare outputs with inputs, and with one another.

    Raises:
        DataError: an output is an input, lies over one, or is written twice; names both. ConfigError: it is an address.
    """
    outputs, inputs = [], []
    for one in ctx.command.params:
        name = one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
        option = next((option for option in OUTPUTS if option in one.opts), None)
        value = ctx.params.get(one.name or "")
        if isinstance(value, str | Path) and {*OUTPUTS, *FOLDERS, *CARRIED} & set(one.opts):
            refuse_address(value, name)
        if option is not None and isinstance(value, str | Path):
            outputs.append((option, Path(value).expanduser()))
        elif not set(CARRIED) & set(one.opts):
            is_path = isinstance(one.type, click.Path) or one.name == "data"
            inputs += [(name, path, one.name == "data") for path in _paths(value) if is_path or path.is_file()]
    for number, (option, output) in enumerate(outputs):
        for other, written in outputs[:number]:
            if _is_same(output, written):
                raise DataError(f"{option} and {other} name the same file: {str(output)!r}", hint="two names")
        for name, path, is_data in inputs:
            with contextlib.suppress(OSError):  # no rights, a name too long: told where it is opened
                words = _over(output, path, is_data, ctx.info_name or "", option)
                if words:
                    raise DataError(
                        f"{option} {str(output)!r} {words} {name} {str(path)!r}, which this command reads",
                        hint=f"{option} with a name elsewhere; with --overwrite, too, no input is written over",
                    )


def _paths(value: Any) -> Iterator[Path]:
    """What of a parameter's value exists: a path, several, a pattern, or the value of a setting ``KEY=PATH``."""
    if isinstance(value, tuple | list):
        for one in value:
            yield from _paths(one)
    elif isinstance(value, str | Path):
        text = str(value)
        for part in dict.fromkeys((text, text.partition("=")[2], *text.split(","))):
            with contextlib.suppress(OSError, ValueError):
                path = Path(part).expanduser()
                if part and path.exists():
                    yield path
                elif glob.has_magic(part):
                    found = glob.iglob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
                    yield from map(Path, islice(found, MOST_FILES))


def _over(output: Path, path: Path, is_data: bool, command: str, option: str) -> str:
    """How an output lies over an input, in words; empty if it does not."""
    if _is_same(output, path):
        return "is"
    if not output.exists() or option in READ_AGAIN:
        return ""
    if output.is_dir():  # files may get the name of a file beside them, not of one further below
        above = path.resolve().parents if command in REPLACED else path.resolve().parents[: path.is_file()]
        return "is the folder that holds" if command not in ADDED_TO and output.resolve() in above else ""
    inside = path.is_dir() and path.resolve() in output.resolve().parents
    suffix = output.suffix.lower()
    return "is a file of" if inside and (suffix != ".html" if is_data else suffix in MODEL_FILES) else ""


def _is_same(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)
