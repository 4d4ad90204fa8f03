"""One run's settings from recipe, file and overrides, with the origin of every value.

Precedence: defaults < recipe preset < ``--config`` file < ``key.sub=value``. A part whose ``name`` changes starts
again from the defaults of what it now names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.config.matching import check_parts, views_for
from repcore.config.plain import default_of, field_types, to_plain
from repcore.config.recipes import preset_of
from repcore.config.schema import (
    PART_KINDS,
    SECTIONS,
    DataConfig,
    OptimiserConfig,
    Part,
    RunConfig,
    ScheduleConfig,
    TrainerConfig,
)
from repcore.config.validate import Problem, check, problems_error
from repcore.config.yaml import NULL, Unquoted, coerce, load_file, parse_override
from repcore.errors import ConfigError, closest
from repcore.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class ResolvedPart:
    """A part after look-up and validation."""

    entry: Entry[Any]
    config: Any  # an instance of the spec's config class

    @property
    def name(self) -> str:
        return str(self.entry.full_name)

    def plain(self) -> dict[str, Any]:
        """As it is written in files: name first, then every field."""
        return {"name": self.name, **to_plain(self.config)}


@dataclass(frozen=True, slots=True)
class ResolvedRun:
    """A run that can start: validated sections and where each value came from (dotted path -> words)."""

    recipe: str
    preset: str
    encoder: ResolvedPart
    objective: ResolvedPart
    dataset: ResolvedPart
    preprocessor: ResolvedPart
    views: ResolvedPart | None
    data: DataConfig
    optimiser: OptimiserConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    origin: Mapping[str, str]

    @property
    def domain(self) -> str:
        """The recipe's domain."""
        return self.recipe.rpartition("/")[0]

    @property
    def items_per_step(self) -> int:
        """Of an optimiser step, on all processes together."""
        return self.data.batch_size * self.trainer.accumulate * self.trainer.processes

    def plain(self) -> dict[str, Any]:
        """Everything as JSON values; :func:`resolve_plain` reads it back."""
        parts = {kind: getattr(self, kind) for kind in PART_KINDS}
        return {
            "recipe": self.recipe,
            "preset": self.preset,
            **{kind: None if part is None else part.plain() for kind, part in parts.items()},
            **{name: to_plain(getattr(self, name)) for name in SECTIONS},
        }

    def with_facts(self, facts: Mapping[str, Any]) -> ResolvedRun:
        """Sizes that encoder, objective and views left ``None``, filled from the preprocessor's facts."""
        changed: dict[str, Any] = {}
        origin = dict(self.origin)
        for kind in ("encoder", "objective", "views"):
            part = getattr(self, kind)
            if part is None:
                continue
            empty = {name for name in field_types(type(part.config)) if getattr(part.config, name) is None}
            filled = {name: facts[name] for name in empty & set(facts)}
            if filled:
                changed[kind] = ResolvedPart(part.entry, dataclasses.replace(part.config, **filled))
                origin.update({f"{kind}.{name}": "preprocessor" for name in filled})
        return dataclasses.replace(self, origin=origin, **changed)


def resolve_run(
    registry: Registry,
    recipe: str,
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    domain: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ResolvedRun:
    """Settings of a new run.

    Args:
        registry: where names are looked up.
        recipe: recipe name; short when ``domain`` is given.
        preset: one of the recipe's presets; its default if None.
        file: YAML or JSON with the same sections.
        overrides: ``key.sub=value`` texts; their order matters for the same key only, where the last one wins.
        settings: dotted path -> value set by command-line flags such as ``--data``; strongest.

    Raises:
        ConfigError: all problems at once. RegistryError: an unknown recipe, preset or part.
    """
    entry = registry.recipe(recipe, domain)
    chosen = preset_of(entry, preset)
    config = entry.load("presets", chosen)()
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"preset {chosen!r} of {entry.full_name} returned {type(config).__name__}", expected="RunConfig"
        )
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((str(file), load_file(file)))
    typed = _without_contradiction(dict(map(parse_override, overrides)), settings or {})
    # names of parts first: a part that is named anew starts from its defaults, and must not lose what was typed for it
    for key in sorted(typed, key=lambda key: not _names_part(key)):
        layers.append(("command line", _nested(key, typed[key])))
    values, origin = _recipe_layer(config, f"recipe {entry.full_name}, preset {chosen}")
    for words, layer in layers:
        _merge(values, origin, layer, words, registry, entry.domain)
    _choose_length(values, origin, layers)
    if not any(_names_views(layer) for _, layer in layers):
        _expected_views(values, origin, config, registry, entry.domain)
    return _validated(registry, entry.full_name, chosen, values, origin)


