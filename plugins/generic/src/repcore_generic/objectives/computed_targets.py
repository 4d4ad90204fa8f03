"""Computed targets: the pooled vector predicts what the domain computes from each input, beside another objective.

Multi-task regression of computed descriptors is how ChemBERTa-2 (Ahmad et al. 2022, arXiv 2209.01712, section 2.2) and
others pre-train molecule encoders. Here the targets are the baselines that a domain's preprocessor names (descriptors
and fingerprints of molecules, filter-bank statistics of sounds, degrees of graphs, extents of clouds), so that every
encoder can learn from them, and another objective (the recipe's own) can keep its loss: the sum of both is minimised.

Differs from the paper: columns are standardised on the training rows and cut off at a few deviations, since
descriptors have heavy tails; wide baselines become principal components; targets are computed once, when a run begins.

Symbols: B items, D pooled width, K targets, n rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repcore import registry
from repcore.config.resolve import resolve_part
from repcore.config.yaml import parse_override
from repcore.errors import ConfigError, DataError, RunError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress
from repcore.training.assembly import build
from repcore.training.objective_rules import after_step, before_step, exported_encoder
from repcore.training.start import RunStart
from repcore_generic.configs.computed_targets import ComputedTargetsConfig
from repcore_generic.objectives.item_keys import item_key
from repcore_generic.objectives.pairs import no_autocast, width_of

NAME, TERM = "generic/computed-targets", "computed_targets"
CONSTANT = 1e-7  # deviation, relative to the size of its values, below which a column says nothing


class ComputedTargets(nn.Module):
    """Objective ``generic/computed-targets``.

    Args:
        config: see :class:`ComputedTargetsConfig`.
        encoder: any :class:`repcore.interfaces.Encoder`.

    Raises:
        ConfigError: the objective beside it is unknown, needs labels, or refuses its settings.
    """

    def __init__(self, config: ComputedTargetsConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.beside = _beside(config, encoder)
        width, hidden = width_of(encoder), config.hidden_width
        self.norm = nn.LayerNorm(width)  # encoders differ in the scale of their vectors
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU()) if hidden else nn.Identity()
        self.weight = nn.Parameter(torch.zeros(0, hidden or width))  # K rows when a run begins; starts at the mean
        self.bias = nn.Parameter(torch.zeros(0))
        self._rows: dict[int, int] = {}  # key of an item -> its row of the targets
        self._targets = torch.zeros(0, 0, dtype=torch.float16)  # (n, K), NaN = missing
        picture = getattr(self.beside, "picture", None)
        if picture is not None:  # looked for by name: none where there is none
            self.picture = picture

    # ------------------------------------------------------------------------------------ before a run

    def begin(self, start: RunStart) -> None:
        """Compute the targets of training and validation rows.

        Raises:
            ConfigError: the domain computes nothing, or nothing of a name that is asked for.
            DataError: nothing that is computed differs between training rows.
        """
        begin = getattr(self.beside, "begin", None)
        if begin is not None:
            begin(start)
        found = start.computed(np.concatenate([start.train, start.validation]), self.config.targets)
        is_train = np.isin(found.rows, start.train)
        parts = [
            standardised(values, is_train, self.config.components, self.config.clip) for values in found.values.values()
        ]
        targets = np.concatenate(parts, 1)
        if not targets.shape[1]:
            raise DataError(f"{', '.join(found.values)}: nothing differs between {is_train.sum():,} training rows")
        self._rows = {item_key(one): place for place, one in enumerate(found.ids)}
        self._targets = torch.from_numpy(targets.astype(np.float16))
        self.weight = nn.Parameter(torch.zeros(targets.shape[1], self.weight.shape[1]))
        self.bias = nn.Parameter(torch.zeros(targets.shape[1]))
        missing = int(np.isnan(targets).all(1).sum())
        start.say(
            f"{targets.shape[1]} targets computed for {len(targets):,} items ({', '.join(found.values)})"
            + (f"; {missing:,} items have none" if missing else "")
        )

    # ------------------------------------------------------------------------------------------ state

    def get_extra_state(self) -> dict[str, Tensor]:
        """Targets of items, for a resumed run."""
        return {"keys": torch.tensor(list(self._rows), dtype=torch.int64), "targets": self._targets}

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """What :meth:`get_extra_state` gave."""
        self._rows = {key: place for place, key in enumerate(state["keys"].tolist())}
        self._targets = state["targets"].cpu()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("weight", "bias"):
            stored, own = state_dict.get(prefix + name), getattr(self, name)
            if stored is not None and stored.shape != own.shape:
                setattr(self, name, nn.Parameter(torch.empty_like(stored, device=own.device)))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # ------------------------------------------------------------------------------------------- loss

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Those of the objective beside it; predicting the targets draws nothing."""
        return {} if self.beside is None else self.beside.draw(batch, generator, progress)  # type: ignore[operator]

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Known targets; terms of the other objective as it counts them."""
        counter = getattr(self.beside, "counts", None)
        named = {} if counter is None else counter(batch, draws)
        return {**named, TERM: int((~torch.isnan(self._of(batch))).sum())}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        with no_autocast(features.pooled):
            guess = nn.functional.linear(self.hidden(self.norm(features.pooled.float())), self.weight, self.bias)
            truth = self._of(batch).to(guess.device)
            error, size, count = squared_errors(guess, truth)
        loss = error / count.clamp(min=1)
        metrics = {
            f"{TERM}_baseline": size / count.clamp(min=1),
            "targets_explained": 1 - error / size.clamp(min=1e-12),
        }
        terms, weights, counts, carry = {TERM: loss}, {TERM: self.config.weight}, {TERM: count}, {}
        if self.beside is not None:
            other: LossTerms = self.beside(batch, draws)
            terms, weights = {**other.terms, **terms}, {**other.weights, **weights}
            counts, metrics, carry = {**other.counts, **counts}, {**other.metrics, **metrics}, dict(other.carry)
        return LossTerms.of(
            terms, weights, counts=counts, carry=carry, metrics={name: one.detach() for name, one in metrics.items()}
        )

    def _of(self, batch: Batch) -> Tensor:
        """Targets float32 (B, K).

        Raises:
            RunError: an item that was not there when the run began.
        """
        unknown = next((one for one in batch.sample_id if item_key(one) not in self._rows), None)
        if unknown is not None:
            raise RunError(
                f"item {unknown!r} has no computed targets: it was not there when the run began",
                hint="start a new run" if self._rows else "computed targets need a run (repcore train)",
            )
        return self._targets[[self._rows[item_key(one)] for one in batch.sample_id]].float()

    # ----------------------------------------------------------------- rules of the objective beside it

    def before_step(self, progress: Progress) -> None:
        """Its rule for gradients."""
        if self.beside is not None:
            before_step(self.beside, progress)

    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Its rule for teachers and queues."""
        if self.beside is not None:
            after_step(self.beside, progress, carried)

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """The encoder that it exports; its branches are those of the whole."""
        return exported_encoder(self.beside, branch) if self.beside is not None else self.encoder

    def lr_scale(self, name: str) -> float:
        """Its factors on the learning rates of its parameters, and on those of the encoder."""
        scale = getattr(self.beside, "lr_scale", None)
        own = name.startswith(("norm.", "hidden.")) or name in ("weight", "bias")
        return 1.0 if scale is None or own else float(scale(name.removeprefix("beside.")))


