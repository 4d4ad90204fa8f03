"""How fast Alice's parts are on this machine: the training step, matching, the loader.

Each figure is paired with what a user would otherwise run, in one process, in interleaved rounds:
- step: against the same mathematics in the reference's manner (shift masks rebuilt in every call, three head passes a
  network, all decoder stages of the teacher computed), at the tiny and at the published size;
- matching: many points coarse to fine, and all at once over the full grid, against a search for each point;
- loader: pairs of crops a second from generated scans, prepared scans in memory.
Results are checked to be equal before anything is timed.

    python benchmarks/alice_speed.py [--threads 1] [--rounds 5] [--only step matching loader] [--published]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from measuring import RESULTS, facts, interleaved, ratios, spread, write_result

from repcore.interfaces import Batch, Progress
from repcore_medical3d.configs.alice import AliceConfig, AlicePairsConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.correspondence.matching import best_cells, best_cells_full, one_by_one, point_vectors
from repcore_medical3d.data.phantoms import Phantoms
from repcore_medical3d.data.volumes_preprocessor import VolumePreprocessor
from repcore_medical3d.encoders import nnformer_blocks
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.objectives.alice import Alice
from repcore_medical3d.objectives.alice_parts import AliceHead, HeadOutputs
from repcore_medical3d.recipes.alice import tiny
from repcore_medical3d.views.alice import AlicePairs

NAME = "alice_speed"
PROGRESS = Progress(0, 100)
EQUAL = 1e-4  # relative difference of losses that count as equal
POINTS = 100


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    parts = {"step": step_part, "matching": matching_part, "loader": loader_part}
    known = RESULTS / f"{NAME}.json"
    record = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    record |= facts(("repcore", "repcore-medical3d", "torch", "monai")) | {"threads": arguments.threads}
    for name in arguments.only:
        record[name] = parts[name](arguments)
        print(json.dumps(record[name], indent=1), flush=True)
        print(f"written: {write_result(NAME, record)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    names = ["step", "matching", "loader"]
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--published", action="store_true", help="also the step at the published size (minutes)")
    return parser.parse_args()


# -------------------------------------------------------------------------------------------------- step


@contextmanager
def reference_manner(objective: Alice) -> Iterator[None]:
    """The same mathematics with the reference's waste."""

    def all_stages(self: NnFormer, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        maps = self.decode(pyramid)
        self.reconstruction(maps[-1].movedim(-1, 1))
        return maps[0]

    def three_passes(
        self: AliceHead, pooled: torch.Tensor, encoder: torch.Tensor, decoder: torch.Tensor
    ) -> HeadOutputs:
        def unit(tokens: torch.Tensor) -> torch.Tensor:
            return F.normalize(self.trunk.mlp(tokens), dim=-1)

        return HeadOutputs(
            self.trunk.last_layer(unit(pooled)),
            self.token_layer(unit(self.encoder_projection(encoder))),
            self.token_layer(unit(self.decoder_projection(decoder))),
        )

    rebuilt = nnformer_blocks.shift_mask.__wrapped__
    teacher = objective.teacher_encoder
    with (
        mock.patch.object(nnformer_blocks, "shift_mask", rebuilt),
        mock.patch.object(AliceHead, "forward", three_passes),
        mock.patch.object(teacher, "first_decoder_map", lambda pyramid: all_stages(teacher, pyramid)),
    ):
        yield


def step_part(arguments: argparse.Namespace) -> dict[str, Any]:
    base = tiny()
    sizes: dict[str, tuple[NnFormerConfig, AliceConfig, int]] = {
        "tiny, 4 pairs of 32^3": (replace(base.encoder.config, crop_edge=32), base.objective.config, 4)
    }
    if arguments.published:
        sizes["published, 1 pair of 64^3"] = (NnFormerConfig(crop_edge=64, drop_path=0.0), AliceConfig(), 1)
    return {name: step_race(*size, 2 if "published" in name else arguments.rounds) for name, size in sizes.items()}


def step_race(encoder: NnFormerConfig, config: AliceConfig, pairs: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    objective = Alice(replace(config, alignment_dropout=0.0), NnFormer(encoder))
    edge = int(encoder.crop_edge or 0)
    generator = torch.Generator().manual_seed(0)
    views = {
        name: Batch(inputs={"volume": torch.rand(pairs, 1, edge, edge, edge, generator=generator)}, size=pairs)
        for name in ("query", "key")
    }
    batch = Batch(inputs=None, size=pairs, views=views)
    draws = objective.draw(batch, generator, PROGRESS)

    def ours() -> float:
        objective.zero_grad()
        total = objective(batch, draws).total
        total.backward()
        return float(total.detach())

    def reference() -> float:
        with reference_manner(objective):
            return ours()

    assert abs(ours() - reference()) < EQUAL * abs(ours())
    seconds = interleaved({"ours": ours, "reference's manner": reference}, rounds)
    record: dict[str, Any] = {name: spread([1000 * one for one in values], 1) for name, values in seconds.items()}
    return {**record, "unit": "ms", "times": ratios(seconds["ours"], seconds["reference's manner"])}


# ---------------------------------------------------------------------------------------------- matching


def matching_part(arguments: argparse.Namespace) -> dict[str, Any]:
    """128 channels, a 200 x 200 x 150 voxel scan at 2 mm: 100 x 100 x 75 fine cells."""
    generator = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.randn(1, 128, 13, 17, 17, generator=generator), size=(75, 100, 100), mode="trilinear")
    fine = F.normalize(smooth[0] + 0.2 * torch.randn(128, 75, 100, 100, generator=generator), dim=0)
    coarse = F.normalize(F.adaptive_avg_pool3d(fine[None], (38, 13, 13))[0], dim=0)
    cells = torch.stack([torch.randint(size, (POINTS,), generator=generator) for size in fine.shape[1:]], dim=-1)
    vectors = point_vectors(fine, coarse, cells)
    few = (vectors[0][:2], vectors[1][:2])
    found, everywhere = best_cells(vectors, fine, coarse)[0], best_cells_full(vectors, fine, coarse)[0]
    agreement = float((found == everywhere).all(dim=1).float().mean())
    contenders: dict[str, Callable[[], object]] = {
        "coarse to fine": lambda: best_cells(vectors, fine, coarse),
        "all at once": lambda: best_cells_full(vectors, fine, coarse),
        "2 points one by one": lambda: one_by_one(few, fine, coarse),
    }
    seconds = interleaved(contenders, max(2, arguments.rounds // 2))
    alone = [one * POINTS / 2 for one in seconds["2 points one by one"]]
    return {
        **{name: spread([1000 * one for one in values], 1) for name, values in seconds.items()},
        "unit": "ms", "points": POINTS, "coarse to fine finds the same cell": agreement,
        "times, coarse to fine against one by one": ratios(seconds["coarse to fine"], alone),
        "times, all at once against one by one": ratios(seconds["all at once"], alone),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ loader


def loader_part(arguments: argparse.Namespace) -> dict[str, Any]:
    people = Phantoms(PhantomsConfig(volumes=12))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=32))
    preprocessor.fit(people, np.arange(12))
    views = AlicePairs(AlicePairsConfig(), preprocessor)
    rng = np.random.default_rng(0)

    def pairs() -> None:
        for row in range(12):
            views.build(row, people, rng, PROGRESS)

    (seconds,) = interleaved({"pairs": pairs}, arguments.rounds).values()
    return {"pairs a second": spread([12 / one for one in seconds], 1), "crop_edge": 32}


if __name__ == "__main__":
    main()
