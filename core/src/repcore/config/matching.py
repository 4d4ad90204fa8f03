"""Do the parts of a run fit together, going by what each declares? Asked before anything is built or read.

The way of the data is reader ``produces`` -> preprocessor ``accepts``, preprocessor ``produces`` -> encoder ``inputs``;
views ``accept`` what the preprocessor takes or gives; the objective's ``needs`` stand against the encoder's
capabilities and levels. A part that declares nothing is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repcore.errors import ConfigError
from repcore.registry import Entry, Registry
from repcore.specs import TensorSpec

ROLES = ("pair", "weak-strong")
"""Views that every domain registers with the meaning right for it; ``ViewsSpec.role``."""


def check_parts(parts: Mapping[str, Entry[Any] | None], registry: Registry) -> None:
    """Compare what the parts of a run declare.

    Args:
        parts: kind of part -> what the run names for it.
        registry: what else is installed, for the message.

    Raises:
        ConfigError: two of them do not fit; names both sides and what would fit.
    """
    reader, preprocessor = parts.get("dataset"), parts.get("preprocessor")
    encoder, objective = parts.get("encoder"), parts.get("objective")
    if reader and preprocessor and not reads_for(reader, preprocessor):
        raise ConfigError(
            f"reader {reader.full_name} gives {in_words(reader.spec.produces)}; "
            f"preprocessor {preprocessor.full_name} takes {in_words(preprocessor.spec.accepts)}",
            would_fit=_fitting(registry, "dataset", preprocessor.domain, lambda one: reads_for(one, preprocessor)),
        )
    if preprocessor and encoder and not takes(encoder.spec.inputs, preprocessor.spec.produces):
        given = preprocessor.spec.produces
        raise ConfigError(
            f"preprocessor {preprocessor.full_name} gives {in_words(given)}; "
            f"encoder {encoder.full_name} takes {in_words(encoder.spec.inputs)}",
            would_fit=_fitting(
                registry,
                "encoder",
                preprocessor.domain,
                lambda one: bool(one.spec.inputs) and takes(one.spec.inputs, given),
            ),
        )
    views = parts.get("views")
    if views and preprocessor and not views_fit(views, preprocessor):
        raise ConfigError(
            f"views {views.full_name} are of {in_words(views.spec.accepts)}; "
            f"preprocessor {preprocessor.full_name} takes {in_words(preprocessor.spec.accepts)} "
            f"and gives {in_words(preprocessor.spec.produces)}",
            would_fit=_fitting(registry, "views", preprocessor.domain, lambda one: views_fit(one, preprocessor)),
        )
    if objective and encoder and (missing := missing_needs(objective, encoder)):
        raise ConfigError(
            f"objective {objective.full_name} needs {', '.join(missing)}, "
            f"which encoder {encoder.full_name} does not offer",
            encoder_offers=", ".join(sorted(_offered(encoder))) or "nothing",
            would_fit=_fitting(registry, "encoder", encoder.domain, lambda one: not missing_needs(objective, one)),
        )


def views_for(objective: Entry[Any], preprocessor: Entry[Any] | None, registry: Registry, domain: str) -> str:
    """Name of the views that an objective expects in this domain, empty where it expects none.

    Raises:
        ConfigError: it asks for a role that no views of the domain have.
    """
    wanted = objective.spec.views
    if wanted not in ROLES:
        return str(wanted)
    for entry in registry.entries("views", domain):
        if entry.spec.role == wanted and (preprocessor is None or views_fit(entry, preprocessor)):
            return entry.full_name
    raise ConfigError(
        f"objective {objective.full_name} expects views of the role {wanted!r}; domain {domain!r} registers none",
        field="views",
        hint="views=NAME, or an objective without views",
    )


def views_fit(views: Entry[Any], preprocessor: Entry[Any]) -> bool:
    """Whether views understand what a preprocessor takes, or change what it gives."""
    return takes(views.spec.accepts, (*preprocessor.spec.accepts, *preprocessor.spec.produces))


def missing_needs(objective: Entry[Any], encoder: Entry[Any]) -> list[str]:
    """What the objective needs of an encoder and this one does not offer: capabilities and token levels."""
    return [need for need in objective.spec.needs if need not in _offered(encoder)]


def reads_for(reader: Entry[Any], preprocessor: Entry[Any]) -> bool:
    """Whether a reader's samples are what a preprocessor takes."""
    return takes(preprocessor.spec.accepts, reader.spec.produces)


def takes(wanted: Sequence[TensorSpec], given: Sequence[TensorSpec]) -> bool:
    """Whether what is given has every value that is required, by name, and at least one that is wanted."""
    if not wanted or not given:
        return True
    names = {one.name for one in given}
    required = {one.name for one in wanted if not one.optional}
    return required <= names and any(one.name in names for one in wanted)


def in_words(values: Sequence[TensorSpec]) -> str:
    """``points (B N 3), frames (B, optional)``."""
    described = []
    for one in values:
        notes = [*([one.shape] if one.shape else []), *(["optional"] if one.optional else [])]
        described.append(f"{one.name} ({', '.join(notes)})" if notes else one.name)
    return ", ".join(described) or "nothing in particular"


def _offered(encoder: Entry[Any]) -> set[str]:
    return {*encoder.spec.capabilities, *encoder.spec.levels}


def _fitting(registry: Registry, kind: str, domain: str, fits: Callable[[Entry[Any]], bool]) -> str:
    return ", ".join(one.full_name for one in registry.entries(kind, domain) if fits(one)) or "none that is installed"
