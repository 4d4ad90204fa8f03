"""Checks of file formats for answers about elements: one file, every element in it, in the order of the input.

Symbols: N elements of a sample, K outputs.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from repcore.embedding.dense import dense_row, element_features, find_place
from repcore.embedding.inference import InferenceOptions, prepare_row
from repcore.errors import RepcoreError
from repcore.interfaces import DenseAnswer, Sample
from repcore.registry import Entry
from repcore.specs import DenseWriterSpec, TargetLevel, TargetSpec
from repcore.testing.check import Check, NotJudgedError, SubjectError, fail
from repcore.testing.found_values import Order, order_in_file
from repcore.testing.subjects import EncoderSubject, RecipeSubject
from repcore.testing.tensors import difference

VALUES = (2, 0, 7)  # the data's own number of each class: not the place of the class
NAMES = ("ground", "tree", "house")
TRIED_ROWS = 4
MANY = 100_000
STRANGE_NAMES = (".partial-plain", "with space and ü", "two.dots.in it", "quote'\"s", "x" * 120)
ELSEWHERE = "../outside/evil"


@dataclass
class DenseWriterSubject:
    """A file format for answers, and answers about a sample of the plugin's own data.

    Args:
        known: recipe and level -> what was found before; shared by the formats of a plugin.
    """

    entry: Entry[DenseWriterSpec]
    recipes: Sequence[RecipeSubject]
    known: dict[tuple[str, str], DenseAnswer | None]

    @property
    def suffix(self) -> str:
        """Of its files."""
        return next(iter(self.entry.spec.suffixes), "")

    @cached_property
    def found(self) -> DenseAnswer:
        """Features of the elements of one sample, as a model of the plugin gives them: of the first recipe whose
        answers the format takes, else of the last; plain rows for a format of any level.

        Raises:
            SubjectError: no recipe of the plugin gives answers of this level.
        """
        if not self.entry.spec.level:
            sample = Sample("plain", np.zeros((30, 2), np.float32))
            return DenseAnswer(sample, "token", np.zeros((30, 2), np.float32), elements={"start": np.arange(30.0)})
        answer, problem = None, "none has rows"
        for recipe in self.recipes:
            try:
                answer = self._of(recipe) or answer
            except Exception as error:  # this recipe's data or encoder knows no such elements; the next may
                problem = f"{recipe.entry.full_name}: {type(error).__name__}: {error}"
                continue
            if answer is not None and self._takes(answer):
                return answer
        if answer is None:
            raise SubjectError(f"no recipe of the plugin gives answers of level {self.entry.spec.level} ({problem})")
        return answer

    def _of(self, recipe: RecipeSubject) -> DenseAnswer | None:
        key = (f"{recipe.entry.full_name}:{recipe.preset}", self.entry.spec.level)
        if key not in self.known:
            self.known[key] = None  # what fails once is not tried again
            self.known[key] = _answer_of(recipe, self.entry.spec.level)
        return self.known[key]

    def _takes(self, answer: DenseAnswer) -> bool:
        """Whether the format takes such answers, or stumbles over them (which a check then reports)."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                return any(
                    self.write(Path(folder) / f"tried{self.suffix}", one) is not None for _, one in self.drawn(answer)
                )
            except Exception:
                return True

    def answers(self) -> Iterator[tuple[str, DenseAnswer]]:
        """Drawn answers about the elements of that sample."""
        return self.drawn(self.found)

    def drawn(self, found: DenseAnswer) -> Iterator[tuple[str, DenseAnswer]]:
        """Classes, features and one number about the same elements; the second element has no answer."""
        rng = np.random.default_rng(0)
        shape = found.outputs.shape[:-1]
        scores = rng.dirichlet(np.full(len(NAMES), 0.4), size=shape).astype(np.float32)
        classes = TargetSpec("drawn", "class", self._level, names=NAMES)
        yield "classes", replace(found, outputs=_hole(scores), target=classes, values=VALUES)
        numbers = rng.normal(size=(*shape, 2)).astype(np.float32)
        yield "features", replace(found, outputs=_hole(numbers), target=None, values=())
        regression = TargetSpec("height", "regression", self._level, unit="m")
        yield "numbers", replace(found, outputs=_hole(numbers[..., :1]), target=regression, values=())

    @property
    def _level(self) -> TargetLevel:
        return self.entry.spec.level or "token"

    def write(self, path: Path, answer: DenseAnswer) -> bytes | None:
        """What the file holds then; None if the format refuses such answers by a RepcoreError."""
        try:
            self.entry.load()(path, answer)
        except RepcoreError:
            return None
        return path.read_bytes() if path.is_file() else b""

    def accepted(self, folder: Path) -> list[tuple[str, DenseAnswer, Path]]:
        """The answers that the format takes, each with its file; at least one kind."""
        made = []
        for number, (what, answer) in enumerate(self.answers()):
            path = folder / f"{number}{self.suffix}"
            if self.write(path, answer) is not None:
                made.append((what, answer, path))
        if not made:
            fail("takes neither classes nor numbers: every kind of answer is refused")
        return made


