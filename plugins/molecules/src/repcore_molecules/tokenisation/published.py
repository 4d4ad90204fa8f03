"""The three ways in which the published byte-pair vocabularies were applied to SELFIES: `fast`, `slow`, `bracket`.

Source: method card, section 5.2. The merges were learned with brackets as separators (`bracket`), but only vocab.json
and merges.txt were loaded afterwards, into RoBERTa tokenizers that split differently: runs of letters, digits and other
signs, written in a byte alphabet. Of a sign without an id, the Rust tokenizer (`fast`) keeps nothing and the Python one
(`slow`) an ``<unk>``: both brackets of every symbol vanish, or become two unknowns. In `bracket`, a sign without an
id is an ``<unk>`` too.

How it is fast: two symbols are tokenised independently of each other unless a merge reaches across the brackets
between them. Where the vocabulary rules that out (`_crossing_pairs`), the ids of a molecule are the ids of its symbols
one after another, and those of a symbol are computed once. Other texts take the plain path, run by run.

Differs: added tokens such as ``<mask>`` are not recognised inside text; SELFIES cannot contain them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from repcore_molecules.tokenisation.symbols import check_max_length
from repcore_molecules.tokenisation.vocabulary import SPECIAL_TOKENS, BpeVocabulary

# GPT-2's split, for ASCII: contractions, then runs of one class with at most one blank before them, then white space.
_RUN = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    re.ASCII,
)
_BRACKETS = re.compile(r"[\[\]]")
_PLAIN_SYMBOL = re.compile(r"\.?\[[=#/\\\-]*[0-9]*[A-Z][A-Za-z0-9@+\-]*")  # a piece before "]", as SELFIES writes it
_FIRST_SIGNS = frozenset("=#/\\-.")  # signs with which a symbol, or the dot before it, can begin
_CACHE_LIMIT = 65_536


def _byte_alphabet() -> list[str]:
    """The printable character that stands for each of the 256 bytes; unprintable ones are numbered from 256."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    stand_ins = {byte: chr(256 + order) for order, byte in enumerate(others)}
    return [chr(byte) if byte in printable else stand_ins[byte] for byte in range(256)]


_BYTE_ALPHABET = _byte_alphabet()


