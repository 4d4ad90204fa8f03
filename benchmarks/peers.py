"""One table: each system and op beside the code that people run instead, one thread, processor time, paired in rounds.

Peers are packages (spconv, transformers, mambapy, torch-geometric; `make bench-env` installs what is missing) and,
with --authors, the authors' own repositories (see authors_code.py: checkouts of yours, nothing of them is stored
here). Without --authors the rows of Alice and EHGNN run against our own form of the peer, and say so; those of point
clouds are left out. A ratio is the peer's time over ours in one round; above 1 ours is faster.

    PYTHONPATH=.peers python benchmarks/peers.py [--data FOLDER] [--authors FOLDER] [--rounds 5] [--only alice graphs]

FOLDER of --data holds pointcloud_scenes and graphs/PROTEINS; rows that need it are left out without it. Writes
results/peers.json and results/peers.md after each row; rows of parts that were not run stay as they were.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import alice_speed
import audio_speed
import authors_code
import embed_molecules
import graphs_speed
import pointcloud_speed
import sparse_conv_speed
import torch
from measuring import RESULTS, facts, interleaved, ratios, spread, write_result
from torch import nn
from torch.nn import functional as F
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GIN, global_add_pool
from transformers import RobertaConfig, RobertaForMaskedLM

from repcore.embedding.inference import InferenceOptions, embed_prepared
from repcore.interfaces import Batch, Progress
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import GraphPreprocessorConfig, TUDatasetConfig
from repcore_graphs.configs.ehgnn import EHGNNConfig, published_graph
from repcore_graphs.configs.tasks import GraphTaskConfig
from repcore_graphs.datasets.tu import TUDataset
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.preprocessors.graph import GraphPreprocessor
from repcore_graphs.tasks.graph import GraphClassification
from repcore_medical3d.configs.alice import AliceConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.objectives.alice import Alice
from repcore_molecules.configs.selformer import MaskedLanguageConfig
from repcore_molecules.objectives.masked_language import MaskedLanguage
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints
from repcore_pointcloud.ops.sparse_conv3d import spconv

Row = dict[str, Any]
Options = argparse.Namespace
OUR_FORM = "our own form of it"
CLOUDS = 4
RATIO = 0.65  # published, PROTEINS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with pointcloud_scenes and graphs/PROTEINS")
    parser.add_argument("--authors", type=Path, help="folder with checkouts of the authors' repositories")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS / "peers.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    known = [one for one in record.get("rows", []) if one["part"] not in options.only]
    record = facts(("repcore", "torch", "spconv", "numba", "transformers", "mambapy", "torch-geometric"))
    record |= {"threads": 1, "clock": "processor time", "rows": known}
    for part in options.only:
        for row in PARTS[part](options):
            row = {"part": part, **row, "load": round(os.getloadavg()[0], 1), "date": record["date"]}
            record["rows"].append(row)
            print(shown(row), flush=True)
            write_result("peers", record, options.out)
            options.out.with_suffix(".md").write_text(table(record), encoding="utf-8")


# -------------------------------------------------------------------------------------------------- rows


def named(package: str) -> str:
    """A package and its version."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package}, not installed"


def row(what: str, peer: str, data: str, contenders: dict[str, Callable[[], object]], rounds: int, aim: str) -> Row:
    """Race ``ours`` and ``peer``."""
    seconds = interleaved(contenders, rounds, clock=time.process_time)
    return timed(what, peer, data, seconds, aim)


def timed(what: str, peer: str, data: str, seconds: dict[str, list[float]], aim: str) -> Row:
    ms = {name: spread([1000 * one for one in values], 2) for name, values in seconds.items()}
    ratio = ratios(seconds["ours"], seconds["peer"])
    return {"what": what, "peer": peer, "data": data, "ratio": ratio, "ms": ms, "aim": aim}


