"""Write the pages and lists that follow from the code: reference pages, differences from the papers, frozen interface.

    python scripts/reference.py            write everything that differs
    python scripts/reference.py --check    write nothing; exit code 1 if anything differs

The interface lists (tests/ecosystem/frozen) are what others rely on: public names, command-line flags, hooks, spec
fields, names of what each plugin registers and the state-dict keys of its encoders. A line that disappears there
breaks somebody's code, script or checkpoint: that takes a new contract number or a mention in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from repcore import hooks, interfaces, registry, specs
from repcore.cli.main import COMMANDS, DOMAIN_COMMANDS, load_target, root
from repcore.plugins import BUILT_IN, PluginRecord

try:
    from scripts.import_graph import floors_table
except ImportError:  # run as a file: this folder, not the root, is on the path
    from import_graph import floors_table

ROOT = Path(__file__).resolve().parents[1]
FROZEN = Path("tests/ecosystem/frozen")
MADE = "<!-- Written by scripts/reference.py; do not edit. -->\n"
PUBLIC_MODULES = ("repcore", "repcore.config", "repcore.testing")


# ------------------------------------------------------------------------------------------ command line


def commands() -> Iterator[tuple[str, click.Command]]:
    """Core's commands with the words that call them, subcommands after their group."""
    yield "repcore", root
    for name, (target, _) in COMMANDS.items():
        yield from _with_subcommands(f"repcore {name}", load_target(target))
    for name, (target, _) in DOMAIN_COMMANDS.items():
        yield f"repcore DOMAIN {name}", load_target(target)


def _with_subcommands(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield f"{words} {name}", command.commands[name]


def options(command: click.Command) -> list[tuple[str, str, str]]:
    """Flags, default and help of each option; arguments come first, without help."""
    rows = []
    for one in command.params:
        if isinstance(one, click.Argument):
            rows.append((one.human_readable_name.upper(), "", "optional" if not one.required else "required"))
        elif isinstance(one, click.Option):
            shown = one.show_default and one.default not in (None, False, ())
            rows.append(
                (", ".join([*one.opts, *one.secondary_opts]), str(one.default) if shown else "", one.help or "")
            )
    return rows


def cli_page() -> str:
    """docs/reference/cli.md."""
    parts = [
        MADE,
        "# Command line\n\n",
        "Add `--debug` anywhere for tracebacks. Exit codes: 0 done, 1 a check failed, ",
    ]
    parts.append("2 bad usage or input, 128 + signal stopped (130: Ctrl-C).\n\n")
    for words, command in commands():
        text = inspect.cleandoc(command.help or "").replace("\b", "")
        prose, _, example = text.partition("Example:")
        parts.append(f"## `{words}`\n\n{prose.strip()}\n\n")
        if example:
            parts.append("```text\n" + inspect.cleandoc(example).strip() + "\n```\n\n")
        rows = options(command)
        if rows:
            parts.append(table(("argument or option", "default", "meaning"), [(f"`{a}`", b, c) for a, b, c in rows]))
    return "".join(parts)


# ---------------------------------------------------------------------------------------- hooks and checks


def hook_functions() -> dict[str, Callable[..., Any]]:
    """Every hook of the contract in its order."""
    return {name: one for name, one in vars(hooks).items() if name.startswith("repcore_") and callable(one)}


def hooks_page() -> str:
    """docs/reference/hooks.md."""
    parts = [
        MADE,
        f"# Hooks and specs\n\nContract number {hooks.API_VERSION}. ",
        _first(hooks.__doc__),
        "\n\n## Hooks\n\n",
    ]
    rows = [(f"`{name}`", f"`{returns(one)}`", _first(one.__doc__)) for name, one in hook_functions().items()]
    parts.append(table(("hook", "returns", "meaning"), rows))
    for spec in (specs.PluginInfo, specs.TensorSpec, specs.TargetSpec, *specs.SPEC_TYPES):
        parts.append(f"## `{spec.__name__}`\n\n{_prose(spec.__doc__)}\n\n")
        rows = [
            (f"`{name}`", f"`{kind}`", f"`{default}`" if default else "required")
            for name, kind, default in spec_fields(spec)
        ]
        parts.append(table(("field", "type", "default"), rows))
    return "".join(parts)


def returns(hook: Callable[..., Any]) -> str:
    """Return annotation of a hook without the module name."""
    return str(inspect.signature(hook).return_annotation).replace("specs.", "")


def spec_fields(spec: type) -> list[tuple[str, str, str]]:
    """Name, type and default of every field; an empty default means that there is none."""
    rows = []
    for one in dataclasses.fields(spec):
        default = ""
        if one.default is not dataclasses.MISSING:
            default = repr(one.default)
        elif one.default_factory is not dataclasses.MISSING:
            default = f"{one.default_factory()!r}"
        rows.append((one.name, str(one.type), default))
    return rows


def checks_page() -> str:
    """docs/reference/checks.md."""
    from repcore.testing.catalogue import GROUPS

    rows = [
        (what, f"`{one.id}`", one.level, _first(one.function.__doc__))
        for what, checks in GROUPS.items()
        for one in checks
    ]
    head = "# Conformance checks\n\n`repcore plugins check NAME` runs the fast ones, `--level full` all. Which are due "
    head += "follows from what a plugin registers.\n\n"
    return MADE + head + table(("on", "check", "level", "proves"), rows)


# ------------------------------------------------------------------------------------------- differences


def differences_page() -> str:
    """docs/differences.md, from the specs of all installed systems."""
    parts = [
        MADE,
        "# Differences from the papers\n\nWhere our default departs from a paper or its code, and the setting ",
    ]
    parts.append("that brings the published behaviour back. Generated from the specs (`repcore show SYSTEM`).\n\n")
    for entry in registry.default().entries("system"):
        spec = entry.spec
        parts.append(f"## {entry.full_name}\n\n{spec.paper}\n\n" if spec.paper else f"## {entry.full_name}\n\n")
        if spec.notices:
            parts.append(f"Notices: {spec.notices}\n\n")
        parts.append(
            table(("topic", "published", "here", "setting"), spec.differences) if spec.differences else "None.\n\n"
        )
    return "".join(parts)


# ----------------------------------------------------------------------------------------- architecture

FLOORS = re.compile(r"(<!-- floors: .*? -->\n).*?(<!-- end of floors -->)", re.DOTALL)


def architecture_page() -> str:
    """docs/architecture.md with its table of floors as the imports are."""
    written = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return FLOORS.sub(lambda found: f"{found[1]}\n{floors_table()}\n{found[2]}", written)


# -------------------------------------------------------------------------------------- frozen interface


def core_interface() -> list[str]:
    """One line for each thing of core that others rely on."""
    lines = [f"contract {hooks.API_VERSION}"]
    for module in PUBLIC_MODULES:
        lines += [f"name {module}.{name}" for name in importlib.import_module(module).__all__]
    own = [
        one
        for one in vars(interfaces).values()
        if inspect.isclass(one) and one.__module__.startswith("repcore.interfaces.")
    ]
    lines += [f"interface {one.__name__}.{name}" for one in own for name in _members(one)]
    lines += [f"hook {name}{inspect.signature(one)}" for name, one in hook_functions().items()]
    for spec in (specs.PluginInfo, specs.TensorSpec, specs.TargetSpec, *specs.SPEC_TYPES):
        lines += [
            f"field {spec.__name__}.{name}: {kind} = {default or 'required'}"
            for name, kind, default in spec_fields(spec)
        ]
    for words, command in commands():
        lines += [f"flag {words} {flags}" for flags, _, _ in options(command)] or [f"flag {words}"]
    lines += [f"{entry.spec.kind} {entry.full_name}" for entry in _entries(BUILT_IN)]
    return sorted(lines)


def _members(interface: type) -> list[str]:
    if dataclasses.is_dataclass(interface):
        return [one.name for one in dataclasses.fields(interface)]
    return sorted(name for name in vars(interface) if not name.startswith("_")) or ["(a callable)"]


def plugin_interface(record: PluginRecord) -> list[str]:
    """One line for each name, flag and state-dict key of a plugin; numbers in keys are written ``{i}``."""
    from repcore.testing.kit import plan
    from repcore.testing.subjects import EncoderSubject

    lines = []
    for entry in _entries(record.name):
        lines.append(f"{entry.spec.kind} {entry.full_name}")
        if entry.spec.kind == "command":
            lines += [f"flag {entry.full_name} {flags}" for flags, _, _ in options(entry.load())]
        if entry.spec.kind == "recipe":
            lines += [f"preset {entry.full_name} {name}" for name in entry.spec.presets]
    for due in plan(registry.default(), record, "fast"):
        subject = due.subject
        if due.check.id == "state-dict-roundtrip" and not due.missing:
            quick = EncoderSubject(subject.entry, None) if subject.entry.spec.example else subject
            keys = {re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)", "{i}", key) for key in quick.build().state_dict()}
            lines += [f"key {subject.entry.full_name} {key}" for key in keys]
    return sorted(lines)


def _entries(plugin: str) -> Iterator[registry.Entry[Any]]:
    known = registry.default()
    for kind in (spec.kind for spec in specs.SPEC_TYPES):
        yield from (entry for entry in known.entries(kind) if entry.plugin.name == plugin)


def first_party() -> list[PluginRecord]:
    """The plugins of this repository that are installed."""
    return [one for one in registry.default().records if one.is_first_party and one.name != BUILT_IN and one.specs]


# ---------------------------------------------------------------------------------------------- together


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in cells) + "\n"


