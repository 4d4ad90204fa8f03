"""Token ids of the published modes against what the authors' tokenizers gave, for both published vocabularies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repcore_molecules.smiles.selfies_encoder import SelfiesEncoder
from repcore_molecules.tokenisation.symbols import split_symbols
from repcore_molecules.tokenisation.tokeniser import create_tokeniser, tokenise, tokeniser_from_json
from repcore_molecules.tokenisation.vocabulary import BpeVocabulary

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "selformer"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden data of SELFormer is not beside the repository")
MODES = ("fast", "slow", "bracket")
VOCABULARIES = ("v208", "v428")


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    text = (GOLDEN / "tokenizer.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def in_memory(name: str) -> BpeVocabulary:
    manifest = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))
    entry = manifest["config"]["tokenizer"]["vocabularies"][name]
    return BpeVocabulary.from_tokens(entry["tokens_by_id"], entry["merges"])


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("mode", MODES)
def test_ids_are_exact_on_all_lines_before_and_after_caching(mode: str, name: str, lines: list[dict[str, Any]]) -> None:
    tokeniser = create_tokeniser(mode, BpeVocabulary.from_folder(GOLDEN / "tokenizer" / name))
    usable = [line for line in lines if line["selfies"]]
    assert len(usable) >= 200
    for _ in range(2):
        wrong = [line["smiles"] for line in usable if tokeniser.encode(line["selfies"]) != line[f"{mode}_{name}"]]
        assert wrong == []


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_from_folder_equals_the_manifest(name: str) -> None:
    assert BpeVocabulary.from_folder(GOLDEN / "tokenizer" / name) == in_memory(name)


@pytest.mark.parametrize("mode", MODES)
def test_saved_tokeniser_gives_the_same_ids(mode: str, lines: list[dict[str, Any]]) -> None:
    tokeniser = create_tokeniser(mode, in_memory("v428"))
    again = tokeniser_from_json(json.loads(json.dumps(tokeniser.to_json())))
    texts = [line["selfies"] for line in lines if line["selfies"]]
    assert [again.encode(text) for text in texts] == [tokeniser.encode(text) for text in texts]


def test_truncation_keeps_the_end_token(lines: list[dict[str, Any]]) -> None:
    tokeniser = create_tokeniser("fast", in_memory("v208"))
    cut = 0
    for line in lines:
        if not line["selfies"]:
            continue
        result = tokenise(tokeniser, line["selfies"], 128)
        assert (len(result.ids), result.ids[-3:]) == (line["fast_v208_trunc128_len"], line["fast_v208_trunc128_last"])
        assert result.truncated == (len(line["fast_v208"]) > 128)
        cut += result.truncated
    assert cut > 0


def test_symbols_and_selfies_are_exact(lines: list[dict[str, Any]]) -> None:
    encoder = SelfiesEncoder()
    for line in lines:
        if line["selfies"]:
            assert split_symbols(line["selfies"]) == line["symbols"]
            assert encoder.encode(line["smiles"]) == line["selfies"]


def test_unknown_parts_are_counted() -> None:
    small, large = create_tokeniser("fast", in_memory("v208")), create_tokeniser("fast", in_memory("v428"))
    assert small.count_unknown("[C][=O][Nb]") == 1  # no b in the small vocabulary: niobium reads as nitrogen
    assert large.count_unknown("[C][=O][Nb]") == 0
