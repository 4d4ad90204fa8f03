"""How fast Alice's parts are on this machine: the training step, matching, the loader.

Each figure is paired with what a user would otherwise run, in one process, in interleaved rounds:
- step: forward, backward, clipping, optimiser and moving averages, against the same mathematics in the reference's
  manner, at the tiny and at the published size. That manner is: shift masks rebuilt in every call; attention as
  product, sum, softmax, product on copies of queries, keys and values; two passes through a head's trunk, both with
  the pooled vector; all decoder stages of the teacher; a redrawing head on every decoder stage of both networks;
  clipping, optimiser and averages tensor by tensor;
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
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, Progress
from repcore_medical3d.configs.alice import AliceConfig, AlicePairsConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.correspondence.matching import best_cells, best_cells_full, one_by_one, point_vectors
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.encoders import nnformer_blocks
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.encoders.nnformer_blocks import WindowAttention
from repcore_medical3d.objectives.alice import Alice
from repcore_medical3d.objectives.alice_parts import AliceHead, HeadOutputs
from repcore_medical3d.objectives.casa import CrossAlignment
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.recipes.alice import tiny
from repcore_medical3d.views.alice import AlicePairs

NAME = "alice_speed"
PROGRESS = Progress(0, 100)
EQUAL = 1e-3  # relative difference of losses that count as equal: the teacher's temperature multiplies rounding
POINTS = 100
CLIP, RACE_LR = 3.0, 1e-6  # a rate so small that the two contenders keep racing on nearly the same weights


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
def reference_manner(objective: Alice, coarse: nn.ModuleList) -> Iterator[None]:
    """The same mathematics with the reference's waste.

    Args:
        objective: whose methods are replaced while this is open.
        coarse: heads that redraw the cube from the two coarser decoder stages; no loss reads them.
    """

    def all_stages(self: NnFormer, pyramid: Sequence[Tensor]) -> Tensor:
        maps = self.decode(pyramid)
        redrawn_coarse(maps)
        self.reconstruction(maps[-1].movedim(-1, 1).contiguous())
        return maps[0]

    def student_redrawn(self: NnFormer, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        del volume
        maps = [first]
        for number in range(1, len(self.upsamples)):
            maps.append(self.decode_stage(maps[-1], pyramid, number))
        redrawn_coarse(maps)
        out: Tensor = self.reconstruction(maps[-1].movedim(-1, 1).contiguous())
        return out

    def redrawn_coarse(maps: Sequence[Tensor]) -> None:
        for head, one in zip(coarse, maps, strict=False):
            head(one.movedim(-1, 1).contiguous())

    teacher, student = objective.teacher_encoder, objective.encoder
    assert isinstance(teacher, NnFormer)
    assert isinstance(student, NnFormer)
    with (
        mock.patch.object(nnformer_blocks, "shift_mask", nnformer_blocks.shift_mask.__wrapped__),
        mock.patch.object(WindowAttention, "_by_few_windows", WindowAttention._at_once),
        mock.patch.object(WindowAttention, "_attend", attention_step_by_step),
        mock.patch.object(nnformer_blocks, "gelu_between", lambda x, expand, contract: contract(F.gelu(expand(x)))),
        mock.patch.object(CrossAlignment, "attend", alignment_step_by_step),
        mock.patch.object(AliceHead, "forward", head_in_two_passes),
        mock.patch.object(teacher, "first_decoder_map", lambda pyramid: all_stages(teacher, pyramid)),
        mock.patch.object(student, "reconstruct", lambda *given: student_redrawn(student, *given)),
    ):
        yield


def attention_step_by_step(
    self: WindowAttention, queries: Tensor, keys: Tensor, values: Tensor, shape: tuple[int, int, int]
) -> Tensor:
    """Product, bias, mask, softmax, product; every part in memory of its own."""
    B, n, N, C = queries.shape
    split = [one.reshape(B * n, N, self.heads, -1).permute(0, 2, 1, 3).contiguous() for one in (queries, keys, values)]
    logits = (split[0] * (C // self.heads) ** -0.5) @ split[1].transpose(-2, -1).contiguous()
    bias = self.position_bias[self.relative_index.view(-1)].view(N, N, -1).permute(2, 0, 1).contiguous()
    logits = logits + bias[None]
    if self.shift:
        mask = nnformer_blocks.shift_mask(shape, self.window, self.shift, queries.device)
        logits = (logits.view(B, n, self.heads, N, N) + mask[None, :, None]).view(-1, self.heads, N, N)
    return (torch.softmax(logits, dim=-1) @ split[2]).transpose(1, 2).reshape(B, n, N, C).contiguous()


def alignment_step_by_step(self: CrossAlignment, queries: Tensor, tokens: Tensor) -> Tensor:
    """The cross-attention without a fused call (no dropout in this race)."""
    query, key, value = (
        layer(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        for layer, given in ((self.query, queries), (self.key, tokens), (self.value, tokens))
    )
    mixed = torch.softmax((query * query.shape[-1] ** -0.5) @ key.transpose(2, 3), dim=-1) @ value
    out = self.out(mixed.transpose(1, 2).contiguous().flatten(2))
    normed: Tensor = self.attention_norm(queries + out if self.has_residual else out)
    return normed


def head_in_two_passes(self: AliceHead, pooled: Tensor, encoder: Tensor, decoder: Tensor | None) -> HeadOutputs:
    """Encoder tokens and decoder tokens apart, each with the pooled vector in front."""
    assert decoder is not None
    first, second = (
        F.normalize(self.trunk.mlp(torch.cat([pooled[:, None], tokens], dim=1)), dim=-1)
        for tokens in (self.encoder_projection(encoder), self.decoder_projection(decoder))
    )
    return HeadOutputs(
        self.trunk.last_layer(first[:, 0]), self.token_layer(first[:, 1:]), self.token_layer(second[:, 1:])
    )


def update_tensor_by_tensor(objective: Alice, optimiser: torch.optim.Optimizer, momentum: float) -> None:
    """Clipping, optimiser and moving averages in loops over tensors."""
    for one in [*objective.encoder.parameters(), *objective.head.parameters()]:
        if one.grad is not None:
            share = CLIP / (one.grad.norm(2) + 1e-6)
            if share < 1:
                one.grad.mul_(share)
    optimiser.step()
    pairs = [(objective.teacher_encoder, objective.encoder), (objective.teacher_head, objective.head)]
    with torch.no_grad():
        for teacher, student in pairs:
            for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                old.mul_(momentum).add_((1 - momentum) * new)


def step_part(arguments: argparse.Namespace) -> dict[str, Any]:
    base = tiny()
    edge, pairs = base.preprocessor.config.crop_edge, base.data.batch_size
    small = replace(base.encoder.config, crop_edge=edge)
    sizes: dict[str, tuple[NnFormerConfig, AliceConfig, int]] = {
        f"tiny, {pairs} pairs of {edge}^3": (small, base.objective.config, pairs)
    }
    if arguments.published:
        sizes["published, 1 pair of 64^3"] = (NnFormerConfig(crop_edge=64, drop_path=0.0), AliceConfig(), 1)
    return {name: step_race(*size, 2 if "published" in name else arguments.rounds) for name, size in sizes.items()}


def step_race(encoder: NnFormerConfig, config: AliceConfig, pairs: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    # raw heads, as in the reference: with two crops, standardised features would be little more than signs of rounding
    same = replace(config, alignment_dropout=0.0, clip_per_tensor=CLIP, head_inputs="raw")
    objective = Alice(same, NnFormer(encoder))
    backbone = objective.encoder
    assert isinstance(backbone, NnFormer)
    coarse = nn.ModuleList(nn.ConvTranspose3d(width, 1, 2, stride=2) for width in backbone.widths[-2:0:-1])
    batch, draws = race_batch(int(encoder.crop_edge or 0), pairs, objective)
    trainable = [one for one in objective.parameters() if one.requires_grad]
    fused = torch.optim.AdamW(trainable, lr=RACE_LR, fused=True)
    looped = torch.optim.AdamW(trainable, lr=RACE_LR, foreach=False)

    def loss() -> float:
        objective.zero_grad()
        total = objective(batch, draws).total
        total.backward()
        return float(total.detach())

    def ours() -> float:
        value = loss()
        objective.before_step(PROGRESS)
        fused.step()
        objective.follow(config.ema_start)
        return value

    def reference() -> float:
        with reference_manner(objective, coarse):
            value = loss()
        update_tensor_by_tensor(objective, looped, config.ema_start)
        return value

    expected = loss()
    with reference_manner(objective, coarse):
        found = loss()
    assert abs(expected - found) < EQUAL * abs(expected), (expected, found)
    seconds = interleaved({"ours": ours, "reference's manner": reference}, rounds)
    record: dict[str, Any] = {name: spread([1000 * one for one in values], 1) for name, values in seconds.items()}
    return {**record, "unit": "ms", "times": ratios(seconds["ours"], seconds["reference's manner"])}


def race_batch(edge: int, pairs: int, objective: Alice) -> tuple[Batch, Draws]:
    """Smooth random cubes, which differ as crops of scans do, and their masks."""
    generator = torch.Generator().manual_seed(0)
    views = {}
    for name in ("query", "key"):
        coarse = torch.rand(pairs, 1, 4, 4, 4, generator=generator)
        volume = F.interpolate(coarse, size=(edge,) * 3, mode="trilinear")
        views[name] = Batch(inputs={"volume": volume}, size=pairs)
    batch = Batch(inputs=None, size=pairs, views=views)
    return batch, objective.draw(batch, generator, PROGRESS)


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
