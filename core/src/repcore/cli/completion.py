"""What Tab completes: recipes, presets, readers, settings and their values, data sets, tasks, methods, protocols,
estimators, formats, splits, poolings, devices, runs, installed models.

Words come from what plugins registered and from settings' classes, all of which load without torch; of a model only
``config.json`` is read. A shell waits for the answer: whatever goes wrong here completes nothing and says nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from repcore import registry as registries
from repcore.checkpoints.places import named_model
from repcore.config.plain import field_types
from repcore.config.resolve import resolve_run
from repcore.config.schema import PART_KINDS, SECTIONS
from repcore.data.memory import MEMORY
from repcore.errors import RepcoreError
from repcore.files import read_object
from repcore.registry import Entry

Find = Callable[[click.Context, str], Iterable[str]]


FILE = CompletionItem("", type="file")
GENERIC_POOLINGS = ("mean", "max", "first")
SPLITS = ("random", "group", "stratified", "declared", "folds:", "stratified-folds:", "group-folds:", "column:")
DEVICES = ("auto", "cpu", "cuda", "mps")
UNFINISHED = ("=", ":")
"""Ends of words after which more is to come, so that no space is put behind them."""
MODELS = ("model", "source", "init_from")
"""Paths that may also be the name of an installed model."""


class Completed(click.types.StringParamType):
    """A text whose words are known.

    Args:
        find: words for what is typed so far; those that do not begin with it are left out.
        files: files fit as well.
    """

    def __init__(self, find: Find, *, files: bool = False) -> None:
        self.find, self.files = find, files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        try:
            words = [one for one in dict.fromkeys(self.find(ctx, incomplete)) if one.startswith(incomplete)]
        except (RepcoreError, OSError, ValueError, AttributeError, TypeError):
            words = []
        if self.files and not (incomplete and words):  # names of data sets would hide the files of a folder
            return [FILE]
        return [CompletionItem(one) for one in words]


def completing(command: click.Command) -> click.Command:
    """A copy of the command with types that complete words in place of plain texts; its subcommands, too."""
    told = copy.copy(command)
    told.params = [copy.copy(one) for one in command.params]  # the command itself goes on converting paths
    for parameter in told.params:
        word = parameter.name or ""
        find = FINDERS.get(f"{told.name} {word}", FINDERS.get(word))
        is_text = type(parameter.type) is click.types.StringParamType
        if find is not None and (is_text or (word in MODELS and isinstance(parameter.type, click.Path))):
            parameter.type = Completed(find, files=word in ("data", "sources", "models", *MODELS))
    _reading_on(told)
    if isinstance(told, click.Group):
        told.commands = {name: completing(inner) for name, inner in told.commands.items()}
    return told


def _reading_on(command: click.Command) -> None:
    """Let the command read the words before an option whose value is being typed: click stops at an option without a
    value, and forgets the model, recipe or data that were typed before."""
    made = command.make_parser
    options = [one for one in command.params if isinstance(one, click.Option) and not (one.is_flag or one.count)]

    def make_parser(ctx: click.Context) -> Any:
        parser = made(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            return parse(args[:-1] if args and any(args[-1] in one.opts for one in options) else args)

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    command.make_parser = make_parser  # type: ignore[method-assign]


class Bash(BashComplete):
    """No space after ``trainer.steps=``, where a value follows."""

    source_template = BashComplete.source_template.replace(
        "            COMPREPLY+=($value)\n",
        "            COMPREPLY+=($value)\n            if [[ $value == *[=:] ]]; then compopt -o nospace; fi\n",
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Words before the one that is completed, where Bash takes ``trainer.steps=5`` apart at the sign."""
        words, last = super().get_completion_args()
        joined: list[str] = []
        for one in words:
            if joined and (one == "=" or (joined[-1].endswith("=") and "=" not in joined[-1][:-1])):
                joined[-1] += one
            else:
                joined.append(one)
        if last == "=" and joined and not joined[-1].startswith("-"):
            return joined[:-1], f"{joined[-1]}="
        if joined and joined[-1].endswith("=") and not joined[-1].startswith("-"):
            return joined[:-1], f"{joined[-1]}{last}"
        return joined, last

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Bash puts in the part behind the sign only, where it took the word apart."""
        return f"{item.type},{str(item.value).rpartition('=')[2] if self._is_value(item) else item.value}"

    @staticmethod
    def _is_value(item: CompletionItem[Any]) -> bool:
        return item.type == "plain" and "=" in str(item.value) and not str(item.value).endswith("=")


add_completion_class(Bash)


def _domain(ctx: click.Context) -> str | None:
    """Domain of the command, else of what was typed before: an option, a recipe, or a model."""
    if isinstance(ctx.obj, str):
        return ctx.obj
    if ctx.params.get("domain"):
        return str(ctx.params["domain"])
    name = _encoder(ctx)
    if not name and ctx.params.get("recipe"):
        name = registries.default().recipe(str(ctx.params["recipe"])).full_name
    return name.rpartition("/")[0] if name else None


def _encoder(ctx: click.Context) -> str:
    """Full name of the encoder of the model that was typed before; empty where there is none."""
    for word in ("model", "source", "models", "sources", "folder"):
        given = ctx.params.get(word)
        for one in given if isinstance(given, tuple) else (given,):
            named = named_model(str(one)) if one else None
            found = _encoder_of(named.spec.place() if named else Path(str(one)).expanduser()) if one else ""
            if found:
                return found
    return ""


def _encoder_of(folder: Path) -> str:
    for file in (folder / "config.json", folder / "model" / "config.json"):
        if file.is_file() and (found := read_object(file).get("encoder", {}).get("name")):
            return str(found)
    fitted = folder / "estimator.json"  # of a model
    return _encoder_of(Path(str(read_object(fitted)["model"]))) if fitted.is_file() else ""


def _named(entry: Entry[Any], domain: str | None) -> str:
    return entry.full_name if domain is None else str(entry.spec.name)


def _names(kind: str, fits: Callable[[Any], bool] = lambda spec: True) -> Find:
    """Names of a kind: short ones where the domain is known; where it is not, full ones, and short ones if one begins
    to type them."""

    def find(ctx: click.Context, incomplete: str) -> Iterator[str]:
        domain = _domain(ctx)
        found = registries.default().entries(kind, domain)
        if domain is not None:
            found += [one for one in registries.default().entries(kind) if not one.domain]  # core's own
        for entry in found:
            if fits(entry.spec):
                yield _named(entry, domain)
                if incomplete:
                    yield str(entry.spec.name)

    return find


def _words(*words: str) -> Find:
    return lambda ctx, incomplete: words


def _recipe(ctx: click.Context) -> Entry[Any] | None:
    known, domain = registries.default(), _domain(ctx)
    name = ctx.params.get("recipe") or ctx.params.get("name")
    if not name:  # `repcore demo DOMAIN` shows the first
        recipes = known.entries("recipe", domain) if domain else []
        return recipes[0] if recipes else None
    return known.recipe(str(name), domain)


def _presets(ctx: click.Context, incomplete: str) -> Iterable[str]:
    entry = _recipe(ctx)
    return () if entry is None else entry.spec.presets


def _tasks(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Tasks of the domain for the encoder at hand, and core's: of items, and of elements that the domain has."""
    known, domain, encoder = registries.default(), _domain(ctx), _encoder(ctx).rpartition("/")[2]
    levels = {"item", *_element_levels(known, domain)}
    for word in _names("task")(ctx, incomplete):
        spec = known.task(word, domain).spec
        if spec.target_level in levels and (not encoder or not spec.encoders or encoder in spec.encoders):
            yield word