def verdict(row: Row) -> str:
    """Whether the median fulfils an aim of the form ``>= x``."""
    sign, _, number = row["aim"].partition(" ")
    found = row["ratio"]["median"]
    reached = {">=": lambda: found >= float(number), "<=": lambda: found <= float(number)}
    return "" if sign not in reached else "yes" if reached[sign]() else "no"


def shown(row: Row) -> str:
    ratio = row["ratio"]
    span = f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f}, {ratio['rounds']} rounds)"
    cells = [row["what"], row["peer"], row["data"], span, row["aim"], verdict(row), f"{row['load']}, {row['date']}"]
    return "| " + " | ".join(cells) + " |"


def table(record: dict[str, Any]) -> str:
    order = {part: number for number, part in enumerate(PARTS)}
    rows = sorted(record["rows"], key=lambda one: order[one["part"]])
    machine = record["machine"]
    about = (
        f"`benchmarks/peers.py`, one thread of {machine['cores']} x {machine['processor']}, processor time of the peer "
        "over ours in one round (above 1: ours is faster): median, lowest and highest. "
        f'"{OUR_FORM}": the mathematics of the peer written by us in its manner, not its code.'
    )
    head = ["| what | peer | data | ratio | aim | reached | load, date |", "|---|---|---|---|---|---|---|"]
    return "\n".join(["# Beside the code that people run", "", about, "", *head, *map(shown, rows), ""])


# ------------------------------------------------------------------------------------- sparse convolution


def convolution_rows(options: Options) -> Iterator[Row]:
    if spconv.unusable():
        return
    given = argparse.Namespace(rounds=options.rounds, form=None)
    scenes = None if options.data is None else options.data / "pointcloud_scenes"
    names = [name for name, one in sparse_conv_speed.SCENES.items() if scenes is not None or not isinstance(one, tuple)]
    for name in names:
        voxels = sparse_conv_speed.voxels_of(name, scenes)
        for width, aim in ((32, ">= 1.1"), (64, ">= 1.0")):
            yield converted(sparse_conv_speed.convolution_row(name, voxels, width, given), aim)
        yield converted(sparse_conv_speed.rulebook_row(name, voxels, given), ">= 1.0")
    for name, (scene, config) in sparse_conv_speed.NETWORKS.items():
        if scene in names:
            voxels = sparse_conv_speed.voxels_of(scene, scenes)
            yield converted(sparse_conv_speed.network_row(name, voxels, config, given), ">= 1.1")


