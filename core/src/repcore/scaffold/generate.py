"""Filling the templates of a new plugin; standard library only, nothing is looked up on a network.

A plugin is put together from parts, one for each kind of spec that authors write. A part brings what it cannot do
without: an objective its encoder, views everything that trains. Where encoder, objective and dataset come together, a
preprocessor and a recipe join them, so that the result trains.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from repcore.errors import ConfigError, closest
from repcore.files import DEVICES
from repcore.plugins import BUILT_IN, RESERVED_COMMANDS, RESERVED_DOMAINS, core_version

PARTS = ("encoder", "objective", "dataset", "op", "views", "task", "probe", "renderer", "estimator", "writer")
ALL = "all"
BRINGS = {
    "objective": ("encoder",),
    "views": ("encoder", "objective", "dataset"),
    "task": ("encoder",),
    "renderer": ("dataset",),
}
MODULES = {"views": "views", "renderer": "rendering"}  # of the other parts: their plural
WITHOUT_SETTINGS = ("op", "renderer", "writer")
WITHOUT_SPEC = ("renderer",)  # the data set's spec names it
NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MOST_NAMED = 5  # parts in a summary of one line
LONGEST_NAME = 24  # keeps every generated line within the generated line length
WORDS_OF_THE_LINE = frozenset({"repcore", "help", "version", "latest"})
RESERVED = DEVICES | RESERVED_DOMAINS | RESERVED_COMMANDS | WORDS_OF_THE_LINE  # no folder on Windows, or words of the command line
WORDS = {
    "encoder": "an encoder",
    "objective": "an objective",
    "dataset": "a data set",
    "op": "an op with a faster twin",
    "views": "two views",
    "task": "a task",
    "probe": "a probe",
    "renderer": "pictures",
    "estimator": "an estimator",
    "writer": "a file format",
}
USES = {
    "dataset": "inspect {data}",
    "op": "bench ops",
    "views": "{domain} train {name} objective=simclr  # of repcore-generic",
    "task": "{domain} finetune {model} --data {data} --label {label} --task {name}-class",
    "probe": "probe {model} --data {data} --label {label} --protocol {domain}/{name}-centroid@1",
    "renderer": "report {run}",
    "estimator": "fit {name}-spread {model} {data} -o spread\napply spread {data} -o spread.csv",
    "writer": "embed {model} {data} -o rows.jsonl",
}
"""What uses a part, for the README of a new plugin: commands without ``repcore``."""
SPEC_NAMES = {
    "encoder": ("EncoderSpec", "TensorSpec"),
    "objective": ("ObjectiveSpec",),
    "dataset": ("DatasetSpec", "TargetSpec", "TensorSpec"),
    "recipe": ("PreprocessorSpec", "RecipeSpec"),
    "op": ("OpSpec",),
    "views": ("ViewsSpec",),
    "task": ("TaskSpec",),
    "probe": ("ProbeSpec",),
    "renderer": (),
    "estimator": ("EstimatorSpec",),
    "writer": ("WriterSpec",),
}


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """What to make.

    Args:
        name: lower-case words joined by hyphens; also the name of its encoder and recipe.
        domain: a new domain, or an installed one to join.
        parts: among :data:`PARTS`, in that order.
        brought: those of them that nobody asked for and that others cannot do without.

    Raises:
        ConfigError: a name, domain or part cannot be used; from :func:`describe`.
    """

    name: str
    domain: str
    parts: tuple[str, ...]
    brought: tuple[str, ...] = ()

    @property
    def distribution(self) -> str:
        """As pip knows it."""
        return f"repcore-{self.name}"

    @property
    def package(self) -> str:
        """As Python imports it."""
        return f"repcore_{self.name.replace('-', '_')}"

    @property
    def trains(self) -> bool:
        """Whether there is a recipe."""
        return {"encoder", "objective", "dataset"} <= set(self.parts)

    @property
    def fragments(self) -> tuple[str, ...]:
        """Parts with their glue."""
        return (*self.parts, "recipe") if self.trains else self.parts


def describe(name: str, domain: str | None, parts: Iterable[str], *, taken: Iterable[str] = ()) -> NewPlugin:
    """Check what a user asked for.

    Args:
        domain: None = the name without hyphens.
        taken: names of installed plugins.

    Raises:
        ConfigError: says which word cannot be used and why.
    """
    short = name.removeprefix("repcore-")
    if not NAME_PATTERN.fullmatch(short) or len(short) > LONGEST_NAME:
        raise ConfigError(
            f"a plugin cannot be called {name!r}",
            expected=f"lower-case words and numbers joined by hyphens, at most {LONGEST_NAME} characters",
            hint=_usable(short, set(taken)),
        )
    if short == BUILT_IN or short in set(taken):
        raise ConfigError(f"a plugin called {short!r} is installed already", hint=f"{short}-more")
    if short in RESERVED:
        raise ConfigError(f"a plugin cannot be called {short!r}: it is {_meaning(short)}", hint=f"{short}-data")
    chosen = domain or short.replace("-", "")
    if not re.fullmatch(r"[a-z][a-z0-9]*", chosen) or chosen in RESERVED:
        reason = f"is {_meaning(chosen)}" if chosen in RESERVED else "is not a plain lower-case word"
        raise ConfigError(f"domain {chosen!r} {reason}", hint="--domain WORD chooses another")
    wanted = {part.strip() for part in parts if part.strip()}
    if ALL in wanted:
        wanted = (wanted - {ALL}) | set(PARTS)
    unknown = sorted(wanted - set(PARTS))
    if unknown or not wanted:
        raise ConfigError(
            f"--with {unknown[0]!r} is unknown" if unknown else "--with names nothing",
            did_you_mean=closest(unknown[0], (*PARTS, ALL)) if unknown else None,
            parts=", ".join((*PARTS, ALL)),
        )
    needed = {brought for part in wanted for brought in BRINGS.get(part, ())} - wanted
    ordered = tuple(part for part in PARTS if part in wanted | needed)
    return NewPlugin(short, chosen, ordered, tuple(part for part in ordered if part in needed))


def _meaning(word: str) -> str:
    """What a reserved word is."""
    if word in WORDS_OF_THE_LINE:
        return "a word of the command line"
    return "a device of Windows" if word in DEVICES else "a command of repcore"


def _usable(name: str, taken: set[str]) -> str:
    """A name like the one that was given which a plugin may have."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    words = re.sub(r"^[0-9-]+", "", words)[: LONGEST_NAME - len("-data")].strip("-")
    found = words or "my-plugin"
    return f"{found}-data" if found in RESERVED | taken | {BUILT_IN} else found


