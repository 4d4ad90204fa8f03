"""Who imports whom, read from the sources: circles, and the floors on which core's packages stand.

Every import counts, also those inside functions and those for type checkers: a circle that is only walked later is one
all the same to whoever reads the two files.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "src" / "repcore"
Graph = Mapping[str, set[str]]


def packages() -> list[Path]:
    """Folders of core's package and of every plugin's."""
    return [CORE, *sorted(path.parent for path in ROOT.glob("plugins/**/src/*/__init__.py"))]


def module_graph(folder: Path) -> Graph:
    """Module -> modules of the same package that it imports, by full name."""
    files = {module_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    return {name: {_module_of(one, files) for one in imported(path, name)} - {name, ""} for name, path in files.items()}


def _module_of(name: str, files: Mapping[str, Path]) -> str:
    """The module that a full name leads to; empty outside the package."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def module_name(path: Path, folder: Path) -> str:
    """Full name of a file of a package."""
    parts = path.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, name: str) -> Iterator[str]:
    """Full name of everything that a file imports: modules, or attributes of modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_graph(folder: Path) -> Graph:
    """The same between rooms: what lies directly in a package's folder. The package's own file is left out."""
    rooms: dict[str, set[str]] = {}
    for name, used in module_graph(folder).items():
        room = room_of(name)
        if room:
            rooms.setdefault(room, set()).update(room_of(one) for one in used)
    return {room: used - {room, ""} for room, used in rooms.items()}


def room_of(name: str) -> str:
    """Room of a module; empty for the package itself."""
    return [*name.split("."), ""][1]


def circle(graph: Graph) -> list[str]:
    """One way round, or an empty list."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def floors(graph: Graph) -> list[list[str]]:
    """Lowest first: on a floor stands what imports from those below it, and from the one right below at least once."""
    waiting = graphlib.TopologicalSorter(graph)
    waiting.prepare()
    found = []
    while waiting.is_active():
        ready = sorted(waiting.get_ready())
        waiting.done(*ready)
        found.append(ready)
    return found


def floors_table(folder: Path = CORE) -> str:
    """Markdown: floors of a package from the top, each room with the first sentence of its docstring."""
    lines = ["| floor | room | what it is for |", "|---|---|---|"]
    for number, rooms in reversed(list(enumerate(floors(room_graph(folder))))):
        for room in rooms:
            if room != "__main__":
                path = folder / room / "__init__.py" if (folder / room).is_dir() else folder / f"{room}.py"
                shown = f"`{room}/`" if path.name == "__init__.py" else f"`{room}.py`"
                lines.append(f"| {number} | {shown} | {first_sentence(path)} |")
    return "\n".join(lines) + "\n"


def first_sentence(path: Path) -> str:
    """Of a module's docstring, without marks for cross references."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    for word in (":class:", ":func:", ":mod:"):
        text = text.replace(word, "")
    return text.split(". ")[0].removesuffix(".").replace("``", "`").replace("|", "\\|")