def converted(found: Row, aim: str) -> Row:
    what, _, data = found["what"].rpartition(", ")
    ms = {"ours": found["ms"]["ours"], "peer": found["ms"]["spconv"]}
    facts = f"{data}, {found['voxels']} voxels"
    return {
        "what": f"sparse convolution: {what}", "peer": f"{named('spconv')} as the op", "data": facts,
        "ratio": found["spconv / ours"], "ms": ms, "aim": aim,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- molecules


def molecule_rows(options: Options) -> Iterator[Row]:
    for case, molecules, embed, train in zip(
        embed_molecules.CASES[::-1], (1000, 64), (1.15, 1.1), (1.1, 1.1), strict=True
    ):
        name = f"SELFormer {case.config.layers} x {case.config.hidden_width}"
        rows, preprocessor = embed_molecules.read_rows(None, molecules)
        theirs, ours = embed_molecules.twins(case.config)
        ids = [one.items[0].values.tolist() for one in rows]
        inference = InferenceOptions(batch_size=embed_molecules.BATCH)
        data = f"{len(rows)} NCI molecules of RDKit, {sum(map(len, ids)) / len(ids):.0f} tokens on average"
        contenders: dict[str, Callable[[], object]] = {
            "ours": partial(embed_prepared, ours, preprocessor, rows, inference),
            "peer": partial(embed_molecules.embed_sorted, theirs, ids),
        }
        peer = f"{named('transformers')}, same weights, sorted by length"
        yield row(f"{name}, embed", peer, data, contenders, options.rounds, f">= {embed}")
        batch = preprocessor.collate([one.items[0] for one in rows[:32]])
        peer = f"{named('transformers')}, same batch, masks and sizes"
        contenders = training_steps(case.config, batch)
        data = f"32 of them, padded to {batch.inputs['input_ids'].shape[1]}"
        yield row(f"{name}, training step", peer, data, contenders, options.rounds, f">= {train}")


def training_steps(config: Any, batch: Batch) -> dict[str, Callable[[], object]]:
    """Forward, backward, clipping and AdamW on one batch with the same masked tokens."""
    torch.manual_seed(0)
    objective = MaskedLanguage(MaskedLanguageConfig(), embed_molecules.Selformer(config)).train()
    draws = objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1))
    masked = objective.mask_tokens(batch, draws)
    theirs = RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=int(config.vocabulary_size), hidden_size=config.hidden_width, num_hidden_layers=config.layers,
            num_attention_heads=config.attention_heads, intermediate_size=config.feed_forward_width,
            max_position_embeddings=config.max_positions, type_vocab_size=1, pad_token_id=config.position_padding_id,
        )
    ).train()  # fmt: skip
    labels = batch.inputs["input_ids"].masked_fill(~masked.selected, -100)
    attention = batch.inputs["attention_mask"]

    def ours() -> None:
        stepped(objective, optimisers[0], lambda: objective(batch, draws).total)

    def peer() -> None:
        stepped(
            theirs,
            optimisers[1],
            lambda: theirs(input_ids=masked.input_ids, attention_mask=attention, labels=labels).loss,
        )

    optimisers = [torch.optim.AdamW(one.parameters(), lr=1e-6, fused=True) for one in (objective, theirs)]
    return {"ours": ours, "peer": peer}


