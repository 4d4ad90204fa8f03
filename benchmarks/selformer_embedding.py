"""How fast token ids become molecule vectors on a CPU: ours against `transformers` with the same weights.

Two shapes: 128 molecules through 12 layers of width 768, and 5,000 through 4 layers of width 128. Contenders:
- ours in input order, and ours sorted by length (what `repcore embed` does);
- transformers padded to the longest molecule of the set, to the longest of each batch, and sorted by length.
All pool the mean over real tokens, use scaled-dot-product attention and inference mode, and give the same vectors,
which is checked before anything is timed. Rounds are interleaved; the table shows medians and the spread.

    python benchmarks/selformer_embedding.py --data PATH_TO_SMILES_TABLE [--threads 1 2] [--rounds 3] [--only large]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from smiles_to_ids import read_smiles, read_vocabulary
from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM

from repcore.interfaces import Batch
from repcore_molecules.checkpoints.selformer import import_state
from repcore_molecules.configs.selformer import SELFORMER, SelformerConfig
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.smiles.selfies_encoder import SelfiesEncoder
from repcore_molecules.tokenisation.tokeniser import create_tokeniser

RESULTS = Path(__file__).parent / "results" / "selformer_embedding.json"
PADDING_ID = 3
BATCH_SIZE = 32
CALM = replace(SELFORMER, hidden_dropout=0.0, attention_dropout=0.0)
SHAPES: dict[str, tuple[int, SelformerConfig]] = {
    "large": (128, CALM),
    "small": (5000, replace(CALM, hidden_width=128, layers=4, attention_heads=4, feed_forward_width=512)),
}
Contender = Callable[[], Tensor]


@dataclass(frozen=True)
class Networks:
    """Both implementations with one set of random weights."""

    ours: Selformer
    theirs: torch.nn.Module


def main() -> None:
    arguments = parse_arguments()
    smiles = read_smiles(arguments.data, 5000)
    tokeniser = create_tokeniser("fast", read_vocabulary(arguments.vocabulary))
    encoder = SelfiesEncoder()
    rows = [torch.tensor(tokeniser.encode(encoder.encode(one), 512)) for one in smiles]
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.only or SHAPES:
        count, config = SHAPES[name]
        count = min(count, arguments.molecules or count)
        networks = build(config)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            contenders = make_contenders(networks, rows[:count])
            check_equal(contenders)
            label = f"{name}, {len(rows[:count])} molecules, {threads} thread(s)"
            figures[label] = interleaved(contenders, arguments.rounds)
            show(label, figures[label])
    lengths = [len(row) for row in rows]
    report = {
        "date": date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "data": {"source": arguments.data.name if arguments.data else "RDKit NCI first_5K",
                 "mean_tokens": round(statistics.mean(lengths), 1), "longest": max(lengths)},
        "batch_size": BATCH_SIZE,
        "rounds": arguments.rounds,
        "seconds": figures,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="table with SMILES in its first column (also .gz), or its folder")
    parser.add_argument("--vocabulary", type=Path, help="folder with vocab.json and merges.txt (default: a stand-in)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads to time with (default 1 2)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--molecules", type=int, help="at most so many per shape, for a quick look")
    parser.add_argument("--only", nargs="+", choices=SHAPES, help="shapes to run (default both)")
    return parser.parse_args()


def build(config: SelformerConfig) -> Networks:
    torch.manual_seed(0)
    settings = RobertaConfig(
        vocab_size=config.vocabulary_size, hidden_size=config.hidden_width, num_hidden_layers=config.layers,
        num_attention_heads=config.attention_heads, intermediate_size=config.feed_forward_width,
        max_position_embeddings=config.max_positions, type_vocab_size=1, layer_norm_eps=config.norm_epsilon,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, attn_implementation="sdpa",
    )  # fmt: skip
    reference = RobertaForMaskedLM(settings).eval()
    state, _ = import_state(reference.state_dict(), config, "transformers")
    ours = Selformer(config).eval()
    ours.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")})
    return Networks(ours, reference.roberta)


def make_contenders(networks: Networks, rows: Sequence[Tensor]) -> dict[str, Contender]:
    in_order = list(range(len(rows)))
    by_length = sorted(in_order, key=lambda number: len(rows[number]))
    longest = max(len(row) for row in rows)

    def ours(ids: Tensor, mask: Tensor) -> Tensor:
        return networks.ours(Batch(inputs={"input_ids": ids, "attention_mask": mask}, size=len(ids))).pooled

    def theirs(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = networks.theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def run(network: Callable[[Tensor, Tensor], Tensor], order: Sequence[int], length: int | None) -> Contender:
        def embed() -> Tensor:
            vectors = torch.empty(len(rows), networks.ours.dim)
            with torch.inference_mode():
                for start in range(0, len(order), BATCH_SIZE):
                    numbers = order[start : start + BATCH_SIZE]
                    vectors[numbers] = network(*collate([rows[number] for number in numbers], length))
            return vectors

        return embed

    return {
        "ours, sorted by length": run(ours, by_length, None),
        "ours, input order": run(ours, in_order, None),
        "transformers, sorted by length": run(theirs, by_length, None),
        "transformers, padded to the longest of each batch": run(theirs, in_order, None),
        "transformers, padded to the longest of all": run(theirs, in_order, longest),
    }


def collate(rows: Sequence[Tensor], length: int | None) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(rows), length or max(len(row) for row in rows)), PADDING_ID)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return ids, ids != PADDING_ID


def check_equal(contenders: dict[str, Contender]) -> None:
    results = [contender() for contender in contenders.values()]
    for name, vectors in zip(contenders, results, strict=True):
        difference = float((vectors - results[0]).abs().max())
        if difference > 2e-5:  # tolerance of the golden data
            raise SystemExit(f"{name} differs by {difference:.1e}")


def interleaved(contenders: dict[str, Contender], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds for the whole set: median and range over the rounds, and the median of the ratios to ours, sorted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    ours = next(iter(seconds.values()))
    return {
        name: {
            "median": round(statistics.median(values), 3),
            "lowest": round(min(values), 3),
            "highest": round(max(values), 3),
            "times_ours": round(statistics.median(a / b for a, b in zip(values, ours, strict=True)), 2),
        }
        for name, values in seconds.items()
    }


def show(label: str, figures: dict[str, dict[str, float]]) -> None:
    print(label)
    for name, values in figures.items():
        spread = f"{values['lowest']:.2f} to {values['highest']:.2f}"
        print(f"  {name:<52} {values['median']:>8.2f} s  ({spread})  {values['times_ours']:.2f} x ours")


if __name__ == "__main__":
    main()
