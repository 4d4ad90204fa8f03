"""How fast text becomes token ids: ours against what a user would otherwise run, paired in one run.

(a) SELFIES -> ids on one thread: our tokenisers against the `tokenizers` library (one call each, and `encode_batch`)
    and against `selfies.split_selfies` alone.
(b) SMILES -> ids, whole pipeline, on 1 and 2 processes: ours against RDKit canonicalisation + `selfies.encoder` +
    `tokenizers` one molecule at a time.

Every contender runs once per round, the rounds are interleaved, and the table shows medians with the spread of the
rounds, so that a machine that slows down slows all of them. Results are checked to be equal before anything is timed.

    python benchmarks/smiles_to_ids.py --data PATH_TO_SMILES_TABLE [--rows 4000] [--rounds 5]

Without --data, RDKit's embedded NCI molecules are used.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import selfies
import tokenizers
from rdkit import Chem, RDConfig
from rdkit.rdBase import BlockLogs

from repcore.data.shared_work import shared_out
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.convert import convert_smiles
from repcore_molecules.smiles.pipeline import SmilesPipeline
from repcore_molecules.tokenisation.symbols import SymbolTokeniser, count_symbols
from repcore_molecules.tokenisation.tokeniser import Tokeniser, create_tokeniser
from repcore_molecules.tokenisation.vocabulary import SPECIAL_TOKENS, BpeVocabulary, SymbolVocabulary

RESULTS = Path(__file__).parent / "results" / "smiles_to_ids.json"
# Merges that a byte-pair training on SELFIES finds first; used when no published vocabulary is given.
STAND_IN_MERGES = [
    "B r",
    "a n",
    "c h",
    "Br an",
    "Bran ch",
    "Branch 1",
    "= C",
    "R i",
    "n g",
    "Ri ng",
    "Ring 1",
    "= O",
    "= Branch1",
    "Branch 2",
    "# Branch1",
    "@ @",
    "C @",
    "C@ @",
    "C l",
    "N H",
    "= N",
    "Ring 2",
]


def main() -> None:
    arguments = parse_arguments()
    smiles = read_smiles(arguments.data, arguments.rows)
    vocabulary = read_vocabulary(arguments.vocabulary)
    figures: dict[str, Any] = {}
    figures["selfies_to_ids"] = time_tokenisers(smiles, vocabulary, arguments.rounds)
    figures["smiles_to_ids"] = time_pipelines(smiles, vocabulary, arguments.rounds)
    figures["smiles_to_ids_2_processes"] = time_two_processes(smiles, vocabulary, max(3, arguments.rounds // 2))
    report = {
        "date": date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("rdkit", "selfies", "tokenizers", "numpy")},
        "data": {
            "source": arguments.data.name if arguments.data else "RDKit NCI first_5K",
            "rows": len(smiles),
            "mean_characters": round(statistics.mean(map(len, smiles)), 1),
        },
        "vocabulary": {"tokens": len(vocabulary), "merges": len(vocabulary.merges)},
        "rounds": arguments.rounds,
        "figures": figures,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(figures)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="table with SMILES in its first column (also .gz), or its folder")
    parser.add_argument("--vocabulary", type=Path, help="folder with vocab.json and merges.txt (default: a stand-in)")
    parser.add_argument("--rows", type=int, default=4000, help="molecules taken from the top (default 4000)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    return parser.parse_args()


def read_smiles(path: Path | None, rows: int) -> list[str]:
    """The first `rows` SMILES that parse and that SELFIES accepts, so that all contenders do the same work."""
    if path is None:
        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    if path.is_dir():
        path = next(file for pattern in ("*.tsv*", "*.csv*", "*.smi*") for file in sorted(path.glob(pattern)))
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = content.decode("utf-8").splitlines()
    texts = [line.replace(",", "\t").split()[0] for line in lines if line.strip()]
    silence = BlockLogs()
    kept: list[str] = []
    pipeline = SmilesPipeline(SmilesConfig())
    for text in texts:
        if pipeline.run(text).status == "ok" and len(kept) < rows:
            kept.append(text)
    del silence
    return list(dict.fromkeys(kept))


def read_vocabulary(folder: Path | None) -> BpeVocabulary:
    if folder is not None:
        return BpeVocabulary.from_folder(folder)
    made = [merge.replace(" ", "") for merge in STAND_IN_MERGES]
    characters = sorted(set("#+-./012345678=@ABCFHIKLMNOPRSTZ\\acdeghilnrsu"))
    return BpeVocabulary.from_tokens([*SPECIAL_TOKENS, *characters, *made], STAND_IN_MERGES)


def library_tokenizer(vocabulary: BpeVocabulary) -> tokenizers.Tokenizer:
    """What RobertaTokenizerFast builds from vocab.json and merges.txt, without the transformers layer on top."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=dict(vocabulary.ids), merges=list(vocabulary.merges)))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", vocabulary.ids["</s>"]), ("<s>", vocabulary.ids["<s>"]), add_prefix_space=False
    )
    return library


