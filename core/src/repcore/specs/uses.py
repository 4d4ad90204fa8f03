"""What a trained encoder is used with: tasks, probes, estimators, and writers of embeddings and of dense answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from repcore.errors import PluginError
from repcore.specs.base import Labels, Spec, TargetKind, TargetLevel, TensorSpec, target_field


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec(Spec):
    """A supervised task for ``finetune --task NAME``; ``target(config, encoder, target_spec)``.

    Args:
        encoders: short names of the encoders of its domain that it goes with; none = any.
    """

    kind: ClassVar[str] = "task"
    target: str = target_field()
    config: str = target_field()
    target_kind: TargetKind = "class"
    target_level: TargetLevel = "item"
    encoders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec(Spec):
    """A versioned protocol on frozen features, or on the frozen network itself; the name ends in ``@VERSION``.

    Args:
        sees: ``features`` (see :class:`repcore.interfaces.Probe`), or ``model`` for protocols without labels that ask
            the network about the data (:class:`repcore.interfaces.ModelProbe`).
        example: of one that sees the model: function returning ``(encoder, rows)`` of tiny size, for checks.
    """

    kind: ClassVar[str] = "probe"
    target: str = target_field()
    config: str = target_field()
    target_kinds: tuple[TargetKind, ...] = ()
    sees: Literal["features", "model"] = "features"
    example: str = target_field("")

    def __post_init__(self) -> None:
        Spec.__post_init__(self)
        if "@" not in self.name:
            raise PluginError(f"ProbeSpec.name={self.name!r} carries no version", hint=f"{self.name}@1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorSpec(Spec):
    """Something fitted on features after training; ``target(config)``, see :class:`repcore.interfaces.Estimator`.

    Args:
        level: what it is fitted on: ``item`` (pooled vectors) or ``token`` (vectors of the default token level).
        labels: whether ``fit`` reads labels.
        facts: words for the numbers that ``state`` gives, by their name, for ``repcore fit``; a unit stands behind a
            bar: ``"held out for the threshold | items"``. A number without words is shown under its name.
        needs: importable modules; ``hints`` maps a module to the command that installs it.
        example: function returning a config of tiny size, for checks.
    """

    kind: ClassVar[str] = "estimator"
    target: str = target_field()
    config: str = target_field()
    level: Literal["item", "token"] = "item"
    labels: Labels = "none"
    facts: Mapping[str, str] = field(default_factory=dict)
    paper: str = ""
    licence: str = ""
    needs: tuple[str, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    example: str = target_field("")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSpec(Spec):
    """A file format for embeddings, chosen by suffix."""

    kind: ClassVar[str] = "writer"
    target: str = target_field()
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseWriterSpec(Spec):
    """A file format for answers about the elements of one sample (points, voxels, frames, nodes, edges).

    Args:
        target: ``fn(path: Path, answer: repcore.interfaces.DenseAnswer) -> None`` writes one file a sample, on the
            sample's own grid or in its own order.
        level: what an answer belongs to; empty = any level.
        suffixes: of its files; the first is used.
        accepts: values of ``Sample.inputs`` that it can write answers about, where a domain has several kinds of data:
            the first format that fits the model's preprocessor is taken where none is asked for.
    """

    kind: ClassVar[str] = "dense-writer"
    target: str = target_field()
    level: TargetLevel | Literal[""] = ""
    suffixes: tuple[str, ...] = ()
    accepts: tuple[TensorSpec, ...] = ()
