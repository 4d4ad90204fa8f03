"""Checks of converters of published weights: recognised from key names, and every key accounted for.

The second needs weights, which no plugin ships: a plugin's tests give a sample to ``check_plugin(checkpoints=...)``,
made by hand or taken from golden data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from repcore.checkpoints.imported import Imported
from repcore.errors import CheckpointError
from repcore.registry import Entry, Registry
from repcore.specs import CheckpointSpec
from repcore.testing.check import Check, NotJudgedError, fail

NOBODYS_KEYS = frozenset({"zz.no_such_key", "another"})
STRANGER = "zz_planted.no_such_part.weight"
KEYS_TAKEN_AWAY = 8  # one conversion each


@dataclass(frozen=True, slots=True)
class CheckpointSample:
    """Published weights small enough for a test.

    Args:
        state: what reading the file gives.
        source: the file or folder; converters look for settings and vocabularies beside it.
        options: as ``repcore import`` would pass them.
    """

    state: Mapping[str, Tensor]
    source: Path = Path("sample.pth")
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckpointSubject:
    """A layout of published weights, and a sample if the caller gave one."""

    registry: Registry
    entry: Entry[CheckpointSpec]
    sample: CheckpointSample | None = None

    def convert(self, state: Mapping[str, Tensor]) -> Imported:
        """By the plugin's converter."""
        assert self.sample is not None
        imported: Imported = self.entry.load()(dict(state), self.sample.source, dict(self.sample.options))
        return imported

    def given(self) -> CheckpointSample:
        """The sample, or a reason why nothing can be said."""
        if self.sample is None:
            raise NotJudgedError(f"needs weights: check_plugin(..., checkpoints={{{self.entry.full_name!r}: sample}})")
        return self.sample


def sniff_is_a_share(subject: CheckpointSubject) -> None:
    """The recogniser gives a share in [0, 1] from key names, and does not claim what is not its own."""
    sniff = subject.entry.load("sniff")
    for keys in (frozenset(), NOBODYS_KEYS):
        score = sniff(keys)
        if not isinstance(score, int | float) or not 0.0 <= score <= 1.0:
            fail(f"sniff({sorted(keys)}) gives {score!r}; a number in [0, 1] is needed")
        if score >= 0.5:
            fail(f"sniff({sorted(keys)}) gives {score!r}: it claims a file that is not its own")


def every_key_accounted(subject: CheckpointSubject) -> None:
    """Each published key is used, tied or dropped by a written rule; a strange key is an error, not a silence."""
    sample = subject.given()
    report = subject.convert(sample.state).report
    lost = sorted(set(sample.state) - {*report.renamed, *report.dropped, *report.tied})
    if lost:
        fail(f"{len(lost)} of {len(sample.state)} keys are not in the load report: {', '.join(lost[:4])}")
    try:
        report = subject.convert({**sample.state, STRANGER: torch.ones(2)}).report
    except CheckpointError:
        return
    if STRANGER not in report.dropped:
        fail(f"a key that belongs nowhere ({STRANGER}) is dropped without a word")


def weights_complete(subject: CheckpointSubject) -> None:
    """What comes out fills the encoder exactly, and a file that lacks a used key is refused or says so."""
    sample = subject.given()
    imported = subject.convert(sample.state)
    encoder = subject.registry.encoder(subject.entry.spec.encoder, subject.entry.domain).load()(imported.encoder_config)
    outcome = encoder.load_state_dict(dict(imported.state), strict=False)
    absent = sorted(set(outcome.missing_keys) - set(imported.report.missing))
    if absent or outcome.unexpected_keys:
        fail(f"the encoder lacks {absent[:4]} and does not know {outcome.unexpected_keys[:4]}")
    used = sorted(imported.report.renamed)
    for key in used[:: max(1, len(used) // KEYS_TAKEN_AWAY)]:
        rest = {name: value for name, value in sample.state.items() if name != key}
        try:
            again = subject.convert(rest)
        except CheckpointError:
            continue
        if imported.report.renamed[key] not in again.report.missing:
            fail(f"a file without {key} is converted as if nothing were missing")


CHECKS = (
    Check("sniff-in-range", sniff_is_a_share),
    Check("every-key-accounted", every_key_accounted),
    Check("weights-complete", weights_complete),
)
