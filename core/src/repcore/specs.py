"""What plugins register: frozen descriptions whose code is a ``"package.module:attribute"`` string.

Nothing here imports more than the standard library, so that listing every plugin costs milliseconds.
A spec's ``name`` is short (``"i2p-mae"``); users see it as ``<domain>/<name>``.
Each spec checks its own fields and raises ``PluginError`` naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from repcore.errors import PluginError

NAME_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(@[0-9]+)?")
TARGET_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

Status = Literal["stable", "experimental", "deprecated"]
TargetKind = Literal["class", "multilabel", "regression", "landmark"]
TargetLevel = Literal["item", "token", "node", "edge", "point", "voxel"]
ViewsRole = Literal["", "pair", "weak-strong"]
Labels = Literal["none", "optional", "required"]

GENERIC = "generic"
"""Domain of plugins whose objectives, methods and estimators take any encoder: a short name that a domain does not
have is looked for here."""

NO_MAPPING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """Who a plugin is.

    Args:
        title: for people, for example ``"Point clouds"``.
        domain: first half of every name, lower case; several plugins may share one.
        api_version: the ``repcore.hooks.API_VERSION`` that the plugin was written for.
        summary: one line.
        docs: where to read more, an address or a file.
        licence: of the plugin's code.
    """

    title: str
    domain: str
    api_version: int
    summary: str = ""
    docs: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*", self.domain):
            raise PluginError(
                f"PluginInfo.domain={self.domain!r} is not a plain lower-case word",
                expected="letters and digits, for example 'audio'",
            )
        if not isinstance(self.api_version, int) or isinstance(self.api_version, bool):
            raise PluginError(f"PluginInfo.api_version={self.api_version!r} is not an integer", hint="api_version=1")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor that goes in or comes out: ``TensorSpec("points", "B N 3", "float32", unit="m")``.

    ``shape`` holds one letter or number a dimension (see :func:`repcore.shapes.check_shape`); ragged data uses a
    flat leading dimension such as ``"sumN 3"`` beside an owner tensor.
    """

    name: str
    shape: str
    dtype: str = "float32"
    unit: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A label that a data set may carry. Missing values are NaN (or ``ignore``) and are masked everywhere.

    Args:
        name: column or key in ``Sample.targets``.
        kind: class (one integer), multilabel (0/1 vector), regression (floats), landmark (coordinates).
        level: what a label belongs to.
        names: class names, or task names of a multilabel target.
        unit: of a regression target.
        ignore: integer label that means "not labelled", for dense targets.
        ids: the stored number of each name, where those of dense labels are not 0 to K-1 (0, 205, 420).
    """

    name: str
    kind: TargetKind
    level: TargetLevel = "item"
    names: tuple[str, ...] = ()
    unit: str = ""
    ignore: int | None = None
    ids: tuple[int, ...] = ()

    def name_of(self, number: int) -> str:
        """Name of a class by its stored number, which is its name where it has none."""
        place = number if not self.ids else self.ids.index(number) if number in self.ids else -1
        return self.names[place] if 0 <= place < len(self.names) else str(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What all specs share. ``kind`` is the word used in messages and in ``repcore list KIND``."""

    kind: ClassVar[str] = ""
    name: str
    summary: str = ""

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise PluginError(
                f"{type(self).__name__}.name={self.name!r} is not a valid name",
                expected="lower-case words joined by hyphens; core adds the domain",
                hint=re.sub(r"[^a-z0-9@]+", "-", self.name.lower().split("/")[-1]).strip("-") or None,
            )
        for one in fields(self):
            if one.metadata.get("target"):
                self._check_targets(one.name, getattr(self, one.name))

    def _check_targets(self, field_name: str, value: object) -> None:
        targets = value.values() if isinstance(value, Mapping) else [value]
        for target in targets:
            if target and not (isinstance(target, str) and TARGET_PATTERN.fullmatch(target)):
                raise PluginError(
                    f"{type(self).__name__}({self.name!r}).{field_name}={target!r} is not a target",
                    expected="'package.module:attribute' of something at module level",
                )