def _beside(config: ComputedTargetsConfig, encoder: nn.Module) -> nn.Module | None:
    """The objective whose loss is minimised, too, around the same encoder."""
    if not config.beside:
        if config.beside_settings:
            raise ConfigError("settings of an objective that is not named", field="objective.beside_settings",
                              hint="objective.beside=DOMAIN/NAME")  # fmt: skip
        return None
    fields = dict(map(parse_override, config.beside_settings))
    part = resolve_part(registry.default(), "objective", config.beside, fields)
    if part.name == NAME or part.entry.spec.labels == "required":
        why = "stands beside another objective" if part.name == NAME else "learns from labels, which train does not see"
        raise ConfigError(f"{part.name} {why}", field="objective.beside")
    module: nn.Module = build(part, encoder)
    return module


def standardised(values: np.ndarray, is_train: np.ndarray, components: int, clip: float) -> np.ndarray:
    """Columns with mean 0 and deviation 1 over training rows, cut off at ``clip``; wide ones as principal components.

    Args:
        values: float (n, D), NaN rows = missing. is_train: bool (n,).
        components: most columns; beyond, the first so many principal components of the centred columns, all divided by
            the deviation of the first, so that small ones stay small.

    Returns:
        (n, K); columns that do not vary are left out.
    """
    known = values[is_train & np.isfinite(values).all(1)]
    if not len(known):
        return values[:, :0]
    mean, deviation = known.mean(0), known.std(0)
    varies = deviation > CONSTANT * (np.abs(mean) + 1.0)
    scaled = values[:, varies] - mean[varies]
    if varies.sum() > components:
        centred = known[:, varies] - mean[varies]
        spread, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        kept = np.argsort(-spread, kind="stable")[:components]
        scaled = scaled @ vectors[:, kept] / np.sqrt(spread[kept[0]])
    else:
        scaled = scaled / deviation[varies]
    clipped: np.ndarray = np.clip(scaled, -clip, clip)
    return clipped


def squared_errors(guess: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over known targets: squared error, squared target, and their number.

    Args:
        guess / truth: float (B, K); NaN in ``truth`` = missing.
    """
    known = ~torch.isnan(truth)
    target = torch.where(known, truth, 0.0)
    error = torch.where(known, guess - target, 0.0)
    return error.square().sum(), target.square().sum(), known.sum()
