"""Whether the same place of different people is nearest: encoders of films beside random twins and pixels.

`anatomy-properties@1`, figure localizability: windows of half the edge at nine places of each of the 80 test films of
NIH; of every window the nearest among those of all other people, by cosine; the share that is of the same place
(chance 0.11). Beside a trained encoder its twin with random weights, and the windows' own pixels at 32 x 32 and their
edges by direction in 4 x 4 cells, for films are roughly aligned and these need no learning. Differences of a recipe's
seeds have a 95 % interval over films drawn again, the same draws for all seeds.

    python benchmarks/film_places.py --data FOLDER MODEL [MODEL ...]

FOLDER holds medical2d/nih_cxr_small; MODEL is a model folder, for example those that small_presets.py keeps. Means by
recipe, and what trained encoders are above or below the others by, are written to results/film_places.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, write_result
from torch import Tensor
from torch.nn import functional as F

import repcore
from repcore.data.guard import read_sample
from repcore.embedding.model import Model
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.patches import embed_patches, grid_boxes, stacked_images
from repcore_medical3d.layers.gradients import gradients
from repcore_medical3d.probes.properties import nearest_is_same_place

NAME, FILMS = "film_places", "medical2d/nih_cxr_small"
TRAINED, OTHERS = "trained", ("random twin", "pixels", "edges")
PIXELS, CELLS, DIRECTIONS = 32, 4, 8
DRAWS = 2000  # of films, for intervals
CONFIG = PropertiesConfig()


class Described(torch.nn.Module):
    """Fixed descriptions of windows in the place of an encoder."""

    def __init__(self, edge: int, *, by_direction: bool) -> None:
        super().__init__()
        self.config, self.axes, self.by_direction = type("Config", (), {"input_size": edge})(), 2, by_direction

    def embed(self, views: Tensor) -> Tensor:
        if self.by_direction:
            return F.adaptive_avg_pool2d(gradients(views, DIRECTIONS), CELLS).sqrt().flatten(1)
        return F.adaptive_avg_pool2d(views, PIXELS).flatten(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with medical2d")
    parser.add_argument("--out", type=Path, default=None, help=f"result file (default: results/{NAME}.json)")
    parser.add_argument("models", nargs="+", help="model folders")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = facts(("repcore", "repcore-medical3d", "torch")) | {"models": []}
    runs = []
    for place in given.models:
        runs.append(shares(repcore.load(place), given.data / FILMS))
        record["models"].append(
            runs[-1] | {name: round(float(np.mean(runs[-1][name])), 4) for name in (TRAINED, *OTHERS)}
        )
        print(json.dumps(record["models"][-1]), flush=True)
    record["summary"] = summary(runs)
    print(json.dumps(record["summary"], indent=1))
    write_result(NAME, record, given.out)


def shares(model: Model, path: Path) -> dict[str, Any]:
    """Share of each film's windows whose nearest one is of the same place, (films,) for every side."""
    reader = model.reader(str(path))
    rows = [int(row) for row in reader.splits["test"]]
    images = stacked_images([model.preprocessor.prepare(read_sample(reader, row))[0].values for row in rows])
    card, edge = model.folder.card, min(images.shape[2:])
    seed = int(card["seed"])
    sides = {
        TRAINED: model.encoder, "random twin": model.random_twin(seed),
        "pixels": Described(edge, by_direction=False), "edges": Described(edge, by_direction=True),
    }  # fmt: skip
    boxes = grid_boxes(images, CONFIG.exponent, CONFIG.grid)
    found = {
        name: nearest_is_same_place(embed_patches(one, images, boxes)).double().mean(1).numpy()  # type: ignore[arg-type]
        for name, one in sides.items()
    }
    return {"recipe": card["recipe"], "seed": seed, "films": len(rows), **found}


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """By recipe: mean and deviation over seeds of each side; mean, low and high of trained ones less others."""
    found: dict[str, dict[str, list[float]]] = {}
    for recipe in dict.fromkeys(run["recipe"] for run in runs):
        sides = {side: np.stack([run[side] for run in runs if run["recipe"] == recipe]) for side in (TRAINED, *OTHERS)}
        of_recipe = found.setdefault(recipe, {})
        for side, values in sides.items():  # (seeds, films)
            means = [float(one) for one in values.mean(1)]
            of_recipe[side] = _rounded(statistics.mean(means), statistics.stdev(means) if len(means) > 1 else 0.0)
        for side in OTHERS:
            apart = (sides[TRAINED] - sides[side]).mean(0)
            drawn = np.random.default_rng(0).integers(0, len(apart), (DRAWS, len(apart)))
            low, high = np.quantile(apart[drawn].mean(1), (0.025, 0.975))
            of_recipe[f"trained - {side}"] = _rounded(float(apart.mean()), float(low), float(high))
    return found


def _rounded(*numbers: float) -> list[float]:
    return [round(one, 4) for one in numbers]


if __name__ == "__main__":
    main()