def target_field(default: str | None = None) -> str:
    """A required (or defaulted) ``module:attribute`` field."""
    if default is None:
        return field(metadata={"target": True})
    return field(default=default, metadata={"target": True})


def target_map() -> Mapping[str, str]:
    return field(default_factory=dict, metadata={"target": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec(Spec):
    """A network that turns a batch into :class:`repcore.interfaces.Features`.

    Args:
        target: class, called as ``target(config)``.
        config: frozen dataclass of its settings.
        inputs / outputs: tensors of ``batch.inputs`` and of the features.
        poolings: names accepted by ``embed --pool``; the first is the default.
        levels: names of token levels in ``Features.tokens``; the first is the default.
        capabilities: words that objectives may need, for example ``"visible-only"``.
        paper / licence: of the published system.
        needs: importable modules; ``hints`` maps a module to the command that installs it.
        example: function returning ``(config, batch)`` of tiny size, for checks and docs.
    """

    kind: ClassVar[str] = "encoder"
    target: str = target_field()
    config: str = target_field()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    poolings: tuple[str, ...] = ("mean",)
    levels: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    paper: str = ""
    licence: str = ""
    needs: tuple[str, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")
    example: str = target_field("")
    status: Status = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSpec(Spec):
    """A loss, an ``nn.Module`` called as ``target(config, encoder)``, with labels as ``target(config, encoder, task)``.

    Args:
        needs: capabilities or levels the encoder must have; checked before a run starts.
        views: registered views the objective expects by default, or a role (``pair``, ``weak-strong``) that stands
            for the views which the run's domain registers for it; empty for plain batches.
        reads_inputs: whether it reads ``Batch.inputs``, the untouched item, beside its views; False saves preparing it.
        labels: whether it sees labels: ``none``, ``optional`` or ``required``; with labels it is a method of
            ``finetune --method NAME``.
        sampler: order of rows it asks for where labels are known: ``balanced``, ``pairs``, ``mixed``; empty = uniform.
        encoder_change: function ``(config, encoder) -> encoder`` by which a method rebuilds the encoder (a side block,
            vectors of another width) before the task is built around it; the model folder records it.
        decay_rule: function ``(name, parameter) -> bool`` that says which parameters get weight decay; by default
            those with two or more dimensions that are not embeddings of positions or tokens added by name.
        unused_parameters_ok: name patterns of parameters that may get no gradient.
        example: function returning ``(config, batch)`` of tiny size, for checks where no recipe uses the objective.
    """

    kind: ClassVar[str] = "objective"
    target: str = target_field()
    config: str = target_field()
    needs: tuple[str, ...] = ()
    views: str = ""
    reads_inputs: bool = True
    labels: Labels = "none"
    sampler: Literal["", "uniform", "balanced", "pairs", "mixed"] = ""
    encoder_change: str = target_field("")
    decay_rule: str = target_field("")
    unused_parameters_ok: tuple[str, ...] = ()
    paper: str = ""
    licence: str = ""
    example: str = target_field("")
    status: Status = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec(Spec):
    """A reader of files, or a data set that comes with the plugin.

    Args:
        target: class, called as ``target(config)``; a reader of users' files has a ``path`` field in its config,
            which ``--data PATH`` sets.
        produces: tensors or values of ``Sample.inputs``, for people and docs.
        targets: labels known beforehand; a reader may find others in the files (``reader.targets``).
        sniff: ``fn(path: Path) -> float`` in [0, 1]: how surely this reader fits; reads names and headers only.
        render: ``fn(sample) -> repcore.interfaces.Picture`` for reports.
        render_heat: ``fn(sample, heat, position) -> Picture``: the same with a value for each token of the encoder
            drawn on it (atoms, frames, points, nodes, places of an image). ``heat`` is float (T,), any scale,
            ``position`` (T, P) what the encoder says of its tokens' places, or None; raises ``ItemError`` for tokens
            that it cannot place, which are then shown as a strip below the picture.
        overlay: ``fn(sample, labellings: Mapping[str, int array]) -> Picture``: the sample once for each labelling of
            its elements, by its name, all seen alike; labels in the data's own numbers over its elements, -1 = none.
        embedded: True when it needs no files (generated, or inside a dependency).
        example: function returning a config that opens a few rows, so that checks can read them; files it needs lie in
            the package.
    """

    kind: ClassVar[str] = "dataset"
    target: str = target_field()
    config: str = target_field()
    produces: tuple[TensorSpec, ...] = ()
    targets: tuple[TargetSpec, ...] = ()
    sniff: str = target_field("")
    render: str = target_field("")
    render_heat: str = target_field("")
    overlay: str = target_field("")
    embedded: bool = False
    licence: str = ""
    needs: tuple[str, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    example: str = target_field("")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessorSpec(Spec):
    """Turns samples into items and items into batches; saved with the model.

    Args:
        target: class, called as ``target(config)`` or ``target.load(config, folder)``.
        version: raised when prepared values change; part of every cache key.
        baselines: name -> ``fn(preprocessor, samples) -> float array (N, D)``: raw-input features that every probe
            shows beside the encoder's.
        dense_baselines: name -> ``fn(preprocessor, sample, items, level) -> float array over the sample's elements``:
            the same for labels of elements.
        element_metrics: name -> class of a metric of answers about elements (``repcore.evaluation.element_metrics``).
        splits: name -> ``fn(inputs: repcore.data.split_plans.SplitInputs, seed) -> ProbeSplit``: the domain's own
            ways to split (scaffolds), for ``--split NAME``; ``inputs.samples`` holds the samples.
        divisions: name -> ``fn(preprocessor, sample, level, detail) -> array over the sample's elements`` of names or
            numbers of groups, empty or -1 = in none: the domain's own ways to divide one sample (blocks of a scan), for
            ``--group NAME:DETAIL``.
        labelled_item: ``fn(preprocessor, sample, generator) -> Item``: the item of a training row when labels of
            elements are learned, a random, changed part of a large sample around labelled ones (NaN = none) with the
            labels of its own elements; empty = what ``prepare`` gives.
    """

    kind: ClassVar[str] = "preprocessor"
    target: str = target_field()
    config: str = target_field()
    accepts: tuple[TensorSpec, ...] = ()
    produces: tuple[TensorSpec, ...] = ()
    version: int = 1
    baselines: Mapping[str, str] = target_map()
    dense_baselines: Mapping[str, str] = target_map()
    element_metrics: Mapping[str, str] = target_map()
    splits: Mapping[str, str] = target_map()
    divisions: Mapping[str, str] = target_map()
    labelled_item: str = target_field("")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsSpec(Spec):
    """Several views of one sample for training; ``target(config, preprocessor)``.

    Args:
        names: of the views, the keys of what ``build`` returns.
        role: what the views are for when an objective of any domain asks: ``pair`` (two random views alike),
            ``weak-strong`` (names ``weak`` and ``strong``), or empty (only the system's own objectives use them).
        accepts: values of ``Sample.inputs`` that the views understand, where a domain has several kinds of data; of
            several views with one role, the one that fits the run's preprocessor is taken.
        fixed: names of views that draw nothing and are the same every time (another channel, the sample in another
            form); all others change with the generator, which the conformance kit checks.
    """

    kind: ClassVar[str] = "views"
    target: str = target_field()
    config: str = target_field()
    names: tuple[str, ...] = ()
    role: ViewsRole = ""
    accepts: tuple[TensorSpec, ...] = ()
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpec(Spec):
    """Complete runs: preset name -> function returning :class:`repcore.config.RunConfig`."""

    kind: ClassVar[str] = "recipe"
    presets: Mapping[str, str] = target_map()
    default: str = "tiny"
    paper: str = ""

    def __post_init__(self) -> None:
        Spec.__post_init__(self)
        if self.default not in self.presets:
            raise PluginError(
                f"RecipeSpec({self.name!r}).default={self.default!r} is not among its presets",
                expected=", ".join(self.presets) or "at least one preset",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSpec(Spec):
    """A published system: its parts (short names), its papers and notices, and its replay of golden data.

    Args:
        replay: ``fn(golden: repcore.verification.Golden, fed: frozenset[str]) -> Iterator[StageResult]``.
        bench: ``fn(options) -> None`` behind ``repcore bench SYSTEM``.
        differences: ``(topic, published, here, flag)`` rows: where our default departs from the paper or its code.
    """

    kind: ClassVar[str] = "system"
    paper: str = ""
    licence: str = ""
    notices: str = ""
    encoders: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    replay: str = target_field("")
    bench: str = target_field("")
    differences: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights that somebody published, for ``repcore pull NAME``.

    Args:
        files: name of each file -> its address (https).
        sha256: name of each file -> hexadecimal SHA-256 of its content, without which nothing is imported.
        size: bytes of all files together.
        source: page that describes them.
        licence: their terms.
        options: of the layout, as in ``repcore import --option``.
    """

    files: Mapping[str, str]
    sha256: Mapping[str, str]
    size: int
    source: str
    licence: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.files:
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise PluginError(f"Published.files: {name!r} is no plain file name")
            if not re.fullmatch("[0-9a-f]{64}", self.sha256.get(name, "")):
                raise PluginError(f"Published.sha256 has no SHA-256 of {name!r}", expected="64 hexadecimal digits")
        if not self.files or self.size < 1 or not self.licence:
            raise PluginError("Published says files with their size and licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec(Spec):
    """A layout of published weights.

    Args:
        target: ``fn(state, source: Path, options: Mapping[str, str]) -> repcore.checkpoints.Imported``.
        sniff: ``fn(keys: frozenset[str]) -> float`` in [0, 1], from key names only.
        encoder: full or short name of the encoder that the converted weights fit.
        options: name -> words that ``import --option NAME=WORD`` takes; no words = anything. Others are refused.
        files / sha256 / licence: what is published, as far as known.
        published: name -> weights that ``repcore pull NAME`` downloads, verifies and imports.
    """

    kind: ClassVar[str] = "checkpoint"
    target: str = target_field()
    sniff: str = target_field()
    encoder: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    published: Mapping[str, Published] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSpec(Spec):
    """An operation: ``reference`` is its plain torch definition, ``implementations`` are faster twins.

    Args:
        cases: ``fn(device, dtype) -> Iterator[tuple[str, tuple, dict]]``: named inputs incl. degenerate ones, on
            which all implementations must agree within ``tolerance`` (absolute and relative).
        priority: ``fn(device_type, dtype_name, sizes) -> tuple[str, ...]``: preferred implementations in order.
        usable: implementation -> ``fn() -> str``: empty if usable here, otherwise the reason why not.
    """

    kind: ClassVar[str] = "op"
    reference: str = target_field()
    implementations: Mapping[str, str] = target_map()
    cases: str = target_field("")
    priority: str = target_field("")
    usable: Mapping[str, str] = target_map()
    tolerance: float = 1e-5


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(Spec):
    """A command of the plugin's own: ``target`` is a click command, shown as ``repcore DOMAIN NAME``."""

    kind: ClassVar[str] = "command"
    target: str = target_field()


SPEC_TYPES: tuple[type[Spec], ...] = (
    EncoderSpec, ObjectiveSpec, DatasetSpec, PreprocessorSpec, ViewsSpec, RecipeSpec, SystemSpec,
    CheckpointSpec, OpSpec, TaskSpec, ProbeSpec, EstimatorSpec, WriterSpec, DenseWriterSpec, CommandSpec,
)  # fmt: skip
"""Every kind of spec; the hook that returns a kind is ``repcore_<plural of kind>``."""

HOOK_OF_KIND: Mapping[str, str] = {
    spec.kind: "repcore_" + (spec.kind if spec.kind.endswith("s") else spec.kind + "s").replace("-", "_")
    for spec in SPEC_TYPES
}
