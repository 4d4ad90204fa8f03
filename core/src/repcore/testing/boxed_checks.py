"""Checks of trained models that lie in a distribution: they are whole, unaltered, and say what people have to know."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.places import model_facts, model_path
from repcore.errors import PluginError
from repcore.registry import Entry, Registry
from repcore.specs import ModelSpec
from repcore.testing.check import Check, NotJudgedError, fail


@dataclass(frozen=True, slots=True)
class BoxedSubject:
    """A trained model of a plugin."""

    registry: Registry
    entry: Entry[ModelSpec]


def loads(subject: BoxedSubject) -> None:
    """The model is built from its folder, every hash agrees, and its encoder is one of its domain."""
    folder = read_model(model_path(subject.entry.full_name, subject.registry))
    if not folder.config.get("content"):
        fail("its config.json holds no hashes: nobody would notice a changed weight")
    try:
        folder.build(subject.registry)
    except PluginError as error:  # of the domain, which the distribution need not ask for
        raise NotJudgedError(error.in_one_line()) from error
    if folder.encoder_name.partition("/")[0] != subject.entry.domain:
        fail(f"it is listed in {subject.entry.domain}, and its encoder is {folder.encoder_name}")


def tells(subject: BoxedSubject) -> None:
    """Its card says what it was trained on, the licence of the weights, and figures."""
    facts = model_facts(subject.entry, subject.registry)
    wanted = {"training_data": facts.data, "licence": facts.licence, "figures": facts.figures}
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        fail(f"its card does not say: {', '.join(missing)}")


CHECKS = (Check("model-loads", loads), Check("model-tells", tells))
