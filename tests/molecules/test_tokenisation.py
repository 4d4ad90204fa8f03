"""Tokenisers against slow independent formulas and against the `tokenizers` library, without golden data."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from repcore.errors import CheckpointError, ConfigError, DataError
from repcore_molecules.tokenisation.published import merge_pairs, split_runs
from repcore_molecules.tokenisation.symbols import SymbolTokeniser, count_symbols, split_symbols
from repcore_molecules.tokenisation.tokeniser import create_tokeniser, tokenise, tokeniser_from_json
from repcore_molecules.tokenisation.vocabulary import (
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    BpeVocabulary,
    SymbolVocabulary,
)

SYMBOLS = [
    "[C]",
    "[=C]",
    "[#C]",
    "[N]",
    "[=N]",
    "[O]",
    "[=O]",
    "[C@@H1]",
    "[C@]",
    "[C@@]",
    "[/C]",
    "[\\C]",
    "[NH1]",
    "[N+1]",
    "[O-1]",
    "[Branch1]",
    "[=Branch2]",
    "[Ring1]",
    "[-/Ring1]",
    "[13C]",
    "[Nb]",
    "[Cl]",
    "[Br]",
    ".",
]
MERGES = [
    "B r",
    "a n",
    "c h",
    "Br an",
    "Bran ch",
    "Branch 1",
    "@ @",
    "= O",
    "C @@",
    "C@@ H",
    "C@@H 1",
    "R i",
    "Ri n",
    "Rin g",
    "Ring 1",
    "N H",
    "- /",
    "- \\",
    "= C",
    "C l",
    "@ =",
    "1 3",
]


def vocabulary(merges: list[str], characters: str) -> BpeVocabulary:
    made = [merge.replace(" ", "") for merge in merges]
    return BpeVocabulary.from_tokens([*SPECIAL_TOKENS, *characters, *(token for token in made)], merges)


CHARACTERS = "#+-./0123=@BCHNORabceghilnr\\"


def random_selfies(generator: random.Random, length: int) -> str:
    return "".join(generator.choice(SYMBOLS) for _ in range(length))


def slow_bpe(word: list[str], merges: list[str]) -> list[str]:
    """The definition: go through the merges by rank, join every occurrence from the left."""
    for merge in merges:
        left, right = merge.split(" ")
        place = 0
        while place < len(word) - 1:
            if word[place] == left and word[place + 1] == right:
                word = [*word[:place], left + right, *word[place + 2 :]]
            place += 1
    return word


def slow_ids(text: str, mode: str, merges: list[str], tokens: dict[str, int]) -> list[int]:
    if mode == "bracket":
        runs = re.split(r"[\[\]]", text)
    else:
        runs = re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]+", text)
    ids = [1]
    for run in runs:
        word = [char for char in run if mode != "fast" or char in tokens]
        ids += [tokens.get(part, 0) for part in slow_bpe(word, merges)]
    return [*ids, 2]


@pytest.mark.parametrize("merges", [MERGES, [*MERGES, "] ["], ["= [", *MERGES], []])
@pytest.mark.parametrize("mode", ["fast", "slow", "bracket"])
def test_published_modes_equal_the_slow_formula(mode: str, merges: list[str]) -> None:
    extra = "[]" if any("[" in merge for merge in merges) else ""
    known = vocabulary(merges, CHARACTERS + extra)
    tokeniser = create_tokeniser(mode, known)
    generator = random.Random(3)
    for length in (0, 1, 2, 5, 30, 200):
        for _ in range(20):
            text = random_selfies(generator, length)
            assert tokeniser.encode(text) == slow_ids(text, mode, merges, dict(known.ids)), text


def test_fast_mode_equals_the_tokenizers_library_also_on_odd_text() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    known = vocabulary(MERGES, CHARACTERS)
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=dict(known.ids), merges=pairs))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokeniser = create_tokeniser("fast", known)
    generator = random.Random(5)
    alphabet = "CNOBr[]=#@@@+-/\\.123 \n\t'sé中½ü"
    texts = [random_selfies(generator, 40) for _ in range(100)]
    texts += ["".join(generator.choices(alphabet, k=generator.randrange(30))) for _ in range(400)]
    for text in texts:
        assert tokeniser.encode(text)[1:-1] == library.encode(text).ids, repr(text)


def test_runs_cover_the_text() -> None:
    text = "[C@@H1][13C] x's  é½\n"
    assert "".join(split_runs(text)) == text
    assert split_runs("[C@@H1]") == ["[", "C", "@@", "H", "1", "]"]


def test_overlapping_merges_join_from_the_left() -> None:
    assert merge_pairs(list("@@@"), {("@", "@"): 0}) == ["@@", "@"]


def test_symbol_mode_gives_one_id_per_symbol() -> None:
    texts = ["[C][=O].[Na+1]", "[C][C]", "."]
    counts = count_symbols(texts)
    known = SymbolVocabulary.from_counts(counts)
    assert known.symbols == ("[C]", ".", "[=O]", "[Na+1]")  # by frequency, ties by code point
    tokeniser = SymbolTokeniser(known)
    for text in texts:
        ids = tokeniser.encode(text)
        assert ids == [1, *(known.ids[symbol] for symbol in split_symbols(text)), 2]
        assert "".join(tokeniser.tokens(ids)[1:-1]) == text


def test_symbol_mode_reports_unknown_symbols_and_cuts() -> None:
    tokeniser = create_tokeniser("symbol", SymbolVocabulary(("[C]",)))
    assert tokeniser.encode("[C][N][C]") == [1, 5, UNKNOWN_ID, 5, 2]
    result = tokenise(tokeniser, "[C][N][C]", 4)
    assert (result.ids, result.unknown, result.truncated) == ([1, 5, UNKNOWN_ID, 2], 1, True)
    assert tokenise(tokeniser, "[C]", 3).truncated is False
    assert tokeniser.encode("") == [1, 2]
    with pytest.raises(ConfigError, match="max_length=1"):
        tokeniser.encode("[C]", 1)


def test_malformed_selfies_is_refused_by_the_splitter() -> None:
    for text in ("C", "[C", "[C]x", "[C[N]]"):
        with pytest.raises(DataError, match="not SELFIES"):
            split_symbols(text)


def test_min_count_drops_rare_symbols() -> None:
    assert SymbolVocabulary.from_counts({"[C]": 5, "[N]": 1}, min_count=2).symbols == ("[C]",)


def test_vocabularies_survive_saving(tmp_path: Path) -> None:
    known = SymbolVocabulary(("[C]", "[\\C]", "."))
    known.save(tmp_path / "vocabulary.json")
    assert SymbolVocabulary.load(tmp_path / "vocabulary.json") == known
    tokeniser = tokeniser_from_json(create_tokeniser("symbol", known).to_json())
    assert tokeniser.encode("[\\C].") == [1, 6, 7, 2]
    assert dict(tokeniser.special_ids) == dict(zip(SPECIAL_TOKENS, range(5), strict=True))


def test_vocabulary_problems_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\[C\]' occurs twice"):
        SymbolVocabulary(("[C]", "[C]"))
    with pytest.raises(CheckpointError, match="no <mask>"):
        BpeVocabulary.from_tokens(["<unk>", "<s>", "</s>", "<pad>"], [])
    with pytest.raises(CheckpointError, match="'CC'"):
        BpeVocabulary.from_tokens([*SPECIAL_TOKENS, "C"], ["C C"])
    with pytest.raises(CheckpointError, match="is not two tokens"):
        BpeVocabulary.from_tokens([*SPECIAL_TOKENS, "C"], ["C"])
    with pytest.raises(CheckpointError, match=r"no vocab.json"):
        BpeVocabulary.from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        BpeVocabulary.from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text('{"<s>": 7}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="are not 0 to 0"):
        BpeVocabulary.from_folder(tmp_path)
    with pytest.raises(CheckpointError, match="not a symbol vocabulary"):
        SymbolVocabulary.load(tmp_path / "vocab.json")


def test_merges_may_begin_with_the_triple_bond(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(
        '{"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3, "<mask>": 4, "#": 5, "C": 6, "#C": 7}', encoding="utf-8"
    )
    (tmp_path / "merges.txt").write_text("#version: 0.2\r\n# C\r\n", encoding="utf-8", newline="")
    assert create_tokeniser("bracket", BpeVocabulary.from_folder(tmp_path)).encode("[#C]") == [1, 7, 2]


def test_mode_and_vocabulary_must_match() -> None:
    with pytest.raises(ConfigError, match="'medium' does not exist"):
        create_tokeniser("medium", SymbolVocabulary(()))
    with pytest.raises(ConfigError, match="byte-pair"):
        create_tokeniser("symbol", vocabulary([], "C"))
    with pytest.raises(ConfigError, match="symbol vocabulary"):
        create_tokeniser("fast", SymbolVocabulary(()))
    with pytest.raises(CheckpointError, match="incomplete"):
        tokeniser_from_json({"mode": "fast"})