def merge_pairs(word: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte-pair merging: join the adjacent pair of lowest rank, everywhere from the left, until none is left."""
    worst = len(ranks)
    while len(word) > 1:
        rank, left, right = min((ranks.get(pair, worst), *pair) for pair in pairwise(word))
        if rank == worst:
            break
        merged: list[str] = []
        for part in word:
            # `left` is consumed by the part before it, so an overlapping run such as @@@ joins from the left.
            if part == right and merged and merged[-1] == left:
                merged[-1] = left + right
            else:
                merged.append(part)
        word = merged
    return word


def split_runs(text: str) -> list[str]:
    """GPT-2's pre-tokenisation: runs of letters, numbers, other signs and white space, still in plain characters."""
    if text.isascii():
        return _RUN.findall(text)
    # Classes of other scripts are mapped to an ASCII stand-in of the same class; the runs are cut at the same places.
    stand_in = "".join(char if char.isascii() else _class_letter(char) for char in text)
    return [text[match.start() : match.end()] for match in _RUN.finditer(stand_in)]


def _class_letter(char: str) -> str:
    if char.isspace():
        return "\t"
    return {"L": "a", "N": "0"}.get(unicodedata.category(char)[0], "#")


class PublishedTokeniser:
    """Byte-pair ids of SELFIES in one of the three published ways.

    Args:
        mode: ``fast``, ``slow`` or ``bracket``.
        vocabulary: tokens and merges of the checkpoint.

    Cost: one split and one table look-up per symbol once its symbols have been seen.
    """

    def __init__(self, mode: str, vocabulary: BpeVocabulary) -> None:
        self.mode = mode
        self.vocabulary = vocabulary
        self._begin, self._end = vocabulary.ids["<s>"], vocabulary.ids["</s>"]
        self._unknown = vocabulary.ids["<unk>"]
        self._runs: dict[str, tuple[int, ...]] = {}
        self._pieces: dict[str, tuple[int, ...]] = {}
        self._lossy: dict[str, bool] = {}
        crossing = _crossing_pairs(vocabulary) if mode == "fast" else set()
        # The plain path is taken by symbols that end in the left half of such a pair (none in the known vocabularies).
        self._bad_ends = {left for left, right in crossing if right in _FIRST_SIGNS}
        touched = any("[" in left + right or "]" in left + right for left, right in vocabulary.merges)
        self._by_symbol = mode == "bracket" or not touched

    @property
    def size(self) -> int:
        return len(self.vocabulary)

    @property
    def special_ids(self) -> Mapping[str, int]:
        return {token: self.vocabulary.ids[token] for token in SPECIAL_TOKENS}

    def encode(self, selfies: str, max_length: int | None = None) -> list[int]:
        """Ids with begin and end; cut before the end token if longer than `max_length`.

        Raises:
            ConfigError: `max_length` is below 2.
        """
        ids = [self._begin]
        *pieces, rest = selfies.split("]")
        known = self._pieces
        try:
            if rest:
                raise KeyError(rest)
            for piece in pieces:
                ids += known[piece]
        except KeyError:
            ids = [self._begin, *self._encode_unseen(selfies)]
        ids.append(self._end)
        if max_length is not None and len(ids) > max_length:
            check_max_length(max_length)
            ids[max_length - 1 :] = [self._end]
        return ids

    def count_unknown(self, selfies: str) -> int:
        """Symbols of which a character (brackets apart) has no id, so that the model sees them mangled."""
        return sum(map(self._is_lossy, _BRACKETS.split(selfies)))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Token texts of `ids`."""
        return [self.vocabulary.tokens[number] for number in ids]

    def to_json(self) -> dict[str, Any]:  # Any: JSON content
        """Mode, tokens in id order, merges in rank order."""
        merges = [list(pair) for pair in self.vocabulary.merges]
        return {"mode": self.mode, "tokens": list(self.vocabulary.tokens), "merges": merges}

    def _encode_unseen(self, selfies: str) -> list[int]:
        """The plain path; remembers the ids of each symbol for which that is exact."""
        if self._by_symbol and selfies.endswith("]"):
            pieces = selfies.split("]")[:-1]
            if all(map(self._stands_alone, pieces)):
                if len(self._pieces) > _CACHE_LIMIT:
                    self._pieces.clear()
                for piece in pieces:
                    if piece not in self._pieces:
                        self._pieces[piece] = tuple(self._encode_text(piece + "]"))
                return [number for piece in pieces for number in self._pieces[piece]]
        return self._encode_text(selfies)

    def _stands_alone(self, piece: str) -> bool:
        """Whether no merge can join this piece (a symbol without its closing bracket) to a neighbour."""
        if piece in self._pieces or self.mode == "bracket":
            return True
        if _PLAIN_SYMBOL.fullmatch(piece) is None:
            return False
        last_signs = piece[len(piece.rstrip("@+-")) :]
        return self._bad_ends.isdisjoint(last_signs)

    def _encode_text(self, text: str) -> list[int]:
        runs = _BRACKETS.split(text) if self.mode == "bracket" else split_runs(text)
        encode_run: Callable[[str], tuple[int, ...]] = self._encode_run
        return [number for run in runs for number in encode_run(run)]

    def _encode_run(self, run: str) -> tuple[int, ...]:
        ids = self._runs.get(run)
        if ids is None:
            known = self.vocabulary.ids
            word = list(run) if self.mode == "bracket" else [_BYTE_ALPHABET[byte] for byte in run.encode()]
            if self.mode == "fast":
                word = [char for char in word if char in known]
            merged = merge_pairs(word, self.vocabulary.ranks)
            ids = tuple(known.get(part, self._unknown) for part in merged)
            if len(self._runs) > _CACHE_LIMIT:
                self._runs.clear()
            self._runs[run] = ids
        return ids

    def _is_lossy(self, content: str) -> bool:
        lossy = self._lossy.get(content)
        if lossy is None:
            lossy = any(char not in self.vocabulary.ids for char in content)
            if len(self._lossy) > _CACHE_LIMIT:
                self._lossy.clear()
            self._lossy[content] = lossy
        return lossy


def _crossing_pairs(vocabulary: BpeVocabulary) -> set[tuple[str, str]]:
    """Neighbouring signs (last of one symbol, first of the next) that some merge would join once brackets are dropped.

    Only merges of signs alone matter: letters and digits end a run, so a run across brackets has none.
    """
    return {
        (left[-1], right[0]) for left, right in vocabulary.merges if not any(char.isalnum() for char in left + right)
    }
