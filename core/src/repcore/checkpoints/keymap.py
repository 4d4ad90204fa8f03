"""Turning published key names into ours by written rules, with every key accounted for.

A name in a rule may hold placeholders: ``{i}`` (one letter) stands for a number, ``{part}`` for one piece between
dots, ``{rest*}`` for any number of pieces. The first rule that fits a key decides about it::

    KeyMap((
        Drop("{rest*}.position_ids", "counts from 0, recomputed"),
        Stack(("layer.{i}.query.{part}", "layer.{i}.key.{part}", "layer.{i}.value.{part}"), "layers.{i}.qkv.{part}"),
        Tied("decoder.weight", "words.weight"),
        Rename("embeddings.{rest*}", "{rest*}"),
    ))
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repcore.checkpoints.reading import grouped
from repcore.errors import CheckpointError

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(\*?)\}")


@dataclass(frozen=True, slots=True)
class Rename:
    """One published tensor becomes one of ours, transposed (last two dimensions) on request."""

    old: str
    new: str
    transpose: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """Several published tensors of equal size become one, in the given order along ``axis``."""

    old: tuple[str, ...]
    new: str
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """A published tensor that has no place here, and why."""

    old: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tied:
    """A published tensor that must equal another one of the file, and is that one here."""

    old: str
    of: str


Rule = Rename | Stack | Drop | Tied


@dataclass(slots=True)
class LoadReport:
    """What happened to every key.

    Args:
        source / target: file, and what it was fitted to.
        renamed: published name -> ours; stacked tensors share one.
        dropped: published name -> reason.
        tied: published alias -> the tensor it equals.
        missing: ours that the file does not give and that may be missing.
        unwritten: published name -> why a tensor that was read and renamed is not in the model folder.
        notes: findings for people, such as the vocabulary size.
    """

    source: str
    target: str
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unwritten: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Published tensors."""
        return len(self.renamed) + len(self.dropped) + len(self.tied)

    @property
    def written(self) -> int:
        """Published tensors whose values the model folder holds; of tied ones the shared tensor is there."""
        lost = {*self.dropped, *self.unwritten, *(name for name, of in self.tied.items() if of in self.unwritten)}
        return self.total - len(lost)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; of the source only its name, since models are shared and paths are private."""
        return {
            "source": Path(self.source).name, "target": self.target, "total": self.total, "renamed": dict(self.renamed),
            "dropped": dict(self.dropped), "tied": dict(self.tied), "missing": list(self.missing),
            "unwritten": dict(self.unwritten), "written": self.written, "notes": list(self.notes),
        }  # fmt: skip

    def text(self) -> str:
        """A few lines for people."""
        ours = len(set(self.renamed.values()))
        lines = [
            f"{self.source} -> {self.target}: {self.total} tensors",
            f"  used:    {len(self.renamed)} as {ours}",
            f"  tied:    {len(self.tied)}" + (f" ({grouped(list(self.tied))})" if self.tied else ""),
        ]
        lines += [f"  dropped: {len(names)} ({grouped(names)}): {why}" for why, names in _by_reason(self.dropped)]
        lines += [f"  not written: {len(one)} ({grouped(one)}): {why}" for why, one in _by_reason(self.unwritten)]
        if self.missing:
            lines.append(f"  missing: {len(self.missing)} ({grouped(self.missing)}), freshly initialised")
        return "\n".join([*lines, *(f"  note:    {note}" for note in self.notes)])


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    return list(found.items())


@dataclass(frozen=True)
class KeyMap:
    """Rules in order of precedence."""

    rules: tuple[Rule, ...]

    def apply(
        self,
        state: Mapping[str, Tensor],
        *,
        source: str,
        target: str,
        expected: Mapping[str, Tensor] | None = None,
        may_miss: Collection[str] = (),
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """Rename, stack and drop.

        Args:
            state: published tensors.
            source / target: for messages and the report.
            expected: our module's ``state_dict()``: names and shapes that must come out.
            may_miss: glob patterns of our names that the file need not give.

        Returns:
            our state, and the report.

        Raises:
            CheckpointError: a key without a rule, an incomplete stack, tied tensors that differ, and, against
                ``expected``, a missing, unexpected or misshapen tensor.
        """
        report = LoadReport(source, target)
        ours: dict[str, Tensor] = {}
        stacks: dict[str, tuple[Stack, dict[int, tuple[str, Tensor]]]] = {}
        unexpected: list[str] = []
        for name, tensor in state.items():
            found = self._rule_for(name)
            if found is None:
                unexpected.append(name)
                continue
            rule, part, names = found
            if isinstance(rule, Drop):
                report.dropped[name] = rule.reason
            elif isinstance(rule, Tied):
                report.tied[name] = self._check_tie(state, name, tensor, _filled(rule.of, names), source)
            elif isinstance(rule, Stack):
                new = _filled(rule.new, names)
                stacks.setdefault(new, (rule, {}))[1][part] = (name, tensor)
                report.renamed[name] = new
            else:
                new = _filled(rule.new, names)
                if new in ours:
                    raise CheckpointError(f"two tensors of {source} become {new} in {target}", second=name)
                ours[new] = tensor.transpose(-1, -2) if rule.transpose else tensor
                report.renamed[name] = new
        for new, (rule, parts) in stacks.items():
            ours[new] = _stacked(rule, new, parts, source)
        self._check_expected(ours, unexpected, expected, report, may_miss)
        return ours, report

    def reverse(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published names and layout of our tensors: the inverse of :meth:`apply`, with tied copies restored.

        Raises:
            CheckpointError: a tensor that no rule gives.
        """
        published: dict[str, Tensor] = {}
        for name, tensor in ours.items():
            for rule in self.rules:
                names = _match(rule.new, name) if isinstance(rule, Rename | Stack) else None
                if names is None:
                    continue
                if isinstance(rule, Stack):
                    pieces = tensor.chunk(len(rule.old), rule.axis)
                    published.update({_filled(o, names): p for o, p in zip(rule.old, pieces, strict=True)})
                elif isinstance(rule, Rename):
                    published[_filled(rule.old, names)] = tensor.transpose(-1, -2) if rule.transpose else tensor
                break
            else:
                raise CheckpointError(f"{name} has no published name")
        for rule in self.rules:
            if isinstance(rule, Tied) and rule.of in published:
                published[rule.old] = published[rule.of]
        return published

    def _rule_for(self, name: str) -> tuple[Rule, int, dict[str, str]] | None:
        """First rule that fits, which part of a stack it is, and what the placeholders stand for."""
        for rule in self.rules:
            patterns = rule.old if isinstance(rule, Stack) else (rule.old,)
            for part, pattern in enumerate(patterns):
                names = _match(pattern, name)
                if names is not None:
                    return rule, part, names
        return None

    @staticmethod
    def _check_tie(state: Mapping[str, Tensor], name: str, tensor: Tensor, of: str, source: str) -> str:
        if of not in state:
            raise CheckpointError(f"{source} has {name}, but not {of}, to which it is tied")
        if not torch.equal(tensor, state[of]):
            raise CheckpointError(
                f"{name} and {of} of {source} differ; the model shares one tensor",
                meaning="the file comes from a model whose tensors were not tied",
            )
        return of

    @staticmethod
    def _check_expected(
        ours: Mapping[str, Tensor],
        unexpected: Sequence[str],
        expected: Mapping[str, Tensor] | None,
        report: LoadReport,
        may_miss: Collection[str],
    ) -> None:
        """Raise unless every key of the file has a place and every place a key."""
        published: dict[str, list[str]] = {}
        for old, new in report.renamed.items():
            published.setdefault(new, []).append(old)
        unplaced = list(unexpected)
        misshapen: list[str] = []
        missing: list[str] = []
        if expected is not None:
            unplaced += [old for new in ours if new not in expected for old in published[new]]
            misshapen = [
                f"{published[name][0]} {tuple(tensor.shape)} for {name} {tuple(expected[name].shape)}"
                for name, tensor in ours.items()
                if name in expected and tensor.shape != expected[name].shape
            ]
            absent = [name for name in expected if name not in ours]
            report.missing = [name for name in absent if any(fnmatchcase(name, one) for one in may_miss)]
            missing = [name for name in absent if name not in report.missing]
        if not (unplaced or misshapen or missing):
            return
        total = report.total + len(unexpected)
        if unplaced:
            summary = f"{len(unplaced)} of {total} tensors in {report.source} have no place in {report.target}"
        elif misshapen:
            summary = f"{len(misshapen)} of {total} tensors in {report.source} do not fit {report.target}"
        else:
            summary = f"{report.source} lacks {len(missing)} tensors of {report.target}"
        raise CheckpointError(
            summary,
            unexpected=grouped(unplaced),
            wrong_shape="; ".join(misshapen[:4]) + (" ..." if len(misshapen) > 4 else ""),
            missing=grouped(missing),
            hint="check that the file is of this system and that the configuration is the file's own",
        )


