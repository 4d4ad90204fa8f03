"""Estimator ``generic/sparse-codes``: a TopK dictionary of token features, and what of it each item shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repcore.errors import DataError
from repcore.estimation.rows import check_width
from repcore.interfaces import FeatureBatch, ReportGroup, ReportItem, ReportSection
from repcore.specs import TargetSpec
from repcore_generic.configs.estimators import SparseCodesConfig
from repcore_generic.estimators.dictionary import SparseAutoencoder, input_scale, losses, quality
from repcore_generic.estimators.sampling import EvenSample

TOP = 5
SHOWN_ENTRIES, SHOWN_ROWS = 12, 5
HELD = 0.1
BLOCK = 4096


class SparseCodes:
    """Fitted on tokens.

    Args:
        config: settings.
    """

    def __init__(self, config: SparseCodesConfig) -> None:
        self.config = config
        self.model: SparseAutoencoder | None = None
        self.scale = 1.0
        self.facts: dict[str, Any] = {}

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> SparseCodes:
        """An even sample of all tokens is kept, a tenth of it for the figures.

        Raises:
            DataError: too few tokens.
        """
        del target
        sample = EvenSample(self.config.most_tokens, self.config.seed)
        for batch in features:
            if len(batch.values):
                sample.add(batch.values)
        tokens = torch.from_numpy(sample.rows.copy())
        if len(tokens) < 100:
            raise DataError(f"{len(tokens)} tokens are too few for a dictionary", expected="at least 100")
        generator = torch.Generator().manual_seed(self.config.seed)
        tokens = tokens[torch.randperm(len(tokens), generator=generator)]
        self.scale = float(input_scale(tokens))
        held = max(1, int(HELD * len(tokens)))
        width = tokens.shape[1]
        self.model = SparseAutoencoder(width, self.config.features or 4 * width, self.config.k)
        self._train(tokens[held:] * self.scale, generator)
        self._measure(tokens[:held] * self.scale, sample.seen)
        return self

    def _train(self, tokens: Tensor, generator: torch.Generator) -> None:
        config, model = self.config, self.model
        assert model is not None  # made just before
        model.start(tokens.mean(0), generator)
        optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)
        falling = max(1, int(0.3 * config.steps))
        quiet = torch.zeros(model.encoder.out_features)
        auxiliary_k = min(2 * config.k, tokens.shape[1] // 2)
        for step in range(config.steps):
            optimiser.param_groups[0]["lr"] = config.lr * min(1.0, (config.steps - step) / falling)
            chosen = torch.randint(len(tokens), (min(config.batch_size, len(tokens)),), generator=generator)
            terms = losses(model, tokens[chosen], quiet >= config.dead_after, auxiliary_k)
            optimiser.zero_grad(set_to_none=True)
            (terms.reconstruction + config.auxiliary_weight * terms.auxiliary).backward()
            model.project_gradient()
            optimiser.step()
            model.normalise()
            quiet = torch.where((terms.features > 0).any(0), 0.0, quiet + 1)
        self.facts["dead_share"] = float((quiet >= config.dead_after).float().mean())

    @torch.no_grad()
    def _measure(self, tokens: Tensor, seen: int) -> None:
        """Figures on tokens kept apart, and of principal components with as many numbers a token."""
        assert self.model is not None  # trained just before
        found = self.model(tokens)
        figures = quality(tokens, found, self.model.reconstruct(found))
        singular = torch.linalg.svdvals(tokens - tokens.mean(0)).square()
        self.facts |= {
            "tokens": seen,
            "explained_variance": float(figures["explained_variance"]),
            "active_per_token": float(figures["l0"]),
            "explained_by_components": float(singular[: self.config.k].sum() / singular.sum()),
        }

    @torch.no_grad()
    def maps(self, features: FeatureBatch) -> np.ndarray:
        """Activation of every entry in every token, float32 (S, F)."""
        assert self.model is not None  # fit or load_state came before
        check_width(features, self.model.encoder.in_features)
        rows = torch.from_numpy(features.values) * self.scale
        parts = [self.model(block) for block in rows.split(BLOCK)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.model.encoder.out_features), np.float32)

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``entry_1`` ... ``entry_5`` and ``activation_1`` ...: the strongest entries of each item."""
        active = self.maps(features)
        items = len(features.ids)
        strongest = np.zeros((items, active.shape[1]), np.float32)
        owner = np.arange(items) if features.owner is None else features.owner
        np.maximum.at(strongest, owner, active)
        has = np.bincount(owner, minlength=items) > 0
        order = np.argsort(-strongest, axis=1, kind="stable")[:, :TOP]
        columns: dict[str, np.ndarray] = {}
        for place in range(TOP):
            entry = order[:, place]
            value = strongest[np.arange(items), entry]
            shown = has & (value > 0)
            columns[f"entry_{place + 1}"] = np.where(shown, entry.astype(np.float64), np.nan)
            columns[f"activation_{place + 1}"] = np.where(shown, value.astype(np.float64), np.nan)
        return columns

    def report(
        self, columns: Mapping[str, np.ndarray], maps: Callable[[list[int]], list[np.ndarray]]
    ) -> list[ReportSection]:
        """Figures of the dictionary, and the entries that most rows show with the rows that show them most."""
        table = [(name.replace("_", " "), f"{value:.4g}") for name, value in self.facts.items()]
        shown: dict[int, list[tuple[float, int]]] = {}
        for place in range(1, TOP + 1):
            for row, entry in enumerate(columns[f"entry_{place}"]):
                if np.isfinite(entry):
                    shown.setdefault(int(entry), []).append((float(columns[f"activation_{place}"][row]), row))
        often = sorted(shown, key=lambda entry: (-len(shown[entry]), entry))[:SHOWN_ENTRIES]
        chosen = {entry: sorted(shown[entry], key=lambda one: (-one[0], one[1]))[:SHOWN_ROWS] for entry in often}
        rows = sorted({row for several in chosen.values() for _, row in several})
        heat = dict(zip(rows, maps(rows), strict=True)) if rows else {}
        groups = [
            ReportGroup(
                f"entry {entry}: among the strongest of {len(shown[entry]):,} rows",
                [ReportItem(row, f"row {row}: {value:.3g}", heat[row][:, entry]) for value, row in several],
            )
            for entry, several in chosen.items()
        ]
        text = "Below each row: the entry's activation in every token, in order."
        return [ReportSection("The dictionary", "", table=table), ReportSection("Its entries", text, groups=groups)]

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts."""
        assert self.model is not None  # only a fitted one is saved
        arrays = {name: value.numpy() for name, value in self.model.state_dict().items()}
        return arrays, {**self.facts, "scale": self.scale}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        features, width = arrays["encoder.weight"].shape
        self.model = SparseAutoencoder(width, features, self.config.k)
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        self.facts, self.scale = dict(facts), float(facts["scale"])