def files_of(plugin: NewPlugin) -> Mapping[str, str]:
    """Every file by its path in the new folder."""
    values = _values(plugin)
    source, fragments = f"src/{plugin.package}", plugin.fragments

    def fill(*names: str) -> str:
        return "".join(Template(_template(name)).substitute(values) for name in names)

    files = {
        "pyproject.toml": fill("pyproject.toml"),
        "README.md": fill("README.md"),
        "LICENSE": _template("LICENSE"),
        "CITATION.cff": fill("CITATION.cff"),
        ".gitignore": fill("gitignore"),
        ".github/workflows/checks.yml": fill("ci.yml"),
        "tests/test_plugin.py": fill("test_plugin.py"),
        f"{source}/__init__.py": fill("init.py"),
        f"{source}/py.typed": "",
        f"{source}/_plugin.py": fill(
            "plugin-head.py", *(f"plugin-{one}.py" for one in fragments if one not in WITHOUT_SPEC)
        ),
    }
    with_configs = sorted((one for one in fragments if one not in WITHOUT_SETTINGS), key=lambda one: one == "recipe")
    if with_configs:
        files[f"{source}/configs.py"] = fill("configs-head.py", *(f"configs-{one}.py" for one in with_configs))
    if "encoder" in fragments:
        examples = [f"examples-{one}.py" for one in ("objective",) if one in fragments]
        files[f"{source}/examples.py"] = fill("examples-head.py", *examples)
    modules = {one: MODULES.get(one, f"{one}s") for one in plugin.parts} | (
        {"recipe": "preprocessors"} if plugin.trains else {}
    )
    files.update({f"{source}/{module}.py": fill(f"{module}.py") for module in modules.values()})
    return files


