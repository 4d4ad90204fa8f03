"""Whether the same place of different people is nearest: encoders of films beside random twins and pixels.

`anatomy-properties@1`, figure localizability: windows of half the edge at nine places of each of the 80 test films of
NIH; of every window the nearest among those of all other people, by cosine; the share that is of the same place
(chance 0.11). Beside a trained encoder its twin with random weights, and the windows' own pixels at 32 x 32 and their
edges by direction in 4 x 4 cells, for films are roughly aligned and these need no learning.

    python benchmarks/film_places.py --data FOLDER MODEL [MODEL ...]

FOLDER holds medical2d/nih_cxr_small; MODEL is a model folder, for example those that small_presets.py keeps. Means by
recipe are written to results/film_places.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from measuring import facts, write_result
from torch import Tensor
from torch.nn import functional as F

import repcore
from repcore.data.guard import read_sample
from repcore.embedding.model import Model
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.patches import stacked_images
from repcore_medical3d.layers.gradients import gradients
from repcore_medical3d.probes.properties import localizability

NAME, FILMS = "film_places", "medical2d/nih_cxr_small"
FIGURE = "nearest-place accuracy"
PIXELS, CELLS, DIRECTIONS = 32, 4, 8
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
    for place in given.models:
        record["models"].append(figures(repcore.load(place), given.data / FILMS))
        print(json.dumps(record["models"][-1]), flush=True)
    record["summary"] = summary(record["models"])
    write_result(NAME, record, given.out)


def figures(model: Model, path: Path) -> dict[str, Any]:
    """Shares of windows whose nearest one is of the same place."""
    reader = model.reader(str(path))
    rows = [int(row) for row in reader.splits["test"]]
    images = stacked_images([model.preprocessor.prepare(read_sample(reader, row))[0].values for row in rows])
    card, edge = model.folder.card, min(images.shape[2:])
    seed = int(card["seed"])
    sides = {
        "trained": model.encoder, "random twin": model.random_twin(seed),
        "pixels": Described(edge, by_direction=False), "edges": Described(edge, by_direction=True),
    }  # fmt: skip
    found = {name: round(localizability(one, images, CONFIG, 0)[FIGURE], 4) for name, one in sides.items()}  # type: ignore[arg-type]
    return {"recipe": card["recipe"], "seed": seed, "films": len(rows), **found}


def summary(models: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over seeds of each side by recipe."""
    found: dict[str, dict[str, list[float]]] = {}
    for recipe in dict.fromkeys(one["recipe"] for one in models):
        runs = [one for one in models if one["recipe"] == recipe]
        for side in ("trained", "random twin", "pixels", "edges"):
            values = [run[side] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            found.setdefault(recipe, {})[side] = [round(statistics.mean(values), 4), round(spread, 4)]
    return found


if __name__ == "__main__":
    main()
