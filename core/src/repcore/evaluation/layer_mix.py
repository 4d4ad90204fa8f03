"""Probing a weighted sum over an encoder's layers instead of its last one (``repcore probe --layers all``).

Which layer knows a label differs from label to label; s3prl (``s3prl/upstream/interfaces.py``, ``Featurizer``) and
SUPERB (Yang et al. 2021, section 3) therefore freeze the encoder and learn one weight a layer together with the head.
Here a softmax over layers is learned with a linear head on the labelled training rows of every split; the probe then
sees the weighted sum and nothing else, so its own rules stay what they are. A random-init twin gets weights of its own.

Symbols: N rows, L layers, D width of a layer, K labels, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from repcore.embedding.inference import InferenceOptions, PreparedRow, encoder_width, map_prepared
from repcore.embedding.model import Model
from repcore.embedding.pooling import pool_tokens
from repcore.errors import ConfigError
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.preparation import Prepared, Standardiser, prepare
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeTable
from repcore.interfaces import Batch, EmbeddingRows, Features, Probe, ProbeSplit
from repcore.specs import TargetSpec

MIXES = ("learned", "mean")
ALL = "all"
OWN_VECTOR = "trained, own vector"
ITERATIONS = 200  # of L-BFGS, at most
PENALTY = 1.0  # of the head that learns the weights: 1 / (2 n) |W|^2, as logistic regression with C = 1


class LayerStack(np.ndarray):
    """Vectors of several layers side by side, (N, L * D); ``layers`` are their numbers.

    ``weights`` collects what :class:`MixedProbe` used, one (L,) a split, for the reader of the result.
    """

    layers: tuple[int, ...]
    mix: str
    weights: list[np.ndarray]

    def __array_finalize__(self, source: Any) -> None:  # NumPy calls it for every view and copy
        self.layers = getattr(source, "layers", ())
        self.mix = getattr(source, "mix", MIXES[0])
        self.weights = getattr(source, "weights", [])

    @classmethod
    def of(cls, values: np.ndarray, layers: Sequence[int], mix: str) -> LayerStack:
        """Of (N, L * D) values."""
        stack = np.asarray(values).view(cls)
        stack.layers, stack.mix, stack.weights = tuple(layers), mix, []
        return stack


def layers_of(model: Model, option: str) -> tuple[int, ...]:
    """Numbers of the layers that the encoder gives, from its first to ``depth``.

    Args:
        option: what asks for them, for the error.

    Raises:
        ConfigError: the encoder gives no layers.
    """
    capabilities = model.registry.encoder(model.folder.encoder_name).spec.capabilities
    if "layers" not in capabilities:
        raise ConfigError(
            f"{option}: encoder {model.folder.encoder_name} gives no layers",
            it_offers=", ".join(capabilities) or "nothing beyond a vector an item",
            hint=f"leave {option} out",
        )
    last = int(model.encoder.depth)  # type: ignore[arg-type]  # capability "layers"
    return tuple(range(int(getattr(model.encoder, "first_layer", 0)), last + 1))


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """Which layers are summed, and how: weights ``learned`` for every split, or their ``mean``."""

    layers: tuple[int, ...]
    mix: str = MIXES[0]

    @classmethod
    def asked(cls, model: Model, layers: str, mix: str = MIXES[0]) -> LayerChoice:
        """By ``all`` or numbers such as ``1,3,5``.

        Raises:
            ConfigError: the encoder gives no layers, or not these; no such way of summing.
        """
        if mix not in MIXES:
            raise ConfigError(f"mix {mix!r} is unknown", expected=" or ".join(MIXES))
        known = layers_of(model, "--layers")
        if layers == ALL:
            return cls(known, mix)
        parts = [part.strip() for part in layers.split(",")]
        wrong = [part for part in parts if not part.isdecimal() or int(part) not in known]
        if wrong:
            raise ConfigError(
                f"--layers {layers}: no layer {wrong[0]!r}", expected=f"all, or some of {known[0]} to {known[-1]}"
            )
        return cls(tuple(dict.fromkeys(int(part) for part in parts)), mix)

    def embed(
        self, encoder: nn.Module, model: Model, window: list[PreparedRow], options: InferenceOptions
    ) -> EmbeddingRows:
        """(n, L * D + own width) of a window: mean token of each layer, then the encoder's own vector."""

        def vectors(batch: Batch) -> Tensor:
            features: Features = encoder(batch, self.layers)
            items = len(features.pooled)
            means = [pool_tokens(features.layers[layer], "mean", items) for layer in self.layers]
            return torch.cat([*means, features.pooled], 1)

        width = len(self.layers) * int(encoder.token_width()) + encoder_width(encoder)  # type: ignore[operator]
        return map_prepared(vectors, model.preprocessor, window, options, width=width, domain=model.domain)

    def divided(self, matrices: Mapping[str, Any], own: int) -> dict[str, Any]:
        """Stacks of layers for the model and its twins, and the model's own vector (the last ``own`` columns)."""

        def stack(values: np.ndarray) -> LayerStack:
            return LayerStack.of(values[:, : values.shape[1] - own], self.layers, self.mix)

        trained = matrices[TRAINED]
        twins = [stack(one) for one in matrices[RANDOM_INIT]]
        return {TRAINED: stack(trained), RANDOM_INIT: twins, OWN_VECTOR: trained[:, trained.shape[1] - own :]}


