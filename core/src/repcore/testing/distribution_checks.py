"""Checks of an installed distribution: its imports are declared, its wheel is complete, importing it is harmless."""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from repcore.testing import limits
from repcore.testing.check import NotJudgedError, fail
from repcore.testing.deep import PluginSubject

BUILD_SECONDS = 60.0
CACHES = frozenset({"__pycache__", ".ruff_cache", ".mypy_cache"})


def no_side_effects(subject: PluginSubject) -> None:
    """Importing everything leaves directory, environment, random states, default dtype and root log as they were."""
    found = subject.trial.effects
    if found:
        fail(f"importing the plugin changes {', '.join(found)}")


def imports_declared(subject: PluginSubject) -> None:
    """Every package that the code imports is a declared dependency, core's own, or named in a spec's ``needs``.

    An op's implementation called like a package (``triton``) may import it where ``usable`` says when it is there.
    """
    distribution = _distribution(subject)
    declared = {_plain(one) for one in [*(distribution.requires or ()), *_core_requires()]} | {"repcore"}
    optional = {module.partition(".")[0] for spec in subject.record.specs for module in getattr(spec, "needs", ())}
    optional |= {name.replace("-", "_") for spec in subject.record.specs for name in getattr(spec, "usable", ())}
    owners = importlib.metadata.packages_distributions()
    folder = _package_folder(subject)
    own = subject.package
    wrong: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for module, line in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            if module in sys.stdlib_module_names or module in optional or module == own:
                continue
            known = {_plain(one) for one in owners.get(module, (module,))}
            if not known & declared and not any(one.startswith(_plain(module)) for one in declared):
                wrong.setdefault(module, f"{path.relative_to(folder)}:{line}")
    if wrong:
        places = ", ".join(f"{module} ({place})" for module, place in wrong.items())
        fail(f"imported but not among the dependencies of {distribution.metadata['Name']}: {places}")


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Top package and line of every import, but those for type checkers and those whose ImportError is caught."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                yield node.module.partition(".")[0], node.lineno
        elif isinstance(node, ast.Try) and any(_catches_import(one) for one in node.handlers):
            for part in (*node.orelse, *node.finalbody):
                yield from imported_modules(part)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for part in node.orelse:
                yield from imported_modules(part)
        else:
            yield from imported_modules(node)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and any(
        word in ast.dump(handler.type) for word in ("ImportError", "ModuleNotFound")
    )


def wheel_has_data_files(subject: PluginSubject) -> None:
    """Every file of the package is in its wheel (built for an editable install); no installed file is gone."""
    distribution = _distribution(subject)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        record = distribution.read_text("RECORD")
        if record is None:
            raise NotJudgedError("the installed metadata has no list of files")
        names = [row[0] for row in csv.reader(record.splitlines()) if row]  # .files leaves out what is gone since 3.12
        gone = [
            one for one in names
            if not one.endswith(".pyc") and not Path(str(distribution.locate_file(one))).exists()
        ]  # fmt: skip
        if gone:
            fail(f"installed files are gone: {', '.join(gone[:4])}")
        return
    folder = _package_folder(subject)
    expected = {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not CACHES & set(path.parts) and path.suffix != ".pyc"
    }
    missing = sorted(expected - _built_names(Path(unquote(urlsplit(origin["url"]).path))))
    if missing:
        fail(f"{len(missing)} files of the package are not in its wheel: {', '.join(missing[:4])}")


def _built_names(source: Path) -> set[str]:
    """File names in a wheel built from a source folder."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--wheel-dir", out, str(source)],
            capture_output=True, text=True, check=False, timeout=limits.waiting(BUILD_SECONDS),
        )  # fmt: skip
        wheels = list(Path(out).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise NotJudgedError(f"the wheel cannot be built here: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(wheels[0]) as file:
            return set(file.namelist())


def _distribution(subject: PluginSubject) -> importlib.metadata.Distribution:
    if not subject.record.distribution:
        raise NotJudgedError("the plugin is a module, not an installed distribution")
    return importlib.metadata.distribution(subject.record.distribution)


def _package_folder(subject: PluginSubject) -> Path:
    """Folder of the package that holds the listing module."""
    name = subject.record.target.partition(":")[0].rpartition(".")[0]
    spec = importlib.util.find_spec(name) if name else None
    if spec is None or not spec.submodule_search_locations:
        raise NotJudgedError("the listing module is not inside a package")
    return Path(next(iter(spec.submodule_search_locations)))


def _core_requires() -> list[str]:
    try:
        return list(importlib.metadata.requires("repcore") or ())
    except importlib.metadata.PackageNotFoundError:
        return []


def _plain(requirement: str) -> str:
    """Normalised distribution name of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s;<>=!~\[(@]", requirement.strip(), maxsplit=1)[0]).lower()