def write(plugin: NewPlugin, destination: Path) -> Path:
    """Write a plugin into a new folder named like its distribution.

    Raises:
        ConfigError: something of this name is there; nothing is written then.
    """
    folder = destination / plugin.distribution
    if folder.exists():
        raise ConfigError(f"{str(folder)!r} exists; nothing was written", hint="another name, or --dest FOLDER")
    files = files_of(plugin)
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError:  # a full disk: the same command would find half a plugin in its way
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _template(name: str) -> str:
    return (resources.files("repcore.scaffold") / "templates" / f"{name}.txt").read_text(encoding="utf-8")


def _values(plugin: NewPlugin) -> Mapping[str, str]:
    specs = sorted({"PluginInfo", *(name for part in plugin.fragments for name in SPEC_NAMES[part])})
    examples = ["HiddenColumnsConfig"] if "objective" in plugin.parts else []
    return {
        "name": plugin.name,
        "domain": plugin.domain,
        "distribution": plugin.distribution,
        "package": plugin.package,
        "title": plugin.name.replace("-", " ").capitalize(),
        "core_requirement": core_requirement(core_version()),
        "parts_in_words": _in_words(plugin.parts),
        "commands": "".join(f"    {line}\n" for line in commands(plugin)),
        "own_data": _own_data(plugin),
        "spec_imports": "\n".join(f"    {name}," for name in specs),
        "render_line": f'            render=f"{{PACKAGE}}.rendering:draw",\n' if "renderer" in plugin.parts else "",
        "and_recipe": " and the recipe" if plugin.trains else "",
        "config_imports": _config_imports(plugin),
        "example_imports": ", ".join([*examples, "RowEncoderConfig"]),
    }


def commands(plugin: NewPlugin) -> list[str]:
    """Command lines that use every part, in an order in which they run; words in capitals are the user's own."""
    data = f"{plugin.domain}/{plugin.name}-table" if "dataset" in plugin.parts else "DATA"
    run = "runs/first" if plugin.trains else "RUN"
    model = run if plugin.trains else "MODEL"
    names = {"domain": plugin.domain, "name": plugin.name, "data": data, "run": run, "model": model}
    names["label"] = "kind" if "dataset" in plugin.parts else "LABEL"
    lines = [f"list --domain {plugin.domain}"]
    if plugin.trains:
        lines.append(f"{plugin.domain} train {plugin.name} --name first")
    lines += [line for part in plugin.parts for line in USES.get(part, "").format(**names).split("\n") if line]
    return [f"repcore {line}" for line in (*lines, f"plugins check {plugin.name}")]


def _own_data(plugin: NewPlugin) -> str:
    """The README's paragraph on the user's own table, where there is a reader."""
    if "dataset" not in plugin.parts:
        return ""
    train = f"    repcore {plugin.domain} train {plugin.name} --data my.csv\n" if plugin.trains else ""
    return (
        f"Your own rows, in a table:\n\n    repcore inspect my.csv --domain {plugin.domain}\n{train}\n"
        "Columns of numbers are inputs, columns of words are labels. `label=COLUMN` makes a label of a column of numbers:\n"
        "`--read label=COLUMN` in `inspect`, `embed` and `probe`, `dataset.label=COLUMN` in `train`.\n\n"
    )


def _in_words(parts: tuple[str, ...]) -> str:
    """One line for people: what there is, or how much where that grows too long."""
    words = ", ".join(WORDS[part] for part in parts)
    return words if len(parts) <= MOST_NAMED else f"{len(parts)} kinds of parts for rows of numbers"


def _config_imports(plugin: NewPlugin) -> str:
    lines = ["from dataclasses import dataclass, field"]
    lines += ["from pathlib import Path"] if "dataset" in plugin.parts else []
    names = "DataConfig, OptimiserConfig, Part, RunConfig, TrainerConfig"
    lines += ["", f"from repcore.config import {names}"] if plugin.trains else []
    return "\n".join(lines)


def core_requirement(version: str) -> str:
    """This core's minor release and the next: ``0.1.4`` gives ``repcore>=0.1,<0.3``."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or version.startswith("0+"):
        return "repcore"
    major, minor = int(found[1]), int(found[2])
    return f"repcore>={major}.{minor},<{major}.{minor + 2}"
