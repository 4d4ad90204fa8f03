"""What a training run is made of: encoders, objectives, data, preprocessors, views and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from repcore.errors import PluginError
from repcore.specs.base import Labels, Spec, Status, TargetSpec, TensorSpec, ViewsRole, target_field, target_map


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
        classes_in_batch: classes that each batch of ``balanced`` has to show, or the loss has nothing to learn from.
        encoder_change: function ``(config, encoder) -> encoder`` by which a method rebuilds the encoder (a side block,
            vectors of another width) before the task is built around it; the model folder records it.
        bags: whether the changed encoder reads bags (:mod:`repcore.data.bags`): all items of a sample at once, in their
            order, and one vector a sample. Such an encoder keeps the one below frozen under the name ``inner`` and has
            ``instances(batch) -> Tokens`` (ragged): vectors of the instances, which core computes once, and
            ``sees_instances(mean, deviation)``, told of those of the training rows before a new aggregator learns.
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
    classes_in_batch: int = 1
    encoder_change: str = target_field("")
    bags: bool = False
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
        shards: True when it reads a folder of parquet parts itself, row by row; others get such parts as one file
            (:mod:`repcore.data.shards.joined`).
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
    shards: bool = False
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
        accepts: values of ``Sample.inputs`` that the views understand, where a domain has several kinds of data, or
            what they change of a preprocessor's items, where it has several of those; of several views with one role,
            the one that fits what the run's preprocessor accepts and produces is taken.
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