def stepped(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


# ------------------------------------------------------------------------------------------------ audio


def scan_rows(options: Options) -> Iterator[Row]:
    for items, tokens in ((1, 512), (4, 512), (1, 2048)):
        given = audio_speed.scan_inputs(items, tokens)
        turned = [one[0].transpose(1, 2).contiguous() if one.ndim == 4 else one[0] for one in given]
        peers = (
            [(f"published loop, {OUR_FORM}", audio_speed.published_loop, turned)] if (items, tokens) == (1, 512) else []
        )
        if audio_speed.pscan is not None:
            peers.insert(0, (f"{named('mambapy')} pscan", audio_speed.parallel_scan, given))
        for name, function, inputs in peers:
            contenders: dict[str, Callable[[], object]] = {
                "ours": partial(audio_speed.differentiated, audio_speed.ours, given),
                "peer": partial(audio_speed.differentiated, function, inputs),
            }
            aim = ">= 6" if "mambapy" in name else ">= 56"
            data = f"{items} x {tokens} tokens, {audio_speed.CHANNELS} channels, {audio_speed.STATES} states"
            yield row("selective scan, forward and backward", name, data, contenders, options.rounds, aim)


# ------------------------------------------------------------------------------------------ point clouds


def point_rows(options: Options) -> Iterator[Row]:
    if options.authors is None:
        return  # pointcloud_speed.py races our own form of the reference
    points = pointcloud_speed.clouds(CLOUDS)
    data = f"{CLOUDS} clouds of 2,048 points, published size"
    with tempfile.TemporaryDirectory() as folder:
        for system, keep_maps, aim in (
            ("Point-M2AE", False, ">= 2.5"),
            ("I2P-MAE", False, ">= 5"),
            ("I2P-MAE", True, ">= 5"),
        ):
            what = f"{system}, forward and backward of a training step"
            what += ", maps of CLIP's ViT-B/16 kept from the first step" if keep_maps else ""
            image_encoder = Path(folder) / "clip.pt" if system == "I2P-MAE" else None
            peer_step = authors_code.point_step(options.authors, system, points, image_encoder, keep_maps)
            teacher = {"teacher": "none", "predicted_points": 16}
            if image_encoder is not None:
                teacher = {"teacher": "clip-local", "teacher_path": str(image_encoder), "teacher_heads": 12}
            config = MaskedPointsConfig(decoder_drop_path=0.0, **teacher)  # type: ignore[arg-type]
            ours = our_point_step(points, config, keep_maps)
            peer = f"{authors_code.name_of(options.authors, system)}, torch for CUDA ops"
            yield row(what, peer, data, {"ours": ours, "peer": peer_step}, options.rounds, aim)


def our_point_step(points: torch.Tensor, config: MaskedPointsConfig, keep_maps: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    objective = MaskedPoints(config, HierarchicalPointEncoder(PointEncoderConfig(drop_path=0.0))).train()
    if keep_maps and objective.teacher is not None:
        objective.teacher.forward = authors_code.kept(objective.teacher.forward)  # type: ignore[method-assign]
    sample = Batch(inputs={"points": points}, size=len(points))
    generator = torch.Generator().manual_seed(0)

    def step() -> object:
        objective.zero_grad(set_to_none=True)
        total = objective(sample, objective.draw(sample, generator, Progress(0, 1))).total
        total.backward()
        return total

    return step


# ----------------------------------------------------------------------------------------------- volumes


def alice_rows(options: Options) -> Iterator[Row]:
    encoder, config = NnFormerConfig(crop_edge=64, drop_path=0.0), AliceConfig()
    what, data = "Alice, whole training step", "1 pair of 64^3, published size"
    if options.authors is None:
        found = alice_speed.step_race(encoder, config, 1, options.rounds)
        ms = {"ours": found["ours"], "peer": found["reference's manner"]}
        yield {"what": what, "peer": OUR_FORM, "data": data, "ratio": found["times"], "ms": ms, "aim": ">= 2"}
        return
    torch.manual_seed(0)
    objective = Alice(dataclasses.replace(config, clip_per_tensor=alice_speed.CLIP), NnFormer(encoder)).train()
    batch, draws = alice_speed.race_batch(64, 1, objective)
    assert batch.views is not None
    pair = (batch.views["query"].inputs["volume"], batch.views["key"].inputs["volume"])
    peer = authors_code.alice_step(options.authors, pair, alice_speed.RACE_LR, alice_speed.CLIP)
    trainable = [one for one in objective.parameters() if one.requires_grad]
    fused = torch.optim.AdamW(trainable, lr=alice_speed.RACE_LR, fused=True)

    def ours() -> None:
        objective.zero_grad()
        objective(batch, draws).total.backward()
        objective.before_step(alice_speed.PROGRESS)
        fused.step()
        objective.follow(config.ema_start)

    name = authors_code.name_of(options.authors, "alice")
    yield row(what, name, data, {"ours": ours, "peer": peer}, options.rounds, ">= 2")


# ------------------------------------------------------------------------------------------------- graphs


class Gin(nn.Module):
    """GIN of three layers, 128 wide, sums, two linear layers: what one takes from torch-geometric without thinking."""

    def __init__(self, node_width: int) -> None:
        super().__init__()
        self.encoder = GIN(node_width, 128, num_layers=3)
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))

    def forward(self, data: Any) -> torch.Tensor:
        pooled = global_add_pool(self.encoder(data.x, data.edge_index), data.batch)
        return F.log_softmax(self.head(pooled), dim=-1)