def _answer_of(recipe: RecipeSubject, level: str) -> DenseAnswer | None:
    """About the first usable row."""
    parts = recipe.parts
    rows = [prepare_row(parts.reader, parts.preprocessor, int(row), whole=True) for row in parts.train[:TRIED_ROWS]]
    encoder = EncoderSubject(recipe.resolved.encoder.entry, recipe).build()
    place = find_place(encoder, parts.preprocessor, rows, level)
    options, function = InferenceOptions(), element_features(encoder, place)
    for row in rows:
        answer = dense_row(function, parts.preprocessor, row, options, level, recipe.resolved.domain).answer
        if answer is not None:
            return answer
    return None


def _hole(outputs: np.ndarray) -> np.ndarray:
    """The same without an answer for the second element."""
    outputs.reshape(-1, outputs.shape[-1])[1] = np.nan
    return outputs


@contextmanager
def _somewhere() -> Iterator[Path]:
    """A folder within an empty one, which is the working directory meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work" / "out"
        folder.mkdir(parents=True)
        os.chdir(folder.parent)
        try:
            yield folder
        finally:
            os.chdir(before)


def one_file(subject: DenseWriterSubject) -> None:
    """Exactly the file that is asked for, whatever its name and the sample's id are; the answer stays as it is."""
    with _somewhere() as folder:
        for what, answer in subject.answers():
            renamed = replace(answer, sample=replace(answer.sample, id=ELSEWHERE))
            kept = copy.deepcopy(renamed)
            names = STRANGE_NAMES if renamed.outputs.size <= MANY else STRANGE_NAMES[:2]  # large ones take seconds
            for name in names:
                path = folder / f"{name}{subject.suffix}"
                if subject.write(path, renamed) is None:
                    break
                found = sorted(one.relative_to(folder.parents[1]) for one in folder.parents[1].rglob("*"))
                files = [str(one) for one in found if (folder.parents[1] / one).is_file()]
                if files != [str(path.relative_to(folder.parents[1]))]:
                    fail(f"{what}, asked for {path.name!r}: files are {', '.join(files) or 'none'}")
                path.unlink()
            if where := difference(kept, renamed):
                fail(f"{what}: writing changes the answer: {where}")


def every_element(subject: DenseWriterSubject) -> None:
    """Another answer of the first, a middle or the last element, or two answers exchanged, make another file."""
    with _somewhere() as folder:
        for what, answer, path in subject.accepted(folder):
            whole = path.read_bytes()
            if subject.write(folder / f"again{subject.suffix}", answer) != whole:
                raise NotJudgedError("the same answer written twice gives two files (a time or a name inside)")
            count = answer.outputs[..., 0].size
            for place in (0, count // 2, count - 1):
                if subject.write(folder / f"other{subject.suffix}", _turned(answer, place)) == whole:
                    fail(f"{what}: another answer of element {place} of {count} gives the same file: it is lost")
            exchanged = _exchanged(answer)
            if subject.write(folder / f"other{subject.suffix}", exchanged) == whole:
                fail(f"{what}: the answers of two elements exchanged give the same file: their order is lost")


def aligned(subject: DenseWriterSubject) -> None:
    """Labels (by the data's own numbers or names) or values stand in the file in the order of the input's elements."""
    judged = False
    with _somewhere() as folder:
        for what, answer, path in subject.accepted(folder):
            order = order_in_file(path, answer)
            if order is Order.OTHER:
                fail(f"{what}: the answers are in the file, but in another order than the elements of the input")
            if order is Order.PLACES:
                fail(f"{what}: labels are places of classes (0, 1, 2), not the data's own numbers {VALUES}")
            judged = judged or order is Order.SAME
    if not judged:
        raise NotJudgedError("answers cannot be found in the file, neither as text nor as arrays of one number each")


def _turned(answer: DenseAnswer, place: int) -> DenseAnswer:
    """Another class or other numbers for one element."""
    outputs = answer.outputs.copy()
    row = outputs.reshape(-1, outputs.shape[-1])[place]
    row[:] = np.roll(row, 1) if len(row) == len(NAMES) else row + 1.0
    return replace(answer, outputs=outputs)


def _exchanged(answer: DenseAnswer) -> DenseAnswer:
    """The first element and the last that answers something else, one in the place of the other."""
    outputs = answer.outputs.copy()
    rows = outputs.reshape(-1, outputs.shape[-1])
    differs = (
        np.flatnonzero(np.nan_to_num(rows).argmax(1) != rows[0].argmax()) if rows.shape[1] > 1 else [len(rows) - 1]
    )
    rows[[0, differs[-1]]] = rows[[differs[-1], 0]]
    return replace(answer, outputs=outputs)


CHECKS = (
    Check("dense-writer-one-file", one_file),
    Check("dense-writer-every-element", every_element),
    Check("dense-writer-aligned", aligned),
)