def _element_levels(known: registries.Registry, domain: str | None) -> set[str]:
    """Levels of elements in a domain: of its tasks, its labels and its files of answers; else of its encoders."""
    own = [
        one.spec for kind in ("task", "dataset", "dense-writer") for one in known.entries(kind, domain) if one.domain
    ]
    levels = {getattr(one, "target_level", getattr(one, "level", "item")) for one in own}
    levels |= {target.level for one in own for target in getattr(one, "targets", ())}
    return levels - {"", "item"} or {level for one in known.entries("encoder", domain) for level in one.spec.levels}


def _readers(ctx: click.Context, incomplete: str) -> Iterator[str]:
    return _names("dataset", lambda spec: not spec.embedded and spec.name != MEMORY)(ctx, incomplete)  # type: ignore[return-value]


def _reading(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """``--read KEY=VALUE``: settings of the reader that was named, else of all of the domain."""
    known, domain = registries.default(), _domain(ctx)
    named = ctx.params.get("reader")
    entries = [known.dataset(str(named), domain)] if named else known.entries("dataset", domain)
    for entry in entries:
        if named or not (entry.spec.embedded or entry.spec.name == MEMORY):
            yield from _of_class("", entry.load("config"), incomplete, without=("path",))


def _settings(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Settings of a run, dotted, with their values behind the sign."""
    command = str(ctx.info_name)
    if command == "fit":
        name = str(ctx.params.get("estimator") or "")
        yield from _of_class("", registries.default().estimator(name, _domain(ctx)).load("config"), incomplete)
    elif command == "finetune":
        yield from _of_finetuning(ctx, incomplete)
    else:
        yield from _of_run(ctx, incomplete)


def _of_run(ctx: click.Context, incomplete: str) -> Iterator[str]:
    entry = _recipe(ctx)
    if entry is None:
        return
    typed = [one for one in ctx.params.get("overrides") or () if "=" in one]
    known, preset = registries.default(), ctx.params.get("preset")
    try:
        run = resolve_run(known, entry.full_name, preset=preset, overrides=typed)
    except RepcoreError:  # what was typed so far is not whole; the recipe is
        run = resolve_run(known, entry.full_name)
    for section, config_class in SECTIONS.items():
        yield from _of_class(f"{section}.", config_class, incomplete)
    for kind in PART_KINDS:
        names = (f"{kind}={_named(one, entry.domain)}" for one in known.entries(kind, entry.domain))
        yield from names if incomplete.startswith(f"{kind}=") else (f"{kind}=",)
        part = getattr(run, kind)
        if part is not None:
            yield from _of_class(f"{kind}.", type(part.config), incomplete)


def _of_finetuning(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from repcore.training.finetune_config import FinetuneConfig

    for section, config_class in {**SECTIONS, "finetune": FinetuneConfig}.items():
        yield from _of_class(f"{section}.", config_class, incomplete)
    known, domain = registries.default(), _domain(ctx)
    task, method = ctx.params.get("task"), ctx.params.get("method")
    tasks = [known.task(task, domain)] if task else [*known.entries("task", domain), *known.entries("task", "")]
    for entry in tasks:
        yield from _of_class("task.", entry.load("config"), incomplete)
    if method:
        yield from _of_class("method.", known.objective(method, domain).load("config"), incomplete)


def _of_class(prefix: str, config_class: Any, incomplete: str, without: tuple[str, ...] = ()) -> Iterator[str]:
    """``prefix`` + ``name=`` of every setting; behind the sign the values that it may have."""
    if not dataclasses.is_dataclass(config_class):
        return
    for name, kind in field_types(config_class).items():
        if name in without:
            continue
        start = f"{prefix}{name}="
        yield from (f"{start}{one}" for one in _values(kind)) if incomplete.startswith(start) else (start,)


def _values(kind: Any) -> Iterator[str]:
    """Words that a setting of this type may have."""
    if kind is bool:
        yield from ("true", "false")
    elif kind is type(None):
        yield "null"
    elif typing.get_origin(kind) is typing.Literal:
        yield from map(str, typing.get_args(kind))
    elif typing.get_origin(kind) in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _values(one)


def _splits(ctx: click.Context, incomplete: str) -> Iterator[str]:
    yield from SPLITS
    for entry in registries.default().entries("preprocessor", _domain(ctx)):
        yield from entry.spec.splits


def _of_encoder(field: str, further: tuple[str, ...] = ()) -> Find:
    def find(ctx: click.Context, incomplete: str) -> Iterator[str]:
        known, name = registries.default(), _encoder(ctx)
        for entry in [known.encoder(name)] if name else known.entries("encoder"):
            yield from getattr(entry.spec, field)
        yield from further

    return find


def _formats(ctx: click.Context, incomplete: str) -> Iterator[str]:
    for entry in registries.default().entries("writer"):
        yield str(entry.spec.name)


def _runs(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """``latest`` and the runs of the folder of runs, the newest first."""
    root = Path(ctx.params.get("out") or "runs")
    folders = [one for one in root.iterdir() if (one / "config.json").is_file()] if root.is_dir() else []
    yield from (one.name for one in sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True))


def _models(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Names of installed models; in a domain's own command those of the domain."""
    domain = ctx.obj if isinstance(ctx.obj, str) else None
    yield from (entry.full_name for entry in registries.default().entries("model", domain))


def _published(ctx: click.Context, incomplete: str) -> Iterator[str]:
    for entry in registries.default().entries("checkpoint"):
        yield from (f"{entry.domain}/{name}" for name in entry.spec.published)


def _import_options(ctx: click.Context, incomplete: str) -> Iterator[str]:
    known, layout = registries.default(), ctx.params.get("layout")
    for entry in [known.checkpoint(str(layout))] if layout else known.entries("checkpoint"):
        for name, words in entry.spec.options.items():
            start = f"{name}="
            yield from (f"{start}{word}" for word in words) if incomplete.startswith(start) else (start,)


def _everything(ctx: click.Context, incomplete: str) -> Iterator[str]:
    known = registries.default()
    for kind in _kinds():
        yield from (entry.full_name for entry in known.entries(kind))


def _kinds() -> list[str]:
    from repcore.specs import SPEC_TYPES

    return [str(one.kind) for one in SPEC_TYPES]


def _plugins(ctx: click.Context, incomplete: str) -> Iterator[str]:
    return (record.name for record in registries.default().records)


FINDERS: Mapping[str, Find] = {
    "recipe": _names("recipe"),
    "preset": _presets,
    "overrides": _settings,
    "data": _names("dataset", lambda spec: spec.embedded),
    **dict.fromkeys(("sources", "models", *MODELS), _models),
    "reader": _readers,
    "reader_name": _readers,
    "settings": _reading,
    "task": _tasks,
    "method": _names("objective", lambda spec: spec.labels != "none"),
    "estimator": _names("estimator"),
    "protocols": _names("probe"),
    "protocol": _names("probe"),
    "format": _formats,
    "split": _splits,
    "pool": _of_encoder("poolings", GENERIC_POOLINGS),
    "level": _of_encoder("levels"),
    "device": _words(*DEVICES),
    "resume": _runs,
    "runs": _runs,
    "layout": _names("checkpoint"),
    "further": _import_options,
    "system": _names("system"),
    "domain": lambda ctx, incomplete: registries.default().domains(),
    "list kind": lambda ctx, incomplete: [f"{one}s" for one in _kinds() if not one.endswith("s")] + ["views"],
    "show name": _everything,
    "pull name": _published,
    "check name": _plugins,
    "uninstall name": _plugins,
    "bench what": lambda ctx, incomplete: ["ops", *_names("system", lambda spec: spec.bench)(ctx, incomplete)],
}
"""How to find the words of an argument, by its name, or by command and name."""
