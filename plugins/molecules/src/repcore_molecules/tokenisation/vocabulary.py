"""Vocabularies of SELFIES tokenisers: one id per symbol (ours), or byte-pair tokens and merges (published).

Both keep five special tokens. Ours always sit at ids 0 to 4 in the order of `SPECIAL_TOKENS`; a published vocabulary
says by name where its own are (in the two known ones they are the same 0 to 4).

Differs from the reference repository: the vocabulary is always read from the checkpoint's own folder. The published
scripts pair weights with a bundled vocabulary of another size, whose ids agree only up to 16 (method card, 5.2).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repcore.errors import CheckpointError, DataError
from repcore.files import read_object

UNKNOWN_ID, BEGIN_ID, END_ID, PADDING_ID, MASK_ID = range(5)
SPECIAL_TOKENS: tuple[str, ...] = ("<unk>", "<s>", "</s>", "<pad>", "<mask>")
PLAIN_FILES = ("vocab.json", "merges.txt")
TOKENIZER_FILE = "tokenizer.json"
FOLDER_HINT = "name the folder that holds the checkpoint's vocab.json and merges.txt"


@dataclass(frozen=True, slots=True)
class SymbolVocabulary:
    """One id per SELFIES symbol; ids 0 to 4 are `SPECIAL_TOKENS`, symbols follow.

    Args:
        symbols: distinct symbols with their brackets (``[=C]``), or ``.`` between fragments; position + 5 is the id.

    Raises:
        DataError: a symbol occurs twice or equals a special token.
    """

    symbols: tuple[str, ...]
    ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *self.symbols))}
        if len(ids) != len(self):
            seen: set[str] = set(SPECIAL_TOKENS)
            twice = next(symbol for symbol in self.symbols if symbol in seen or seen.add(symbol))  # type: ignore[func-returns-value]
            raise DataError(f"symbol {twice!r} occurs twice in the vocabulary", expected="distinct symbols")
        object.__setattr__(self, "ids", ids)

    def __len__(self) -> int:
        return len(SPECIAL_TOKENS) + len(self.symbols)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], *, min_count: int = 1) -> SymbolVocabulary:
        """Symbols seen at least `min_count` times, most frequent first, ties in code point order (so deterministic)."""
        kept = [symbol for symbol, count in counts.items() if count >= min_count]
        return cls(tuple(sorted(kept, key=lambda symbol: (-counts[symbol], symbol))))

    def token(self, number: int) -> str:
        """The symbol or special token with this id."""
        return SPECIAL_TOKENS[number] if number < len(SPECIAL_TOKENS) else self.symbols[number - len(SPECIAL_TOKENS)]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        text = json.dumps({"special_tokens": SPECIAL_TOKENS, "symbols": self.symbols}, ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> SymbolVocabulary:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, is no JSON, or has other special tokens.
        """
        content = read_object(path)
        specials, symbols = content.get("special_tokens"), content.get("symbols")
        if specials != list(SPECIAL_TOKENS) or not _is_list_of_text(symbols):
            raise CheckpointError(
                f"{path.name} is not a symbol vocabulary",
                got=sorted(content),
                where=path,
                expected=f"special_tokens {list(SPECIAL_TOKENS)} and a list 'symbols'",
            )
        return cls(tuple(symbols))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class BpeVocabulary:
    """A published byte-pair vocabulary: tokens by id and merges by rank.

    Args:
        tokens: token texts, position = id.
        merges: pairs of token texts, most important first.

    Raises:
        CheckpointError: a special token is missing, a token occurs twice, or a merge makes a token without an id.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    ids: Mapping[str, int] = field(init=False, repr=False, compare=False)
    ranks: Mapping[tuple[str, str], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {token: number for number, token in enumerate(self.tokens)}
        if len(ids) != len(self.tokens):
            raise CheckpointError(f"{len(self.tokens) - len(ids)} tokens occur twice in the vocabulary")
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise CheckpointError(f"the vocabulary has no {', '.join(missing)}", expected=" ".join(SPECIAL_TOKENS))
        homeless = [a + b for a, b in self.merges if a + b not in ids]
        if homeless:
            raise CheckpointError(
                f"{len(homeless)} merges make tokens that the vocabulary lacks, first {homeless[0]!r}",
                hint="take vocab.json and merges.txt from the same folder",
            )
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "ranks", {pair: rank for rank, pair in enumerate(self.merges)})

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_tokens(cls, tokens_by_id: Sequence[str], merges: Iterable[str]) -> BpeVocabulary:
        """From tokens in id order and merges written as ``"left right"``."""
        pairs: list[tuple[str, str]] = []
        for line in merges:
            left, blank, right = line.partition(" ")
            if not (left and blank and right) or " " in right:
                raise CheckpointError(f"merge {line!r} is not two tokens", expected="'left right'")
            pairs.append((left, right))
        return cls(tuple(tokens_by_id), tuple(pairs))

    @classmethod
    def from_folder(cls, folder: Path) -> BpeVocabulary:
        """Read ``vocab.json`` and ``merges.txt`` of a checkpoint folder, or its ``tokenizer.json`` if it has neither.

        Raises:
            CheckpointError: a file is missing or damaged, or ids are not 0 to n - 1.
        """
        if (folder / TOKENIZER_FILE).is_file() and not any((folder / name).is_file() for name in PLAIN_FILES):
            return cls.from_tokenizer_file(folder / TOKENIZER_FILE)
        ids = read_object(folder / "vocab.json", hint=FOLDER_HINT)
        if sorted(number for number in ids.values() if type(number) is int) != list(range(len(ids))):
            raise CheckpointError(f"ids in vocab.json are not 0 to {len(ids) - 1}", where=folder)
        lines = _read_text(folder / "merges.txt").split("\n")
        # Only the first line can be a header: later lines may begin with '#', the SMILES sign of a triple bond.
        body = lines[1:] if lines[0].startswith("#version") else lines
        return cls.from_tokens(
            sorted(ids, key=lambda token: int(str(ids[token]))),
            (line for line in (text.rstrip("\r") for text in body) if line),
        )

    @classmethod
    def from_tokenizer_file(cls, path: Path) -> BpeVocabulary:
        """Read the byte-pair model of a ``tokenizer.json``, which Hugging Face's fast tokenizers write.

        Raises:
            CheckpointError: the file is damaged, or holds another kind of model.
        """
        content = read_object(path, ("model",), hint=FOLDER_HINT)
        model = content["model"]
        if not isinstance(model, dict) or not {"vocab", "merges"} <= set(model):
            kind = model.get("type") if isinstance(model, dict) else type(model).__name__
            raise CheckpointError(f"{path} holds no byte-pair vocabulary", got=kind, expected="type BPE")
        added = {one["content"]: one["id"] for one in content.get("added_tokens") or ()}
        ids: dict[str, int] = {**added, **model["vocab"]}
        if sorted(ids.values()) != list(range(len(ids))):
            raise CheckpointError(f"ids in {path.name} are not 0 to {len(ids) - 1}", where=path.parent)
        merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]  # both forms are in use
        return cls.from_tokens(sorted(ids, key=lambda token: int(ids[token])), merges)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no {path.name} in {path.parent}", hint=FOLDER_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}", reason=error) from error


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