def learned_weights(data: Prepared, target: TargetSpec, layers: int) -> np.ndarray:
    """(L,) weights that sum to 1, learned with a linear head on the training rows alone; no randomness.

    Layers are standardised one by one, so that a weight does not stand for a layer's scale.
    """
    train = Standardiser.fit(data.train)(data.train)
    values = torch.from_numpy(np.ascontiguousarray(train)).view(len(train), layers, -1)
    loss, outputs = _loss(data, target)
    scores = torch.zeros(layers, dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(outputs, values.shape[2], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(outputs, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [scores, weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        mixed = torch.einsum("l,nld->nd", scores.softmax(0), values)
        value = loss(functional.linear(mixed, weight, bias)) + PENALTY * weight.square().sum() / (2 * len(train))
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(closure)
    found: np.ndarray = scores.detach().softmax(0).numpy()
    return found


def _loss(data: Prepared, target: TargetSpec) -> tuple[Callable[[Tensor], Tensor], int]:
    """Loss of the outputs of all training rows, missing labels left out, and how many outputs there are."""
    labels = data.train_labels
    if target.kind == "class":
        numbers = torch.from_numpy(labels[:, 0].astype(np.int64))
        return lambda outputs: functional.cross_entropy(outputs, numbers), len(data.classes)
    known = torch.from_numpy(~np.isnan(labels))
    if target.kind != "multilabel":
        labels = _standardised(labels)
    truth = torch.from_numpy(np.nan_to_num(labels))
    single = functional.binary_cross_entropy_with_logits if target.kind == "multilabel" else functional.mse_loss
    return lambda outputs: single(outputs[known], truth[known]), labels.shape[1]


def _standardised(labels: np.ndarray) -> np.ndarray:
    """(n, K) with mean 0 and standard deviation 1 over known labels; NaN stays."""
    known = ~np.isnan(labels)
    count = np.maximum(known.sum(0), 1)
    centred = labels - np.where(known, labels, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, centred**2, 0).sum(0) / count)
    scaled: np.ndarray = centred / np.where(deviation > 0, deviation, 1)
    return scaled


class MixedProbe:
    """A probe that sees a :class:`LayerStack` as the weighted sum of its layers; other features as they are."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.uses_seed = getattr(probe, "uses_seed", True)

    def constants(self) -> Mapping[str, Any]:
        return {
            **self.probe.constants(),
            "layers": "weighted sum of standardised mean tokens; softmax weights learned with a linear head on "
            f"labelled training rows (L-BFGS, {ITERATIONS} iterations, L2 {PENALTY:g} / (2 n)), or their mean",
        }

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float] | Scores:
        """See :meth:`repcore.interfaces.Probe.score`."""
        if isinstance(features, LayerStack):
            features = _mixed(features, prepare(features, labels, target, split), target)
        return self.probe.score(features, labels, target, split, seed)


def _mixed(stack: LayerStack, data: Prepared, target: TargetSpec) -> np.ndarray:
    """(N, D) by weights of this split."""
    count = len(stack.layers)
    even = np.full(count, 1 / count)
    weights = learned_weights(data, target, count) if stack.mix == "learned" else even
    stack.weights.append(weights)
    values = Standardiser.fit(data.train)(np.asarray(stack)).reshape(len(stack), count, -1)
    mixed: np.ndarray = np.einsum("l,nld->nd", weights, values)
    return mixed


def with_weights(table: ProbeTable, matrices: Mapping[str, Any]) -> ProbeTable:
    """The table with the weight of each layer as a note, the mean over splits (and twins); then they are forgotten."""
    words = {}
    for name, given in matrices.items():
        stacks = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, LayerStack)]
        used = [weights for one in stacks for weights in one.weights]
        if used:
            words[name] = _weight_words(stacks[0].layers, np.mean(used, 0))
        for one in stacks:
            one.weights.clear()
    entries = (
        replace(one, notes=(*one.notes, words[one.features])) if one.primary and one.features in words else one
        for one in table.entries
    )
    return replace(table, entries=tuple(entries))


def _weight_words(layers: Sequence[int], weights: np.ndarray) -> str:
    """Largest first; what is left when four fifths are named stays unnamed."""
    order = np.argsort(-weights, kind="stable")
    named = order[: 1 + int(np.searchsorted(np.cumsum(weights[order]), 0.8))]
    rest = len(order) - len(named)
    words = ", ".join(f"layer {layers[place]}: {weights[place]:.2f}" for place in named)
    return words + (f", {rest} more: {1 - weights[named].sum():.2f}" if rest else "")
