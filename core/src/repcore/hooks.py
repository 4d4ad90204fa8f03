"""The contract between core and its plugins: every hook a plugin may implement.

A plugin is an installed distribution with an entry point in the group ``repcore.plugins`` that names a small
module, by custom ``<package>._plugin``. That module implements the hooks below, decorated with ``hookimpl``, and
imports nothing but this module and :mod:`repcore.specs`: listing what is installed must never import torch.

Every hook takes no arguments and returns a list of frozen specs (see :mod:`repcore.specs`), whose code is a
``"package.module:attribute"`` string that core imports on first use. Hooks must be pure and quick (< 5 ms).
Most plugins need ``repcore_plugin_info`` and two or three of the others::

    from repcore.hooks import hookimpl
    from repcore.specs import EncoderSpec, PluginInfo

    @hookimpl
    def repcore_plugin_info() -> PluginInfo:
        return PluginInfo(title="Sleep", domain="sleep", api_version=1, summary="Polysomnography encoders")

    @hookimpl
    def repcore_encoders() -> list[EncoderSpec]:
        return [EncoderSpec(name="u-sleep", target="repcore_sleep.encoders:USleep", ...)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from repcore import specs

PROJECT = "repcore"
ENTRY_POINT_GROUP = "repcore.plugins"
API_VERSION = 1  # raised when a hook or a spec field changes its meaning or goes away
API_OLDEST = 1  # oldest plugin contract that this core still serves

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def repcore_plugin_info() -> specs.PluginInfo:  # type: ignore[empty-body]
    """Who the plugin is: title, domain, contract version, summary. Required, read first."""


@hookspec
def repcore_encoders() -> list[specs.EncoderSpec]:  # type: ignore[empty-body]
    """Networks that turn a batch into features; see :class:`repcore.interfaces.Encoder`."""


@hookspec
def repcore_objectives() -> list[specs.ObjectiveSpec]:  # type: ignore[empty-body]
    """Label-free training losses around an encoder; see :class:`repcore.interfaces.Objective`."""


@hookspec
def repcore_datasets() -> list[specs.DatasetSpec]:  # type: ignore[empty-body]
    """Readers of the users' files, and data sets that come with the plugin; see
    :class:`repcore.interfaces.DatasetReader`."""


@hookspec
def repcore_preprocessors() -> list[specs.PreprocessorSpec]:  # type: ignore[empty-body]
    """What turns a sample into tensors and items into a batch, saved with the model; see
    :class:`repcore.interfaces.Preprocessor`."""


@hookspec
def repcore_views() -> list[specs.ViewsSpec]:  # type: ignore[empty-body]
    """Several training views of one sample; see :class:`repcore.interfaces.Views`."""


@hookspec
def repcore_recipes() -> list[specs.RecipeSpec]:  # type: ignore[empty-body]
    """Complete runs with presets: what ``repcore DOMAIN train RECIPE`` starts."""


@hookspec
def repcore_systems() -> list[specs.SystemSpec]:  # type: ignore[empty-body]
    """Published systems: which encoders, objectives and recipes make one up, and how to replay golden data."""


@hookspec
def repcore_checkpoints() -> list[specs.CheckpointSpec]:  # type: ignore[empty-body]
    """Layouts of published weights and how to convert them."""


@hookspec
def repcore_ops() -> list[specs.OpSpec]:  # type: ignore[empty-body]
    """Operations with a plain torch definition and faster twins; see :mod:`repcore.ops`."""


@hookspec
def repcore_tasks() -> list[specs.TaskSpec]:  # type: ignore[empty-body]
    """Supervised tasks for fine-tuning; see :class:`repcore.interfaces.Task`."""


@hookspec
def repcore_probes() -> list[specs.ProbeSpec]:  # type: ignore[empty-body]
    """Versioned evaluation protocols on frozen features; see :class:`repcore.interfaces.Probe`."""


@hookspec
def repcore_estimators() -> list[specs.EstimatorSpec]:  # type: ignore[empty-body]
    """What is fitted on features after training (``repcore fit``, ``repcore apply``); see
    :class:`repcore.interfaces.Estimator`."""


@hookspec
def repcore_writers() -> list[specs.WriterSpec]:  # type: ignore[empty-body]
    """File formats for embeddings; see :class:`repcore.interfaces.EmbeddingWriter`."""


@hookspec
def repcore_dense_writers() -> list[specs.DenseWriterSpec]:  # type: ignore[empty-body]
    """File formats for answers about points, voxels, frames, nodes or edges of one sample."""


@hookspec
def repcore_commands() -> list[specs.CommandSpec]:  # type: ignore[empty-body]
    """Commands of the plugin's own, shown as ``repcore DOMAIN NAME``."""


@hookspec
def repcore_models() -> list[specs.ModelSpec]:  # type: ignore[empty-body]
    """Trained models that lie in the distribution, loaded by name wherever a model folder is taken."""
