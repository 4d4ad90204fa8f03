"""Settings of stationary representations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting
from repcore.errors import ConfigError
from repcore.specs import TargetSpec


@dataclass(frozen=True, kw_only=True)
class StationaryConfig:
    """A fixed classifier gives every class a direction that all later models of the line keep."""

    slots: int = setting(256, "classes that there is room for, for ever; vectors have one number less", min=2)
    classes: tuple[str, ...] = setting((), "class names in the order of their slots; filled in from data and models")
    previous: str = setting("", "model or run folder of the version before; its vectors are held on to")
    share: float = setting(0.1, "weight of the classification beside a version before; the rest is HOC", min=0, max=1)
    scale: float = setting(10.0, "scale of the cosines in HOC", above=0)
    same_class: Literal["removed", "zero"] = setting(
        "removed", "rows of the own class in HOC: left out, or zeros in the sum as published"
    )

    def completed(
        self, target: TargetSpec, earlier: StationaryConfig | None, before: Sequence[str] = ()
    ) -> StationaryConfig:
        """With the classes of earlier models in their slots, then those of the data that are new.

        Args:
            target: the label.
            earlier: settings of the model that is fine-tuned, where it is of the line.
            before: class names of the model that ``previous`` names.

        Raises:
            ConfigError: the data names no classes, there are more than slots, or two earlier models differ.
        """
        lines = [tuple(one) for one in (self.classes, earlier.classes if earlier else (), before) if one]
        known = max(lines, key=len, default=())
        for line in lines:
            if line != known[: len(line)]:
                raise ConfigError(
                    f"two earlier models gave slots to different classes: {', '.join(line[:5])} and "
                    f"{', '.join(known[:5])}",
                    hint="versions of one line: fine-tune the model that method.previous names, or a descendant",
                )
        names = target.names
        if not names:
            raise ConfigError(
                f"stationary keeps a slot a class name; '{target.name}' names no classes", hint="a label with names"
            )
        classes = (*known, *(one for one in names if one not in known))
        if len(classes) > self.slots:
            raise ConfigError(
                f"{len(classes)} classes for method.slots={self.slots}",
                hint="a new line of models with more slots; those of a line never change",
            )
        return dataclasses.replace(self, classes=classes)