def graph_rows(options: Options) -> Iterator[Row]:
    yield from growth_rows(options)
    if options.data is None:
        return
    reader = TUDataset(TUDatasetConfig(path=str(options.data / "graphs" / "PROTEINS"), fold=1))
    train = [int(one) for one in reader.splits["train"]]
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig(standardise=False))
    preprocessor.fit(reader, train)
    items = [preprocessor.prepare(reader[one])[0] for one in train]
    labels = torch.tensor([float(reader[one].targets["label"]) for one in train])
    width = int(preprocessor.facts()["node_width"])
    plain = [one.values.clone() for one in items]
    for one, label in zip(plain, labels, strict=True):
        one.y, one.edge_attr = label.long()[None], None
    loader = DataLoader(plain, batch_size=128, shuffle=True)

    def ours_with(config: EHGNNConfig) -> Callable[[], None]:
        torch.manual_seed(0)
        task = GraphClassification(
            GraphTaskConfig(), EHGNN(config), TargetSpec("label", "class", names=("0", "1"))
        ).train()
        optimiser = torch.optim.Adam(task.parameters(), lr=5e-4, weight_decay=1e-4)

        def epoch() -> None:
            for chunk in torch.randperm(len(items)).split(128):
                batch = preprocessor.collate([items[int(one)] for one in chunk])
                stepped(task, optimiser, lambda batch=batch, chunk=chunk: task.loss(task(batch), labels[chunk]))  # type: ignore[misc]

        return epoch

    def epoch_of(network: nn.Module) -> Callable[[], None]:
        network.train()
        optimiser = torch.optim.Adam(network.parameters(), lr=5e-4, weight_decay=1e-4)

        def epoch() -> None:
            for data in loader:
                stepped(network, optimiser, lambda data=data: F.nll_loss(network(data), data.y))  # type: ignore[misc]

        return epoch

    given = {"node_width": width, "edge_width": 0, "edge_ratio": RATIO}
    theirs: tuple[str, nn.Module] = (OUR_FORM, graphs_speed.LibraryHyperDrop(width, 128, 2, 3, RATIO))
    if options.authors is not None:
        network = authors_code.hyperdrop(options.authors, width, RATIO)
        theirs = (f"{authors_code.name_of(options.authors, 'EHGNN')}, torch for torch_scatter", network)
    data = f"PROTEINS, {len(items)} graphs of fold 1, collation included"
    published = ours_with(published_graph(edges="once", **given))
    contenders: dict[str, Callable[[], object]] = {"ours": published, "peer": epoch_of(theirs[1])}
    yield row("EHGNN, published settings, epoch", theirs[0], data, contenders, options.rounds, ">= 3")
    contenders = {"ours": published, "peer": epoch_of(Gin(width))}
    peer = f"{named('torch-geometric')} GIN, 3 x 128"
    yield row("EHGNN, published settings, epoch", peer, data, contenders, options.rounds, "say what it costs")


def growth_rows(options: Options) -> Iterator[Row]:
    """A training step on one random graph of 30,000 and of 300,000 nodes, each in a process of its own."""
    keeping = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
    for told, settings in (("", {}), ("; glibc keeps freed blocks up to 1 GiB", keeping)):
        found = {}
        for nodes in (30_000, 300_000):
            words = [sys.executable, str(Path(__file__).with_name("graphs_random.py")), str(nodes)]
            environment = {**os.environ, **settings}
            said = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
            found[nodes] = json.loads(said.splitlines()[-1])
        small, large = found[30_000], found[300_000]
        ratio = ratios([10 * one for one in small["seconds"]], large["seconds"])
        peaks = f"peaks of the process {small['peak_mib']:.0f} and {large['peak_mib']:.0f} MiB"
        yield {
            "what": "EHGNN, step on a random graph: 300,000 nodes over 10 x 30,000", "peer": "ours",
            "data": f"2 edges a node, width 128; {peaks}{told}", "ratio": ratio, "aim": "<= 1.2",
            "ms": {str(nodes): spread([1000 * s for s in one["seconds"]], 1) for nodes, one in found.items()},
        }  # fmt: skip


PARTS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "convolution": convolution_rows, "molecules": molecule_rows, "scan": scan_rows, "points": point_rows,
    "alice": alice_rows, "graphs": graph_rows,
}  # fmt: skip

if __name__ == "__main__":
    main()
