"""Checks of pictures: one file without scripts or anything from outside, and drawn also of an odd sample."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import numpy as np
import torch

from repcore.errors import ItemError, RepcoreError
from repcore.interfaces import Picture, Sample
from repcore.markup import left_out
from repcore.testing.check import Check, SubjectError, fail
from repcore.testing.randomness import untouched
from repcore.testing.subjects import DatasetSubject
from repcore.testing.tensors import content_hash

PICTURES = 6
HOSTILE = """a"b'c&d<img src=x onerror=alert(1)>"""


class _Reader(HTMLParser):
    """Collects the ids of elements."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attributes if name.lower() == "id"]


def fixed_ids(html: str) -> list[str]:
    """Ids of elements."""
    reader = _Reader()
    reader.feed(html)
    return reader.ids


def check_picture(picture: object, what: str) -> Picture:
    """A picture that a page may hold: HTML and words, one file, nothing active."""
    if not isinstance(picture, Picture):
        fail(f"{what}: {type(picture).__name__} returned; a Picture with html and alt is due")
    if not picture.html.strip() or not picture.alt.strip():
        fail(f"{what}: html or alt is empty; whoever does not see the picture has only the words")
    found = left_out(picture.html)
    if found:
        fail(
            f"{what}: the picture has {', '.join(found[:3])}, which a report leaves out: a page is one file that runs "
            "and loads nothing (repcore.markup says what may stand in it)"
        )
    return picture


def samples_of(subject: DatasetSubject) -> list[Sample]:
    """Samples from all over the data.

    Raises:
        SubjectError: none can be read.
    """
    reader, found = subject.open(), []
    for row in np.linspace(0, len(reader) - 1, num=min(4 * PICTURES, len(reader))).astype(int):
        try:
            found.append(reader[int(row)])
        except ItemError:
            continue
        if len(found) == PICTURES:
            break
    if not found:
        raise SubjectError(f"{subject.entry.full_name}: no row can be read")
    return found


def self_contained(subject: DatasetSubject) -> None:
    """Pictures of several samples hold no script, no handler and nothing from outside, and no id twice on a page."""
    render: Callable[[Sample], Any] = subject.entry.load("render")
    seen: dict[str, str] = {}
    for sample in samples_of(subject):
        before = content_hash(sample)
        with untouched(f"drawing {sample.id}", "the same sample is drawn the same way"):
            picture = check_picture(render(sample), f"sample {sample.id}")
        if content_hash(sample) != before:
            fail(f"drawing changes sample {sample.id}")
        if render(sample) != picture:
            fail(f"sample {sample.id} drawn twice gives two pictures")
        for name in fixed_ids(picture.html):
            if seen.setdefault(name, sample.id) != sample.id:
                fail(f"the id {name!r} is in the pictures of {seen[name]} and {sample.id}: a page shows both")


def survives_odd_samples(subject: DatasetSubject) -> None:
    """Unlabelled, constant and NaN samples, and ids full of markup, are drawn or refused by name."""
    render: Callable[[Sample], Any] = subject.entry.load("render")
    for sample in samples_of(subject)[:2]:
        for words, odd in odd_samples(sample):
            try:
                picture = render(odd)
            except RepcoreError:
                continue
            except Exception as error:
                fail(f"a sample {words}: {type(error).__name__}: {error}; draw it, or raise an ItemError")
            drawn = check_picture(picture, f"a sample {words}")
            if "<img src=x" in drawn.html:
                fail("the sample's id stands in the page as markup; escape it")


def odd_samples(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """What users' data also looks like."""
    missing = {name: float("nan") for name in sample.targets}
    yield "without labels", dataclasses.replace(sample, targets={}, group=None, meta={})
    yield "with missing labels", dataclasses.replace(sample, targets=missing)
    yield "whose id is markup", dataclasses.replace(sample, id=HOSTILE, group=HOSTILE)
    yield "of zeros", dataclasses.replace(sample, inputs=_filled(sample.inputs, 0.0))
    yield "of NaN", dataclasses.replace(sample, inputs=_filled(sample.inputs, float("nan")))


def _filled(value: Any, number: float) -> Any:  # inputs are the domain's own kind
    """A copy whose floating-point arrays hold one number."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.full_like(value, number)
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.full_like(value, number)
    if isinstance(value, Mapping):
        return {key: _filled(part, number) for key, part in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_filled(part, number) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: _filled(getattr(value, one.name), number) for one in dataclasses.fields(value) if one.init}
        return dataclasses.replace(value, **changed)
    return copy.copy(value)


CHECKS = (
    Check("picture-self-contained", self_contained),
    Check("picture-of-odd-samples", survives_odd_samples),
)
