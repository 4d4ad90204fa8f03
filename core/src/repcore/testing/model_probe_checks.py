"""Checks of protocols that ask the network: the same seed gives the same numbers, what is shown exists, bad rows are
refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from repcore.errors import RepcoreError
from repcore.registry import Entry
from repcore.specs import ProbeSpec
from repcore.testing.check import Check, SubjectError, fail
from repcore.testing.randomness import untouched


@dataclass(frozen=True, slots=True)
class ModelProbeSubject:
    """A protocol with its default settings, and its example."""

    entry: Entry[ProbeSpec]

    def build(self) -> Any:  # the author's own object
        """A new one.

        Raises:
            SubjectError: it cannot be made from its default settings.
        """
        try:
            return self.entry.load()(self.entry.load("config")())
        except Exception as error:
            raise SubjectError(f"{self.entry.full_name} cannot be built: {type(error).__name__}: {error}") from error

    def example(self) -> tuple[Any, Sequence[Any]]:
        """Encoder in eval mode and the items of each row.

        Raises:
            SubjectError: the spec names no example, or it fails.
        """
        if not self.entry.spec.example:
            raise SubjectError(f"{self.entry.full_name} names no example (ProbeSpec.example)")
        try:
            encoder, rows = self.entry.load("example")()
        except Exception as error:
            raise SubjectError(
                f"the example of {self.entry.full_name} fails: {type(error).__name__}: {error}"
            ) from error
        return encoder.eval(), rows


def repeatable(subject: ModelProbeSubject) -> None:
    """The same seed gives the same numbers, without a global random state, and leaves the network as it was."""
    encoder, rows = subject.example()
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    found = []
    for _ in range(2):
        probe = subject.build()
        with untouched("score", "draw from the seed that score() gets"):
            found.append(dict(probe.score(encoder, probe.material(rows), 3)))
    if not _same(*found):
        fail(f"one seed gives {found[0]} and {found[1]}")
    changed = [name for name, one in encoder.state_dict().items() if not torch.equal(one, before[name])]
    if changed or encoder.training:
        fail(f"score() leaves the network changed: {', '.join(changed) or 'in training mode'}")


def shown_exists(subject: ModelProbeSubject) -> None:
    """What tables show is among the figures, as plain numbers; constants can be written beside them."""
    encoder, rows = subject.example()
    probe = subject.build()
    figures = probe.score(encoder, probe.material(rows), 0)
    missing = [name for name in (*probe.shown, *probe.lower_is_better) if name not in figures]
    if missing or not probe.shown:
        fail(f"shown or lower_is_better names {', '.join(missing) or 'nothing'}; score gives {', '.join(figures)}")
    falling = set(probe.shown) & set(probe.lower_is_better)
    if falling:
        fail(f"{', '.join(sorted(falling))} is shown,, for which smaller is better; show figures that rise")
    odd = [name for name, value in figures.items() if not isinstance(value, int | float)]
    odd += [name for name, value in dict(probe.constants()).items() if callable(value)]
    if odd:
        fail(f"{', '.join(odd)} cannot be written as numbers and words")


def refuses_by_name(subject: ModelProbeSubject) -> None:
    """One row, or none, gives numbers or a named error, never a traceback."""
    encoder, rows = subject.example()
    for words, chosen in (("no row", rows[:0]), ("one row", rows[:1])):
        try:
            probe = subject.build()
            probe.score(encoder, probe.material(chosen), 0)
        except RepcoreError:
            continue
        except Exception as error:
            fail(f"{words}: {type(error).__name__}: {error}; raise a DataError that names it")


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        one[name] == other[name] or (one[name] != one[name] and other[name] != other[name]) for name in one
    )


CHECKS = (
    Check("model-probe-repeatable", repeatable),
    Check("model-probe-shows-figures", shown_exists),
    Check("model-probe-refuses-by-name", refuses_by_name),
)
