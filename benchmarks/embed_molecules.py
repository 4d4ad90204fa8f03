"""Embedding molecules: this encoder against `transformers`' RobertaModel with the same weights, paired in one run.

(large) 128 molecules with SELFormer's shape, 12 layers x 768; (small) 5,000 with 4 layers x 128. Everybody starts from
the same token ids and ends with one mean vector a molecule in NumPy:

    padded     RobertaModel, every row padded to the longest of the set (what `tokenizer(texts, padding=True)` gives)
    sorted     RobertaModel, rows sorted by length, each batch padded to its own longest
    ours       `repcore`'s inference: batches by cost, no work on padding

Vectors are compared before anything is timed. Rounds are interleaved; medians with spread, 1 and 2 threads.

    python benchmarks/embed_molecules.py [--data TABLE] [--rounds 3] [--threads 1 2] [--only small]

Without --data, RDKit's embedded NCI molecules are used.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, interleaved, ratios, spread, write_result
from transformers import RobertaConfig, RobertaModel

from repcore.embedding.inference import InferenceOptions, PreparedRow, embed_prepared
from repcore.interfaces import Sample
from repcore_molecules.checkpoints.selformer import import_state
from repcore_molecules.configs.data import MoleculeTableConfig, NciConfig, SelfiesConfig
from repcore_molecules.configs.selformer import SELFORMER, SelformerConfig
from repcore_molecules.datasets.nci import NciMolecules
from repcore_molecules.datasets.tables import MoleculeTable
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor

BATCH = 32
TOLERANCE = 2e-5  # float32 through 12 layers, vectors of size 1
SMALL = replace(SELFORMER, layers=4, hidden_width=128, feed_forward_width=512)


@dataclass(frozen=True)
class Case:
    """A model shape and a number of molecules."""

    name: str
    config: SelformerConfig
    molecules: int


CASES = (Case("large", SELFORMER, 128), Case("small", SMALL, 5000))


def main() -> None:
    arguments = parse_arguments()
    record = {**facts(("repcore", "torch", "transformers", "numpy")), "cases": {}}
    for case in CASES:
        if arguments.only in (None, case.name):
            record["cases"][case.name] = run_case(case, arguments)
    print(f"written to {write_result('embed_molecules', record, arguments.output)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="table of molecules (default: RDKit's NCI set)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch threads (default 1 2)")
    parser.add_argument("--only", choices=[case.name for case in CASES])
    parser.add_argument("--molecules", type=int, help="fewer molecules, for a trial")
    parser.add_argument("--output", type=Path, help="result file (default: results/embed_molecules.json)")
    return parser.parse_args()


def run_case(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    rows, preprocessor = read_rows(arguments.data, arguments.molecules or case.molecules)
    theirs, ours = twins(case.config)
    ids = [row.items[0].values.tolist() for row in rows]
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: embed_prepared(ours, preprocessor, rows, InferenceOptions(batch_size=BATCH)).vectors,
        "padded": lambda: embed_padded(theirs, ids),
        "sorted": lambda: embed_sorted(theirs, ids),
    }
    vectors = {name: np.asarray(contender()) for name, contender in contenders.items()}
    difference = max(float(np.abs(vectors["ours"] - vectors[name]).max()) for name in ("padded", "sorted"))
    if difference > TOLERANCE:
        raise SystemExit(f"vectors differ by {difference:.1e}; nothing was timed")
    lengths = [len(one) for one in ids]
    found: dict[str, Any] = {
        "molecules": len(rows),
        "tokens": {"mean": round(float(np.mean(lengths)), 1), "longest": max(lengths)},
        "largest_difference": difference,
        "threads": {},
    }
    print(
        f"\n{case.name}: {len(rows)} molecules of {np.mean(lengths):.0f} tokens on average; "
        f"largest difference of vectors {difference:.0e}"
    )
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        seconds = interleaved(contenders, arguments.rounds)
        figures = {name: {"seconds": spread(values)} for name, values in seconds.items()}
        for name in ("padded", "sorted"):
            figures[name]["times_ours"] = ratios(seconds["ours"], seconds[name])
        found["threads"][str(threads)] = figures
        for name, one in figures.items():
            times = one.get("times_ours", {"median": 1.0})["median"]
            per_second = len(rows) / one["seconds"]["median"]
            print(
                f"  {threads} threads  {name:<8} {one['seconds']['median']:8.2f} s "
                f"{per_second:9.1f} /s {times:6.2f} x the time of ours",
                flush=True,
            )
    return found


def read_rows(path: Path | None, count: int) -> tuple[list[PreparedRow], SelfiesPreprocessor]:
    """The first usable molecules, tokenised one id a symbol."""
    reader: Any = NciMolecules(NciConfig(descriptors=("weight",)))
    if path is not None:
        reader = MoleculeTable(MoleculeTableConfig(path=str(path), labels=()))
    preprocessor = SelfiesPreprocessor(SelfiesConfig())
    cells = reader.cells(0, min(len(reader), count + count // 10 + 10))
    samples = [Sample(str(row), cell) for row, cell in enumerate(cells) if preprocessor.converted(cell).status == "ok"]
    preprocessor.fit(samples, range(len(samples)))  # type: ignore[arg-type]  # a list reads like a data set
    return [PreparedRow(one, one.id, preprocessor.prepare(one)) for one in samples[:count]], preprocessor


def twins(config: SelformerConfig) -> tuple[RobertaModel, Selformer]:
    """A RobertaModel with random weights, and our encoder with the same ones by the published key map."""
    torch.manual_seed(0)
    settings = RobertaConfig(
        vocab_size=int(config.vocabulary_size or 0),
        hidden_size=config.hidden_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.attention_heads,
        intermediate_size=config.feed_forward_width,
        max_position_embeddings=config.max_positions,
        layer_norm_eps=config.norm_epsilon,
        pad_token_id=config.position_padding_id,
        type_vocab_size=1,
    )
    theirs = RobertaModel(settings, add_pooling_layer=False).eval()
    published = {
        f"roberta.{name}": value for name, value in theirs.state_dict().items() if "token_type_ids" not in name
    }
    state, _ = import_state(published, config, "RobertaModel")
    ours = Selformer(config).eval()
    ours.load_state_dict({name.removeprefix("encoder."): value for name, value in state.items()})
    return theirs, ours


@torch.inference_mode()
def mean_vectors(model: RobertaModel, ids: Sequence[Sequence[int]], longest: int) -> np.ndarray:
    """Masked means of one padded batch, (B, D)."""
    padded = torch.full((len(ids), longest), 3)
    for row, one in enumerate(ids):
        padded[row, : len(one)] = torch.tensor(one)
    mask = (torch.arange(longest)[None] < torch.tensor([len(one) for one in ids])[:, None]).long()
    hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
    weight = mask[..., None].float()
    return ((hidden * weight).sum(1) / weight.sum(1)).numpy()


def embed_padded(model: RobertaModel, ids: Sequence[Sequence[int]]) -> np.ndarray:
    longest = max(map(len, ids))
    return np.concatenate(
        [mean_vectors(model, ids[start : start + BATCH], longest) for start in range(0, len(ids), BATCH)]
    )


def embed_sorted(model: RobertaModel, ids: Sequence[Sequence[int]]) -> np.ndarray:
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    result = np.empty((len(ids), model.config.hidden_size), np.float32)
    for start in range(0, len(ids), BATCH):
        chosen = order[start : start + BATCH]
        batch = [ids[row] for row in chosen]
        result[chosen] = mean_vectors(model, batch, max(map(len, batch)))
    return result


if __name__ == "__main__":
    main()
