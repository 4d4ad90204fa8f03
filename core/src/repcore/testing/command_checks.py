"""Checks of a plugin's own commands: each is a click command whose help ends with an example that can be run."""

from __future__ import annotations

from dataclasses import dataclass

import click

from repcore.registry import Entry
from repcore.specs import CommandSpec
from repcore.testing.check import Check, fail


@dataclass(frozen=True, slots=True)
class CommandSubject:
    """A command of a plugin."""

    entry: Entry[CommandSpec]


def helps(subject: CommandSubject) -> None:
    """The target is a click command; its help says what it does, every option too, and gives an example."""
    command = subject.entry.load()
    if not isinstance(command, click.Command):
        fail(f"{type(command).__name__} is no click command")
    text = command.help or ""
    if not text.strip():
        fail("the command has no help text")
    if "Example" not in text:
        fail("the help has no example: a line 'Example:' and a command below it")
    silent = [
        one.opts[0] for one in command.params if isinstance(one, click.Option) and not one.help and not one.hidden
    ]
    if silent:
        fail(f"options without help: {', '.join(silent)}")


CHECKS = (Check("command-helps", helps),)