def _stacked(rule: Stack, new: str, parts: Mapping[int, tuple[str, Tensor]], source: str) -> Tensor:
    absent = [rule.old[number] for number in range(len(rule.old)) if number not in parts]
    if absent:
        have = ", ".join(name for name, _ in parts.values())
        raise CheckpointError(f"{source} gives only a part of {new}", have=have, missing=", ".join(absent))
    tensors = [parts[number][1] for number in range(len(rule.old))]
    if len({tensor.shape for tensor in tensors}) != 1:
        raise CheckpointError(
            f"tensors that become {new} differ in shape", got=", ".join(str(tuple(t.shape)) for t in tensors)
        )
    return torch.cat(tensors, rule.axis)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern with placeholders."""
    text, last = "", 0
    for match in _PLACEHOLDER.finditer(pattern):
        name, star = match.groups()
        content = ".+" if star else (r"\d+" if len(name) == 1 else r"[^.]+")
        text += re.escape(pattern[last : match.start()]) + f"(?P<{name}>{content})"
        last = match.end()
    return re.compile(text + re.escape(pattern[last:]))


def _match(pattern: str, name: str) -> dict[str, str] | None:
    match = _compiled(pattern).fullmatch(name)
    return None if match is None else match.groupdict()


def _filled(pattern: str, names: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: names[match.group(1)], pattern)
