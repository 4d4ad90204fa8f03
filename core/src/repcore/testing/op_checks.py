"""Checks of ops: every faster twin that runs here gives the values and gradients of the plain definition."""

from __future__ import annotations

from dataclasses import dataclass

from repcore import ops, registry
from repcore.registry import Entry
from repcore.specs import OpSpec
from repcore.testing.check import Check, NotJudgedError, fail


@dataclass(frozen=True, slots=True)
class OpSubject:
    """An op of an installed plugin."""

    entry: Entry[OpSpec]


def twins_agree(subject: OpSubject) -> None:
    """On all of the op's own cases, values and gradients are equal within its tolerance."""
    entry = subject.entry
    if not entry.spec.implementations:
        return
    if not entry.spec.cases:
        fail("there are faster twins but no cases on which they could be compared")
    if entry.full_name not in {one.full_name for one in registry.default().entries("op")}:
        raise NotJudgedError("the choice of implementations needs an installed plugin")
    compared = list(ops.compare(entry.full_name, repeats=1))
    wrong = [
        f"{one.implementation} is off by {one.max_difference:.1e} on {one.case!r} (tolerance {entry.spec.tolerance:g})"
        for one in compared
        if not one.agrees
    ]
    if wrong:
        fail("; ".join(wrong))
    if not compared:
        reasons = [f"{one}: {ops.why_unusable(entry.full_name, one)}" for one in entry.spec.implementations]
        raise NotJudgedError(f"no twin runs on this machine ({'; '.join(reasons)})")


def choices_exist(subject: OpSubject) -> None:
    """The priority names implementations that the spec has."""
    entry = subject.entry
    if not entry.spec.priority:
        return
    known = {ops.REFERENCE, *entry.spec.implementations}
    for device in ("cpu", "cuda"):
        for dtype in ("float32", "bfloat16"):
            unknown = sorted(set(entry.load("priority")(device, dtype, {})) - known)
            if unknown:
                has = ", ".join(sorted(known))
                fail(f"priority({device!r}, {dtype!r}) names {', '.join(unknown)}; the spec has {has}")


CHECKS = (Check("op-twins-agree", twins_agree), Check("op-choices-exist", choices_exist))
