"""What every tokeniser of this plugin offers, and how one is made from a mode name or from a saved model.

| mode | vocabulary | tokens a symbol | for |
|---|---|---|---|
| `symbol` | `SymbolVocabulary` | 1 | training here (default) |
| `fast` | `BpeVocabulary` | about 1.7 | published weights, as current Hugging Face tokenizers feed them |
| `slow` | `BpeVocabulary` | about 4, brackets become `<unk>` | reproducing published embeddings |
| `bracket` | `BpeVocabulary` | about 1 | the scheme the published merges were learned with |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from repcore.errors import CheckpointError, ConfigError
from repcore_molecules.tokenisation.published import PublishedTokeniser
from repcore_molecules.tokenisation.symbols import SymbolTokeniser
from repcore_molecules.tokenisation.vocabulary import BpeVocabulary, SymbolVocabulary

TokeniserMode = Literal["symbol", "fast", "slow", "bracket"]


class Tokeniser(Protocol):
    """SELFIES text to ids, with begin and end tokens around them."""

    @property
    def mode(self) -> str: ...

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        ...

    @property
    def special_ids(self) -> Mapping[str, int]:
        """Ids of ``<unk>``, ``<s>``, ``</s>``, ``<pad>`` and ``<mask>``."""
        ...

    def encode(self, selfies: str, max_length: int | None = None) -> list[int]:
        """Ids with begin and end; longer than `max_length` (both included) is cut before the end token."""
        ...

    def count_unknown(self, selfies: str) -> int:
        """Symbols that the vocabulary lacks or can only show with a part missing."""
        ...

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Texts of ids, for display."""
        ...

    def to_json(self) -> dict[str, Any]:  # Any: JSON content
        """Everything `tokeniser_from_json` needs."""
        ...


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Ids of one molecule and what was lost on the way."""

    ids: list[int]
    unknown: int
    truncated: bool


def tokenise(tokeniser: Tokeniser, selfies: str, max_length: int | None = None) -> Tokenised:
    """Encode and report: number of unknown symbols, and whether the text was cut at `max_length`."""
    ids = tokeniser.encode(selfies)
    truncated = max_length is not None and len(ids) > max_length
    if truncated:
        ids = tokeniser.encode(selfies, max_length)
    return Tokenised(ids, tokeniser.count_unknown(selfies), truncated)


def create_tokeniser(mode: str, vocabulary: SymbolVocabulary | BpeVocabulary) -> Tokeniser:
    """The tokeniser of a mode over a vocabulary of the matching kind.

    Raises:
        ConfigError: unknown mode, or the vocabulary is of the other kind.
    """
    if mode not in get_args(TokeniserMode):
        raise ConfigError(f"tokenisation mode {mode!r} does not exist", expected=", ".join(get_args(TokeniserMode)))
    if mode == "symbol":
        if isinstance(vocabulary, SymbolVocabulary):
            return SymbolTokeniser(vocabulary)
        raise ConfigError(
            "mode 'symbol' was given a published byte-pair vocabulary",
            hint="use mode fast, slow or bracket with a checkpoint's vocab.json and merges.txt",
        )
    if isinstance(vocabulary, BpeVocabulary):
        return PublishedTokeniser(mode, vocabulary)
    raise ConfigError(
        f"mode {mode!r} was given a symbol vocabulary",
        hint="use mode symbol, or name the checkpoint folder with vocab.json and merges.txt",
    )


def tokeniser_from_json(state: Mapping[str, Any]) -> Tokeniser:  # Any: JSON content
    """The tokeniser whose `to_json` gave `state`.

    Raises:
        CheckpointError: `state` lacks mode, symbols, tokens or merges.
    """
    try:
        if state["mode"] == "symbol":
            return create_tokeniser("symbol", SymbolVocabulary(tuple(state["symbols"])))
        merges = tuple((left, right) for left, right in state["merges"])
        return create_tokeniser(state["mode"], BpeVocabulary(tuple(state["tokens"]), merges))
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            "the saved tokeniser is incomplete",
            got=", ".join(sorted(state)),
            reason=error,
            expected="mode and symbols, or mode, tokens and merges",
        ) from error