def interleaved(contenders: dict[str, Callable[[], object]], items: int, rounds: int) -> dict[str, dict[str, float]]:
    """Items per second of each contender: median, lowest and highest over the rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()  # one untimed round: imports, caches, worker start
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            speeds[name].append(items / (time.perf_counter() - start))
    return {
        name: {
            "per_second": round(statistics.median(values)),
            "lowest": round(min(values)),
            "highest": round(max(values)),
        }
        for name, values in speeds.items()
    }


def time_tokenisers(smiles: Sequence[str], vocabulary: BpeVocabulary, rounds: int) -> dict[str, dict[str, float]]:
    texts = [result.selfies for result in convert_smiles(smiles, SmilesConfig())]
    library = library_tokenizer(vocabulary)
    ours: dict[str, Tokeniser] = {mode: create_tokeniser(mode, vocabulary) for mode in ("fast", "slow", "bracket")}
    ours["symbol"] = SymbolTokeniser(SymbolVocabulary.from_counts(count_symbols(texts)))
    if [ours["fast"].encode(text) for text in texts] != [library.encode(text).ids for text in texts]:
        raise SystemExit("our ids differ from the library's; nothing was timed")
    contenders: dict[str, Callable[[], object]] = {
        "tokenizers library, one call each": lambda: [library.encode(text).ids for text in texts],
        "tokenizers library, encode_batch": lambda: [encoding.ids for encoding in library.encode_batch(texts)],
        "selfies.split_selfies (no ids)": lambda: [list(selfies.split_selfies(text)) for text in texts],
    }
    for mode, tokeniser in ours.items():
        contenders[f"ours, {mode}"] = lambda tokeniser=tokeniser: [tokeniser.encode(text) for text in texts]  # type: ignore[misc]
    return interleaved(contenders, len(texts), rounds)


def one_by_one(smiles: Sequence[str], library: tokenizers.Tokenizer) -> list[list[int]]:
    """The usual way: RDKit's canonical form, the selfies library, the tokenizers library, molecule by molecule."""
    return [library.encode(selfies.encoder(Chem.MolToSmiles(Chem.MolFromSmiles(text)))).ids for text in smiles]


def time_pipelines(smiles: Sequence[str], vocabulary: BpeVocabulary, rounds: int) -> dict[str, dict[str, float]]:
    library, tokeniser = library_tokenizer(vocabulary), create_tokeniser("fast", vocabulary)
    pipeline = SmilesPipeline(SmilesConfig())

    def ours() -> list[list[int]]:
        return [tokeniser.encode(pipeline.run(text).selfies) for text in smiles]

    if ours() != one_by_one(smiles, library):
        raise SystemExit("our ids differ from the usual way's; nothing was timed")
    canonical = [pipeline.run(text).canonical for text in smiles]
    own = pipeline._encoder
    assert own is not None
    contenders: dict[str, Callable[[], object]] = {
        "RDKit + selfies + tokenizers, one by one": lambda: one_by_one(smiles, library),
        "ours, one by one": ours,
        "part: RDKit parse and canonical text": lambda: [Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in smiles],
        "part: selfies.encoder": lambda: [selfies.encoder(text) for text in canonical],
        "part: our SELFIES encoder": lambda: [own.encode(text) for text in canonical],
    }
    return interleaved(contenders, len(smiles), rounds)


_library: list[tokenizers.Tokenizer] = []


def start_library(vocabulary: BpeVocabulary) -> None:
    _library[:] = [library_tokenizer(vocabulary)]


def library_chunk(smiles: Sequence[str]) -> list[list[int]]:
    return one_by_one(smiles, _library[0])


def time_two_processes(smiles: Sequence[str], vocabulary: BpeVocabulary, rounds: int) -> dict[str, dict[str, float]]:
    """Both with two processes; start-up of ours is inside its time, that of the other is not."""
    repeats = max(1, -(-12_000 // len(smiles)))
    # Distinct texts for the same molecules, so that our memory of repeated rows does not help: random atom orders.
    many = [*smiles, *(random_order(text, seed) for seed in range(1, repeats) for text in smiles)]
    tokeniser = create_tokeniser("fast", vocabulary)
    chunks = [many[start : start + 1000] for start in range(0, len(many), 1000)]
    with ProcessPoolExecutor(2, get_context("spawn"), start_library, (vocabulary,)) as pool:
        contenders: dict[str, Callable[[], object]] = {
            "RDKit + selfies + tokenizers": lambda: [ids for part in pool.map(library_chunk, chunks) for ids in part],
            "ours, blocks shared out": lambda: [
                tokeniser.encode(text) for part in shared_out(selfies_of, chunks, 2) for text in part
            ],
        }
        return interleaved(contenders, len(many), rounds)


def selfies_of(smiles: Sequence[str]) -> list[str]:
    return [result.selfies for result in convert_smiles(smiles, SmilesConfig())]


def random_order(smiles: str, seed: int) -> str:
    mol = Chem.MolFromSmiles(smiles)
    return str(Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0])


def print_report(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    for title, rows in figures.items():
        first = next(iter(rows.values()))["per_second"]
        print(f"\n{title:<44}{'per second':>12}{'lowest':>10}{'highest':>10}{'x first':>9}")
        for name, row in rows.items():
            factor = row["per_second"] / first
            print(f"  {name:<42}{row['per_second']:>12,}{row['lowest']:>10,}{row['highest']:>10,}{factor:>9.2f}")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