def _first(text: str | None) -> str:
    """First sentence or paragraph of a docstring, Markdown marks for code."""
    return _marked(" ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split()))


def _prose(text: str | None) -> str:
    """A docstring with its arguments as a list."""
    body, _, rest = inspect.cleandoc(text or "").partition("Args:")
    items = re.findall(r"^    (\S[^:]*): (.*(?:\n        .*)*)", rest, re.MULTILINE)
    listed = "\n".join(f"* `{name}`: {_marked(' '.join(meaning.split()))}" for name, meaning in items)
    return _marked(body.strip()) + (f"\n\n{listed}" if listed else "")


def _marked(text: str) -> str:
    return re.sub(r":(?:class|func|mod|data|meth):`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def pages() -> Mapping[Path, Callable[[], str]]:
    """Every generated page by its path from the root."""
    return {
        Path("docs/reference/cli.md"): cli_page,
        Path("docs/reference/hooks.md"): hooks_page,
        Path("docs/reference/checks.md"): checks_page,
        Path("docs/differences.md"): differences_page,
        Path("docs/architecture.md"): architecture_page,
    }


def everything() -> Mapping[Path, Callable[[], str]]:
    """Pages and interface lists."""
    lists: dict[Path, Callable[[], str]] = {FROZEN / "core.txt": lambda: _text(core_interface())}
    for record in first_party():
        lists[FROZEN / f"{record.name}.txt"] = partial(_plugin_list, record)
    return {**pages(), **lists}


def _plugin_list(record: PluginRecord) -> str:
    return _text(plugin_interface(record))


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or compare; 1 when something differs and nothing was to be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path, make in everything().items():
        text, target = make(), ROOT / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path))
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
