"""Names of files whose fields a published set documents: RAVDESS, CREMA-D and EMO-DB.

They are labels where every name follows one scheme, and where each field holds what its publisher lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to name files.

    Args:
        name: of the set.
        pattern: of the whole name without its suffix; its groups are the fields.
        words: field -> code -> what it means; names with a code that is not there do not follow the scheme.
        labels: fields that are labels. speaker: field that names who speaks.
    """

    name: str
    pattern: re.Pattern[str]
    words: Mapping[str, Mapping[str, str]]
    labels: tuple[str, ...]
    speaker: str


def _numbered(*words: str) -> dict[str, str]:
    return {f"{number:02d}": word for number, word in enumerate(words, start=1)}


SCHEMES = (
    Scheme(
        "RAVDESS",
        re.compile(
            r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)-(?P<statement>\d\d)"
            r"-(?P<repetition>\d\d)-(?P<actor>\d\d)"
        ),
        {
            "modality": _numbered("audio and video", "video", "audio"),
            "channel": _numbered("speech", "song"),
            "emotion": _numbered("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
            "intensity": _numbered("normal", "strong"),
            "statement": _numbered("kids", "dogs"),
            "repetition": _numbered("1", "2"),
            "actor": {f"{number:02d}": f"actor_{number:02d}" for number in range(1, 25)},
        },
        ("emotion", "intensity", "channel", "statement"),
        "actor",
    ),
    Scheme(
        "CREMA-D",
        re.compile(r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>[A-Z]{2})"),
        {
            "emotion": {
                "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"
            },
            "intensity": {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"},
        },
        ("emotion", "intensity", "sentence"),
        "actor",
    ),
    Scheme(
        "EMO-DB",
        re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<take>[a-z])"),
        {
            "emotion": {
                "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness",
                "N": "neutral",
            }
        },
        ("emotion", "sentence"),
        "speaker",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NameFields:
    """What names of files say: words of each label that differs between files, one a file; who speaks in each."""

    scheme: str = ""
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    speakers: Sequence[str] = ()


def name_fields(files: Sequence[Path]) -> NameFields:
    """Fields of the one scheme that all files follow; nothing where there is none."""
    for scheme in SCHEMES:
        read = [_fields(scheme, file.stem) for file in files]
        told = [one for one in read if one is not None]
        if len(told) > 1 and len(told) == len(read):
            columns = {name: [one[name] for one in told] for name in scheme.labels}
            varied = {name: cells for name, cells in columns.items() if len(set(cells)) > 1}
            return NameFields(scheme.name, varied, [one[scheme.speaker] for one in told])
    return NameFields()


def _fields(scheme: Scheme, stem: str) -> dict[str, str] | None:
    found = scheme.pattern.fullmatch(stem)
    if found is None:
        return None
    codes = found.groupdict()
    if any(codes[name] not in known for name, known in scheme.words.items()):
        return None
    return {name: scheme.words.get(name, {}).get(code, code) for name, code in codes.items()}
