"""Running the fenced blocks of a page in the order in which a reader meets them.

What the word after the language means:

* ``sh``: every line is run; ``sh not-run`` is not (it needs an account).
* any language with ``file=PATH``: the block is that file; ``append`` adds to it, ``replace="TEXT"`` takes TEXT's place.
* ``python run``: executed.

``<!-- tested with: WORDS -->`` in front of a block adds words to its ``train`` and ``demo`` commands; ``WORDS | MORE``
adds MORE to its ``finetune`` commands, so that tests take seconds where a reader has minutes. ``pip install -e FOLDER``
installs beside the environment, not into it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from repcore import registry
from repcore.cli.main import COMMANDS, root, run

FENCE = re.compile(
    r"(?:<!-- tested with: (?P<more>[^>]*?) -->\n)?^```(?P<words>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`(repcore [^`]+)`")
OPTION = re.compile(r'(\w[\w-]*)(?:=("(?:[^"\\]|\\.)*"|\S+))?')


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    options: dict[str, str]
    body: str
    more: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        language, _, rest = match["words"].partition(" ")
        options = {name: _unquoted(value) for name, value in OPTION.findall(rest)}
        found.append(Block(language, options, match["body"], tuple(shlex.split(match["more"] or ""))))
    return found


def _unquoted(text: str) -> str:
    return text[1:-1].replace("\\n", "\n").replace('\\"', '"') if text.startswith('"') else text


def command_lines(page: Path) -> list[list[str]]:
    """Words of every ``repcore`` command of a page, in a block, set in by four, or within a sentence."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = "\n".join(block["body"] for block in FENCE.finditer(text))
    lines = [*fenced.splitlines(), *(line[4:] for line in text.splitlines() if line.startswith("    "))]
    shown = [line.strip().removeprefix("$ ") for line in lines]
    sentences = FENCE.sub("", text).replace("\n", " ")
    commands = [*(line for line in shown if line.startswith("repcore ")), *INLINE.findall(sentences)]
    return [shlex.split(line, comments=True) for line in commands]


def unknown_part(words: list[str]) -> str:
    """The first word of a command line that names no command or option; empty where all are there.

    Placeholders (``DOMAIN``) and domains that are not installed are passed over.
    """
    command: click.Command = root
    rest = iter(words[1:])
    while isinstance(command, click.Group):
        name = next((word for word in rest if not word.startswith("-")), "")
        absent = command is root and name not in (*COMMANDS, *registry.default().domains())
        if not name or name.isupper() or (absent and name in registry.installable_domains()):
            return ""
        found = command.get_command(click.Context(command), name)
        if found is None:
            return name
        if isinstance(found, click.Group) and found.invoke_without_command and not _names_one(found, words):
            return ""
        command = found
    options = {one for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    asked = [word.partition("=")[0] for word in words if word.startswith("--") and word != "--"]
    return next((one for one in asked if one not in options and one != "--debug"), "")


def _names_one(group: click.Group, words: list[str]) -> bool:
    return bool(set(words) & set(group.list_commands(click.Context(group))))


class Reader:
    """Somebody who does what a page says, in one folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.site = folder / "site"
        self.site.mkdir()
        self.packages: set[str] = set()
        patch.chdir(folder)
        patch.syspath_prepend(str(self.site))

    def follow(self, page: Path) -> int:
        """Do every block; returns how many were run.

        Raises:
            AssertionError: a command ended with another code than 0.
        """
        done = 0
        for block in blocks(page):
            if "file" in block.options:
                self._write(block)
            elif block.language == "sh" and "not-run" not in block.options:
                self._forget()
                for line in block.body.splitlines():
                    self._command(shlex.split(line, comments=True), block.more)
            elif block.language == "python" and "run" in block.options:
                self._forget()
                exec(compile(block.body, str(page), "exec"), {"__name__": "page"})
            else:
                continue
            done += 1
        return done

    def _write(self, block: Block) -> None:
        path = self.folder / block.options["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        if "append" in block.options:
            text = f"{earlier.rstrip()}\n\n\n{block.body.lstrip()}"  # as a formatter leaves it
        elif "replace" in block.options:
            assert earlier.count(block.options["replace"]) == 1, block.options
            text = earlier.replace(block.options["replace"], block.body)
        else:
            text = block.body
        path.write_text(text, encoding="utf-8")

    def _command(self, words: list[str], more: tuple[str, ...]) -> None:
        if not words:
            return
        if words[0] == "repcore":
            cut = more.index("|") if "|" in more else len(more)
            extra = more[:cut] if {"train", "demo"} & set(words) else more[cut + 1 :] if "finetune" in words else ()
            assert run([*words[1:], *extra]) == 0, words
        elif words[:3] == ["pip", "install", "-e"]:
            self._install(Path(words[3]))
        else:
            tool = [sys.executable, "-m", *words] if words[0] in ("ruff", "pytest") else words
            extra = ["-p", "no:cacheprovider"] if words[0] == "pytest" else []
            environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
            done = subprocess.run([*tool, *extra], capture_output=True, text=True, check=False, env=_with(environment))
            assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"

    def _install(self, project: Path) -> None:
        """Metadata by pip into our own site folder, the code from the project's: what ``-e`` does."""
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--upgrade", "--target", str(self.site), str(project.resolve())],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        origin = {"url": project.resolve().as_uri(), "dir_info": {"editable": True}}
        (info,) = self.site.glob(f"{project.name.replace('-', '_')}-*.dist-info")
        (info / "direct_url.json").write_text(json.dumps(origin))
        for package in (project / "src").iterdir():
            shutil.rmtree(self.site / package.name)
            self.packages.add(package.name)
        self.patch.syspath_prepend(str(project.resolve() / "src"))
        self._forget()

    def _forget(self) -> None:
        """What was imported may have been rewritten since."""
        for name in [one for one in sys.modules if one.partition(".")[0] in self.packages]:
            del sys.modules[name]
        importlib.invalidate_caches()
        registry.refresh()

    def close(self) -> None:
        """Leave no trace for other tests."""
        self._forget()
        registry.default.cache_clear()


def _with(more: dict[str, str]) -> dict[str, str]:

    return {**os.environ, **more}
