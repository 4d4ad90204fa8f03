"""Quality and time over layers and widths: what is lost where an encoder stops early and vectors are cut.

Every cell is the mean over a layer's tokens, cut to its first numbers, as ``repcore embed --layer L --dim D`` writes
it; layers are timed on the same prepared rows, and the work of preparing them is not counted.

Symbols: N rows, L layers, D width.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repcore.embedding.inference import InferenceOptions, embed_prepared, windows_of
from repcore.embedding.model import Model
from repcore.evaluation.layer_mix import layers_of
from repcore.evaluation.probing import FeatureSets, read_rows
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeEntry, ProbeTable
from repcore.interfaces import DatasetReader
from repcore.reporting import Reporter

SHARES = (1, 2, 4, 8)  # of the width


@dataclass(frozen=True, slots=True)
class Cell:
    """A place of the grid; ``milliseconds`` of the encoder for one item, NaN before it was timed."""

    layer: int
    width: int
    milliseconds: float = math.nan

    @property
    def name(self) -> str:
        return f"layer {self.layer}, {self.width} numbers"


def cells_of(model: Model) -> list[Cell]:
    """Every layer at the full width, its half, quarter and eighth.

    Raises:
        ConfigError: the encoder gives no layers.
    """
    layers, width = layers_of(model, "--grid"), int(model.encoder.token_width())  # type: ignore[operator]  # layers
    widths = sorted({max(1, width // share) for share in SHARES}, reverse=True)
    return [Cell(layer, one) for layer in layers for one in widths]


def compute_grid(
    model: Model, reader: DatasetReader, seeds: Sequence[int], options: InferenceOptions, reporter: Reporter
) -> tuple[FeatureSets, list[Cell]]:
    """Features of every cell beside those of the model and of one random-init twin a seed, and the cells with times."""
    cells, rows = cells_of(model), read_rows(reader)
    layers = sorted({one.layer for one in cells})
    encoders = {TRAINED: model.encoder, **{f"{RANDOM_INIT} {seed}": model.random_twin(seed) for seed in seeds}}
    for encoder in encoders.values():
        encoder.eval()
    whole: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    parts: dict[int, list[np.ndarray]] = {layer: [] for layer in layers}
    seconds = dict.fromkeys(layers, 0.0)
    failed: dict[int, str] = {}
    done = 0
    for window in windows_of(model.preprocessor, reader, options):
        for name, encoder in encoders.items():  # the first pass also warms up what is timed below
            found = embed_prepared(encoder, model.preprocessor, window, options, model.poolings, model.domain)
            whole[name].append(np.asarray(found.vectors, np.float64))
        for layer in layers:
            asked = replace(options, layer=layer)
            started = time.perf_counter()
            found = embed_prepared(model.encoder, model.preprocessor, window, asked, model.poolings, model.domain)
            seconds[layer] += time.perf_counter() - started
            parts[layer].append(np.asarray(found.vectors, np.float64))
        failed.update({done + place: row.reason for place, row in enumerate(window) if not row.items})
        done += len(window)
        reporter.progress("probing", done, len(rows.ids), f"{len(layers)} layers and {len(seeds)} random-init twins")
    joined = {layer: np.concatenate(found) for layer, found in parts.items()}
    matrices = {TRAINED: np.concatenate(whole[TRAINED])}
    twins = [np.concatenate(whole[f"{RANDOM_INIT} {seed}"]) for seed in seeds]
    cut = {one.name: joined[one.layer][:, : one.width] for one in cells}
    items = max(1, done - len(failed))
    timed = [replace(one, milliseconds=1000 * seconds[one.layer] / items) for one in cells]
    return FeatureSets({**matrices, RANDOM_INIT: twins, **cut}, rows, failed), timed


def with_cost(table: ProbeTable, cells: Sequence[Cell], stops: bool) -> ProbeTable:
    """The table with the time of each cell as a note, and a word at those that no other beats.

    A cell is beaten by one that is at least as good at no later layer and with no more numbers, and differs in one of
    the three.

    Args:
        stops: whether the encoder stops at a layer; if not, all layers cost the whole, and the note says so.
    """
    known = {one.name: one for one in cells}
    best = {
        id(one) for one in _unbeaten([one for one in table.entries if one.features in known and one.primary], known)
    }
    entries = []
    for entry in table.entries:
        cell = known.get(entry.features)
        if cell is not None and entry.primary:
            words = f"{cell.milliseconds:.3g} ms an item" + ("" if stops else " (all layers are computed)")
            notes = (*entry.notes, words, *(("no other is better for its cost",) if id(entry) in best else ()))
            entry = replace(entry, notes=notes)
        entries.append(entry)
    return replace(table, entries=tuple(entries))


def _unbeaten(entries: Sequence[ProbeEntry], cells: Mapping[str, Cell]) -> list[ProbeEntry]:
    """Entries of one probe that no other entry of that probe beats."""

    def place(one: ProbeEntry) -> tuple[float, float, float]:
        """Smaller is better in each."""
        cell = cells[one.features]
        return (-one.mean if one.higher_is_better else one.mean, cell.layer, cell.width)

    kept = []
    for one in entries:
        mine = place(one)
        rivals = [place(other) for other in entries if other.probe == one.probe and other is not one]
        beaten = any(all(a <= b for a, b in zip(rival, mine, strict=True)) and rival != mine for rival in rivals)
        if not beaten and not math.isnan(one.mean):
            kept.append(one)
    return kept
