"""SMILES to token ids: the preprocessor of SELFormer, saved with every model.

Differs from the reference: the vocabulary is learned from the training split (or read from the checkpoint's own
folder), never a bundled default; padding is masked; a row that is cut or has unknown symbols says so.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import selfies
import torch

from repcore.data.guard import read_sample
from repcore.errors import CheckpointError, ConfigError, DataError, ItemError, RunError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_molecules.configs.data import SelfiesConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.preprocessors.given import smiles_from
from repcore_molecules.preprocessors.prepared import PreparedMolecules, PreparedSymbols, SelfiesPreparation
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult
from repcore_molecules.tokenisation.symbols import SymbolTokeniser, split_symbols
from repcore_molecules.tokenisation.tokeniser import Tokeniser, create_tokeniser, tokenise, tokeniser_from_json
from repcore_molecules.tokenisation.vocabulary import BpeVocabulary, SymbolVocabulary

TOKENISER_FILE = "tokeniser.json"

log = logging.getLogger(__name__)


class SelfiesPreprocessor:
    """Cleaning, SELFIES, tokenisation and padding.

    ``prepare`` takes SMILES text or :class:`PreparedSymbols`. A batch's inputs are ``input_ids`` int64 (B, T), padded
    with the tokeniser's ``<pad>``, and ``attention_mask`` bool (B, T).

    Raises:
        ConfigError: a published mode without a vocabulary folder.
    """

    def __init__(self, config: SelfiesConfig) -> None:
        self.config = config
        self._pipeline: SmilesPipeline | None = None
        self._tokeniser: Tokeniser | None = None
        self._numbers_to_ids: tuple[tuple[str, ...], np.ndarray] | None = None
        if config.mode != "symbol" and config.vocabulary is not None:
            self._tokeniser = create_tokeniser(config.mode, BpeVocabulary.from_folder(Path(config.vocabulary)))

    @classmethod
    def load(cls, config: SelfiesConfig, folder: Path) -> SelfiesPreprocessor:
        """The preprocessor that ``save`` wrote.

        Raises:
            CheckpointError: the tokeniser file is missing or incomplete, or of another mode than the settings say.
        """
        state = read_object(folder / TOKENISER_FILE, meaning="the vocabulary is part of the model")
        tokeniser = tokeniser_from_json(state)
        if tokeniser.mode != config.mode:
            raise CheckpointError(
                f"{folder} was made with mode={tokeniser.mode}, the settings say mode={config.mode}",
                hint=f"preprocessor.mode={tokeniser.mode}",
            )
        _compare_constraints(state.get("constraints"), folder)
        loaded = cls(replace(config, vocabulary=None))  # the vocabulary travels with the model, not as a path
        loaded._tokeniser = tokeniser
        return loaded

    def save(self, folder: Path) -> Mapping[str, Any]:
        constraints = selfies.get_semantic_constraints()
        state = {**self.tokeniser.to_json(), "selfies": selfies.__version__, "constraints": constraints}
        (folder / TOKENISER_FILE).write_text(json.dumps(state), encoding="utf-8")
        return {"mode": self.tokeniser.mode, "tokens": self.tokeniser.size, "selfies": selfies.__version__}

    @property
    def smiles_config(self) -> SmilesConfig:
        """What is done to a SMILES."""
        return self.config.smiles

    @property
    def is_fitted(self) -> bool:
        """Whether there is a vocabulary."""
        return self._tokeniser is not None

    @property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser.

        Raises:
            RunError: nothing was fitted or loaded yet.
        """
        if self._tokeniser is None:
            raise RunError("the preprocessor has no vocabulary yet", hint="fit it on training data, or load a model")
        return self._tokeniser

    def preparation(self, workers: int) -> SelfiesPreparation:
        """Conversion of the whole data set, once."""
        del workers  # core shares blocks of rows out to them
        return SelfiesPreparation(self.config.smiles, deduplicate=self.config.deduplicate)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Learn the symbol vocabulary from the rows at ``indices``; published modes bring their own.

        Raises:
            ConfigError: a published mode without a vocabulary. DataError: no usable molecule.
        """
        if self.config.mode != "symbol":
            if self._tokeniser is None:
                raise ConfigError(
                    f"mode={self.config.mode} needs the vocabulary of published weights",
                    field="preprocessor.vocabulary",
                    hint="preprocessor.vocabulary=FOLDER with vocab.json and merges.txt, or mode=symbol",
                )
            return
        if isinstance(reader, PreparedMolecules):
            counts: Mapping[str, int] = reader.symbol_counts(np.asarray(indices))
        else:
            counts = self._count_symbols(reader, indices)
        if not counts:
            raise DataError("none of the training rows holds a usable molecule")
        self._tokeniser = create_tokeniser("symbol", SymbolVocabulary.from_counts(counts))
        self._numbers_to_ids = None

    def _count_symbols(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for index in indices:
            try:
                counts.update(split_symbols(self.selfies_of(read_sample(reader, int(index)))))
            except ItemError:
                continue  # reported as a row wherever the row is used
        return counts

    def facts(self) -> Mapping[str, Any]:
        size = self.tokeniser.size
        return {"vocabulary_size": size, "token_count": size, "token_texts": tuple(self.tokeniser.tokens(range(size)))}

    def converted(self, cell: object) -> SmilesResult:
        """One SMILES through cleaning and SELFIES, with status and reason."""
        if self._pipeline is None:
            self._pipeline = SmilesPipeline(self.config.smiles)
        return self._pipeline.run(cell)

    def inputs_from(self, value: Any) -> Any:
        """SMILES, or an RDKit Mol."""
        return smiles_from(value)

    def selfies_of(self, sample: Sample) -> str:
        """SELFIES of a sample.

        Raises:
            ItemError: the molecule cannot be used.
        """
        if isinstance(sample.inputs, PreparedSymbols):
            return sample.inputs.text()
        result = self.converted(sample.inputs)
        if result.status != "ok":
            raise ItemError(result.status, result.reason)
        return result.selfies

    def prepare(self, sample: Sample) -> list[Item]:
        """Token ids of one molecule; ``truncated`` and ``unknown_symbols`` are noted on the item."""
        if isinstance(sample.inputs, PreparedSymbols) and isinstance(self._tokeniser, SymbolTokeniser):
            ids = self._ids_of_numbers(sample.inputs)
            return [self._item(ids, int((ids == self.tokeniser.special_ids["<unk>"]).sum()))]
        found = tokenise(self.tokeniser, self.selfies_of(sample))
        return [self._item(np.asarray(found.ids, np.int32), found.unknown)]

    def _ids_of_numbers(self, symbols: PreparedSymbols) -> np.ndarray:
        """Begin, mapped symbols, end: one look-up for the whole molecule."""
        if self._numbers_to_ids is None or self._numbers_to_ids[0] is not symbols.table:
            encoded = [self.tokeniser.encode(symbol)[1] for symbol in symbols.table]
            self._numbers_to_ids = (symbols.table, np.asarray(encoded, np.int32))
        frame = self.tokeniser.special_ids
        ids = np.empty(len(symbols.numbers) + 2, np.int32)
        ids[0], ids[-1] = frame["<s>"], frame["</s>"]
        ids[1:-1] = self._numbers_to_ids[1][symbols.numbers]
        return ids

    def _item(self, ids: np.ndarray, unknown: int) -> Item:
        length, longest = len(ids), self.config.max_length
        notes = {}
        if length > longest:
            end = self.tokeniser.special_ids["</s>"]
            ids = np.concatenate([ids[: longest - 1], [end]]).astype(np.int32)
            notes["truncated"] = f"{length} tokens, more than max_length={longest}"
        if unknown:
            notes["unknown_symbols"] = f"{unknown} symbols are not in the model's vocabulary"
        status = next(iter(notes), "ok")
        return Item(ids, meta={"tokens": len(ids)}, status=status, reason="; ".join(notes.values()))

    def collate(self, items: Sequence[Item]) -> Batch:
        longest = max(len(item.values) for item in items)
        ids = np.full((len(items), longest), self.tokeniser.special_ids["<pad>"], np.int64)
        valid = np.zeros((len(items), longest), bool)
        for row, item in enumerate(items):
            ids[row, : len(item.values)] = item.values
            valid[row, : len(item.values)] = True
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(valid)}
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["tokens"])


def _compare_constraints(saved: Mapping[str, int] | None, folder: Path) -> None:
    """Say so when this SELFIES would refuse or write other molecules than the one the model was made with."""
    here = selfies.get_semantic_constraints()
    if saved is not None and dict(saved) != here:
        changed = sorted({*saved, *here} - {atom for atom in here if saved.get(atom) == here[atom]})
        log.warning(
            "%s was made with other SELFIES constraints for %s: such molecules may become other tokens",
            folder,
            ", ".join(changed[:8]),
        )
