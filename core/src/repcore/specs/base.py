"""What all specs share: who a plugin is, tensors and targets, and the checks that every spec makes of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from repcore.errors import PluginError

NAME_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(@[0-9]+)?")
TARGET_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

Status = Literal["stable", "experimental", "deprecated"]
TargetKind = Literal["class", "multilabel", "regression", "landmark"]
TargetLevel = Literal["item", "token", "node", "edge", "point", "voxel"]
ViewsRole = Literal["", "pair", "weak-strong"]
Labels = Literal["none", "optional", "required"]

GENERIC = "generic"
"""Domain of plugins whose objectives, methods and estimators take any encoder: a short name that a domain does not
have is looked for here."""

NO_MAPPING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """Who a plugin is.

    Args:
        title: for people, for example ``"Point clouds"``.
        domain: first half of every name, lower case; several plugins may share one.
        api_version: the ``repcore.hooks.API_VERSION`` that the plugin was written for.
        summary: one line.
        docs: where to read more, an address or a file.
        licence: of the plugin's code.
    """

    title: str
    domain: str
    api_version: int
    summary: str = ""
    docs: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*", self.domain):
            raise PluginError(
                f"PluginInfo.domain={self.domain!r} is not a plain lower-case word",
                expected="letters and digits, for example 'audio'",
            )
        if not isinstance(self.api_version, int) or isinstance(self.api_version, bool):
            raise PluginError(f"PluginInfo.api_version={self.api_version!r} is not an integer", hint="api_version=1")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor that goes in or comes out: ``TensorSpec("points", "B N 3", "float32", unit="m")``.

    ``shape`` holds one letter or number a dimension (see :func:`repcore.shapes.check_shape`); ragged data uses a
    flat leading dimension such as ``"sumN 3"`` beside an owner tensor.
    """

    name: str
    shape: str
    dtype: str = "float32"
    unit: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A label that a data set may carry. Missing values are NaN (or ``ignore``) and are masked everywhere.

    Args:
        name: column or key in ``Sample.targets``.
        kind: class (one integer), multilabel (0/1 vector), regression (floats), landmark (coordinates).
        level: what a label belongs to.
        names: class names, or task names of a multilabel target.
        unit: of a regression target.
        ignore: integer label that means "not labelled", for dense targets.
        ids: the stored number of each name, where those of dense labels are not 0 to K-1 (0, 205, 420).
    """

    name: str
    kind: TargetKind
    level: TargetLevel = "item"
    names: tuple[str, ...] = ()
    unit: str = ""
    ignore: int | None = None
    ids: tuple[int, ...] = ()

    def name_of(self, number: int) -> str:
        """Name of a class by its stored number, which is its name where it has none."""
        place = number if not self.ids else self.ids.index(number) if number in self.ids else -1
        return self.names[place] if 0 <= place < len(self.names) else str(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What all specs share. ``kind`` is the word used in messages and in ``repcore list KIND``."""

    kind: ClassVar[str] = ""
    name: str
    summary: str = ""

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise PluginError(
                f"{type(self).__name__}.name={self.name!r} is not a valid name",
                expected="lower-case words joined by hyphens; core adds the domain",
                hint=re.sub(r"[^a-z0-9@]+", "-", self.name.lower().split("/")[-1]).strip("-") or None,
            )
        for one in fields(self):
            if one.metadata.get("target"):
                self._check_targets(one.name, getattr(self, one.name))

    def _check_targets(self, field_name: str, value: object) -> None:
        targets = value.values() if isinstance(value, Mapping) else [value]
        for target in targets:
            if target and not (isinstance(target, str) and TARGET_PATTERN.fullmatch(target)):
                raise PluginError(
                    f"{type(self).__name__}({self.name!r}).{field_name}={target!r} is not a target",
                    expected="'package.module:attribute' of something at module level",
                )


def target_field(default: str | None = None) -> str:
    """A required (or defaulted) ``module:attribute`` field."""
    if default is None:
        return field(metadata={"target": True})
    return field(default=default, metadata={"target": True})


def target_map() -> Mapping[str, str]:
    return field(default_factory=dict, metadata={"target": True})