def _without_contradiction(typed: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed together with what flags such as ``--data`` set.

    Raises:
        ConfigError: the same setting with two values.
    """
    for name, value in flags.items():
        own = {key: typed[key] for key in (name, name.removesuffix(".name")) if key in typed}
        for key, other in own.items():
            if str(other) != str(value) and not isinstance(other, Mapping):
                raise ConfigError(
                    f"{key}={other} contradicts {name}={value}, which an option or argument sets",
                    hint="leave one of them out",
                )
    return {**typed, **flags}


def _choose_length(values: dict[str, Any], origin: dict[str, str], layers: Iterable[tuple[str, Any]]) -> None:
    """Epochs that a user gives win over the steps of a preset; steps always win over its epochs.

    Raises:
        ConfigError: one file, or the command line, gives both.
    """
    given: dict[str, str] = {}  # setting -> words of the strongest layer that gives it
    ranks = {"steps": -1, "epochs": -1}
    order = list(dict.fromkeys(words for words, _ in layers))
    for words, layer in layers:
        section = layer.get("trainer")
        for key in ranks if isinstance(section, Mapping) else ():
            value = section.get(key)
            if key in section and not (value is None or (isinstance(value, Unquoted) and value.lower() in NULL)):
                given[key], ranks[key] = words, order.index(words)
    if "epochs" not in given or ranks["steps"] > ranks["epochs"]:
        return
    if given.get("steps") == given["epochs"]:
        raise ConfigError(
            f"trainer.steps and trainer.epochs are both given ({given['epochs']})", hint="leave one of them out"
        )
    trainer = values.get("trainer")
    if isinstance(trainer, dict):
        trainer["steps"] = None
        origin["trainer.steps"] = f"trainer.epochs of {given['epochs']}"


def _names_views(layer: Mapping[str, Any]) -> bool:
    """Whether a layer chooses the views, or none; settings of whatever views there are do not."""
    return "views" in layer and (not isinstance(layer["views"], Mapping) or "name" in layer["views"])


def _expected_views(
    values: dict[str, Any], origin: dict[str, str], config: RunConfig, registry: Registry, domain: str
) -> None:
    """Views follow the objective: another objective brings its own, a role stands for the domain's."""
    section = values.get("objective")
    if not isinstance(section, Mapping) or "name" not in section:
        return
    objective = registry.objective(str(section["name"]), domain)
    if objective.full_name == registry.objective(config.objective.name, domain).full_name and config.views is not None:
        return
    preprocessor = values.get("preprocessor")
    named = preprocessor.get("name") if isinstance(preprocessor, Mapping) else None
    wanted = views_for(
        objective, None if named is None else registry.preprocessor(str(named), domain), registry, domain
    )
    if not wanted:
        values["views"] = None
        return
    typed = {key: value for key, value in (values.get("views") or {}).items() if key != "name"}
    if config.views is not None and registry.get("views", config.views.name, domain).full_name != wanted:
        typed = {key: value for key, value in typed.items() if not _from_recipe(f"views.{key}", origin)}
    values["views"] = {"name": wanted, **typed}
    origin["views.name"] = f"expected by {objective.full_name}"


def _from_recipe(path: str, origin: Mapping[str, str]) -> bool:
    """Whether a setting, and all below it, is the recipe's own: it belongs to the part that the recipe names."""
    found = [words for key, words in origin.items() if key == path or key.startswith(f"{path}.")]
    return all(words.startswith("recipe ") for words in found)


def _names_part(key: str) -> bool:
    return key in PART_KINDS or key.removesuffix(".name") in PART_KINDS


def resolve_plain(registry: Registry, plain: Mapping[str, Any], words: str) -> ResolvedRun:
    """Settings read back from a run folder or checkpoint.

    Raises:
        ConfigError: they are not those of a run.
    """
    is_table: bool = isinstance(plain, Mapping)  # a file may hold anything
    lost = [key for key in ("recipe", "preset") if not is_table or not isinstance(plain.get(key), str)]
    if lost:
        raise ConfigError(
            f"the settings of {words} say no {' and no '.join(lost)}",
            got=str(plain)[:60],
            hint="is its config.json damaged? A copy of the run has it, or start it again",
        )
    values = {key: value for key, value in plain.items() if key not in ("recipe", "preset")}
    origin: dict[str, str] = {}
    _note_origin(origin, "", values, words)
    return _validated(registry, str(plain["recipe"]), str(plain["preset"]), values, origin)


def _recipe_layer(config: RunConfig, words: str) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for kind in PART_KINDS:
        part: Part | None = getattr(config, kind)
        if part is None:
            values[kind] = None
            continue
        named = part.config is None or isinstance(part.config, Mapping)
        given = dict(part.config or {}) if named else _differing(part.config)
        values[kind] = {"name": part.name, **given}
        _note_origin(origin, f"{kind}.", values[kind], words)
    for name in SECTIONS:
        values[name] = _differing(getattr(config, name))
        _note_origin(origin, f"{name}.", values[name], words)
    return values, origin


def _differing(config: Any) -> dict[str, Any]:
    """Fields of a config instance that differ from the class's defaults."""
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if default_of(field) is dataclasses.MISSING or value != default_of(field):
            result[field.name] = to_plain(value)
    return result


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return dict(value)


def _note_origin(origin: dict[str, str], prefix: str, values: Mapping[str, Any], words: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _note_origin(origin, f"{prefix}{key}.", value, words)
        else:
            line = getattr(value, "line", 0)
            origin[prefix + key] = f"{words}:{line}" if line and words != "command line" else words


def _merge(
    values: dict[str, Any],
    origin: dict[str, str],
    layer: Mapping[str, Any],
    words: str,
    registry: Registry,
    domain: str,
) -> None:
    for key, value in layer.items():
        if key in PART_KINDS and isinstance(value, Unquoted) and value.lower() in NULL:
            value = None  # views=null
        if key in PART_KINDS and not isinstance(value, Mapping) and value is not None:
            value = {"name": str(value)}  # encoder=molecules/selformer
        if key in PART_KINDS and isinstance(value, Mapping):
            _restart_if_renamed(values, origin, key, value, registry, domain)
        _merge_value(values, origin, key, value, words, key)


def _restart_if_renamed(
    values: dict[str, Any],
    origin: dict[str, str],
    kind: str,
    layer: Mapping[str, Any],
    registry: Registry,
    domain: str,
) -> None:
    name = layer.get("name")
    current = values.get(kind) or {}
    if name is None or not current:
        if not current:
            values[kind] = {}
        return
    old = registry.get(kind, str(current["name"]), domain).full_name
    if registry.get(kind, str(name), domain).full_name != old:
        values[kind] = {}
        for path in [path for path in origin if path.startswith(f"{kind}.")]:
            del origin[path]


def _merge_value(values: dict[str, Any], origin: dict[str, str], key: str, value: Any, words: str, path: str) -> None:
    if isinstance(value, Mapping) and isinstance(values.get(key), dict):
        for inner, part in value.items():
            _merge_value(values[key], origin, inner, part, words, f"{path}.{inner}")
        return
    values[key] = value
    _note_origin(origin, path.removesuffix(key), {key: value}, words)


def _validated(
    registry: Registry, recipe: str, preset: str, values: Mapping[str, Any], origin: dict[str, str]
) -> ResolvedRun:
    domain = recipe.rpartition("/")[0]
    problems: list[Problem] = []
    known = [*PART_KINDS, *SECTIONS]
    for key in values:
        if key not in known:
            problems.append(
                Problem(key, "is not a setting", None, f"a run has: {', '.join(known)}", near_setting(key, known))
            )
    parts: dict[str, ResolvedPart | None] = {}
    for kind in PART_KINDS:
        section = values.get(kind)
        if section is None or section == "":
            parts[kind] = None
            continue
        found, parts[kind] = _validated_part(registry, domain, kind, section)
        problems.extend(found)
    sections: dict[str, Any] = {}
    for name, config_class in SECTIONS.items():
        section = coerce(values.get(name) or {}, config_class)
        if not isinstance(section, Mapping):
            fields = ", ".join(field_types(config_class))
            problems.append(Problem(name, "is a group of settings, not a value", section, f"{name} has: {fields}"))
            continue
        found, sections[name] = check(config_class, section, prefix=name)
        problems.extend(_with_other_section(one) for one in found)
    for kind in PART_KINDS[:4]:
        if parts[kind] is None and not any(one.path.startswith(kind) for one in problems):
            problems.append(Problem(kind, "is required", None))
    if problems:
        raise problems_error(problems, lambda path: _origin_of(path, origin))
    check_parts({kind: None if part is None else part.entry for kind, part in parts.items()}, registry)
    return ResolvedRun(recipe=recipe, preset=preset, origin=origin, **parts, **sections)  # type: ignore[arg-type]


def _with_other_section(problem: Problem) -> Problem:
    """``trainer.lr`` stands in another section."""
    if problem.text != "is not a setting" or problem.suggestion:
        return problem
    return dataclasses.replace(problem, suggestion=near_setting(problem.path, ()))


def near_setting(key: str, known: Iterable[str]) -> str:
    """What was meant by an unknown key: a section, or a setting whose section was left out (``seed``)."""
    name = key.rpartition(".")[2]
    inside = [f"{section}.{name}" for section, kind in SECTIONS.items() if name in field_types(kind)]
    if inside:
        return ", ".join(f"{path}=..." for path in inside)
    near = closest(key, known)
    every = {field: section for section, kind in SECTIONS.items() for field in field_types(kind)}
    close = closest(name, every)
    return near or (f"{every[close]}.{close}=..." if close else "")


def _origin_of(path: str, origin: Mapping[str, str]) -> str:
    """Where a value came from; an element of a list came with its list."""
    while path and path not in origin:
        path = path.rpartition(".")[0]
    return origin.get(path, "")


def _validated_part(
    registry: Registry, domain: str, kind: str, section: Mapping[str, Any]
) -> tuple[list[Problem], ResolvedPart | None]:
    if not isinstance(section, Mapping) or "name" not in section:
        return [Problem(f"{kind}.name", "is required", None, "registered name of the part")], None
    entry = registry.get(kind, str(section["name"]), domain)
    config_class = entry.load("config")
    fields = {key: value for key, value in section.items() if key != "name"}
    problems, config = check(config_class, coerce(fields, config_class), prefix=kind)
    return problems, None if config is None else ResolvedPart(entry, config)


def resolve_sections(
    defaults: Mapping[str, Any], overrides: Iterable[str], extra: Mapping[str, type]
) -> dict[str, Any]:
    """Config instances by section name, from default instances and ``section.key=value`` texts.

    Args:
        defaults: section name -> instance.
        overrides: texts from the command line.
        extra: further sections that have no default instance, by their class.

    Raises:
        ConfigError: all problems at once.
    """
    classes = {**{name: type(value) for name, value in defaults.items()}, **extra}
    values: dict[str, Any] = {name: to_plain(value) for name, value in defaults.items()}
    problems: list[Problem] = []
    for text in overrides:
        key, value = parse_override(text)
        section, _, rest = key.partition(".")
        if section not in classes or not rest:
            known = ", ".join(classes)
            problems.append(Problem(key, "is not a setting", None, f"sections: {known}", near_setting(key, classes)))
            continue
        for inner, part in _nested(rest, value).items():
            _merge_value(values.setdefault(section, {}), {}, inner, part, "command line", f"{section}.{inner}")
    built: dict[str, Any] = {}
    for name, config_class in classes.items():
        found, built[name] = check(config_class, coerce(values.get(name, {}), config_class), prefix=name)
        problems.extend(found)
    if problems:
        raise problems_error(problems, lambda path: "command line")
    return built


def resolve_part(
    registry: Registry, kind: str, name: str, fields: Mapping[str, Any], domain: str | None = None
) -> ResolvedPart:
    """One part outside a run (a probe, a task, a reader chosen on the command line).

    Raises:
        ConfigError: all problems of its fields at once.
    """
    entry = registry.get(kind, name, domain)
    config_class = entry.load("config")
    problems, config = check(config_class, coerce(dict(fields), config_class), prefix=kind)
    if problems:
        raise problems_error(problems, lambda path: "")
    return ResolvedPart(entry, config)
